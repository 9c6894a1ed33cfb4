package passes

import (
	"context"
	"fmt"

	"nuwa/internal/linalg"
	"nuwa/passes/attention"
	"nuwa/passes/focus"
	"nuwa/passes/mlp"
	"nuwa/passes/structure"
)

func runDecompose(_ context.Context, s *State) (string, error) {
	if s.Options.Rate == 0 && s.Options.Fixed == nil {
		return "", nil
	}
	var err error
	if s.Evidence == nil {
		s.Spectra, err = attention.Decompose(s.ViT.Attentions)
		return counted(len(s.Spectra), "attentions decomposed"), err
	}
	s.Spectra = make([]*attention.Spectrum, len(s.ViT.Attentions))
	for i, a := range s.ViT.Attentions {
		if s.Spectra[i], err = attention.DecomposeWeighted(a, s.Evidence[i]); err != nil {
			return "", fmt.Errorf("attention %d: %w", i, err)
		}
	}
	return counted(len(s.Spectra), "attentions decomposed on data"), nil
}

func runFocus(_ context.Context, s *State) (string, error) {
	if s.Options.Classes == nil {
		return "", nil
	}
	var err error
	if s.Options.Mask {
		err = focus.Mask(s.Model, s.ViT.Classifiers, s.Options.Classes)
	} else {
		err = focus.Slice(s.Model, s.ViT.Classifiers, s.Options.Classes)
	}
	return counted(len(s.Options.Classes), "classes kept"), err
}

func runAttention(_ context.Context, s *State) (string, error) {
	n, spectrum := 0, 0
	for i, b := range s.ViT.Blocks {
		if b.Attention == nil || s.Spectra == nil {
			continue
		}
		sp := s.Spectra[spectrum]
		spectrum++
		if s.Widths[i].QK == s.Before[i].QK && s.Widths[i].VO == s.Before[i].VO {
			continue
		}
		if err := sp.Prune(s.Model, s.Widths[i].QK, s.Widths[i].VO); err != nil {
			return "", fmt.Errorf("block %d: %w", i, err)
		}
		n++
	}
	return counted(n, "attentions slimmed"), nil
}

// runMLP prunes the hidden layers of all blocks whose width shall change.
func runMLP(ctx context.Context, s *State) (string, error) {
	var sites []*structure.MLP
	var at []int
	for i, b := range s.ViT.Blocks {
		if b.MLP != nil && b.MLP.Reason == "" && s.Widths[i].Hidden < s.Before[i].Hidden {
			sites, at = append(sites, b.MLP), append(at, i)
		}
	}
	if len(sites) == 0 {
		return "", nil
	}
	if s.Feeds == nil {
		return "", noFeeds()
	}
	moments, err := mlp.Calibrate(ctx, s.Engine, s.Model, s.ViT.Shapes, sites, s.Feeds)
	if err != nil {
		return "", err
	}
	keep := make([][]int, len(sites))
	options := linalg.Options{}
	if s.Options.Recipe == "paper" {
		for i := range sites {
			keep[i] = mlp.ByActivation(moments[i], s.Widths[at[i]].Hidden)
		}
	} else {
		options = refit
		if keep, err = s.eliminate(sites, at, moments); err != nil {
			return "", err
		}
	}
	for i, site := range sites {
		fit, err := mlp.Prune(s.Model, site, moments[i], keep[i], options)
		if err != nil {
			return "", fmt.Errorf("block %d: %w", at[i], err)
		}
		if fit.Cond.Ill() {
			s.note("block %d: the refit of the hidden layer is %s", at[i], fit.Cond)
		}
		s.Widths[at[i]].Hidden = len(keep[i])
	}
	return counted(len(sites), "hidden layers slimmed"), nil
}

// eliminate drops hidden neurons by second order, one block against the other,
// until as many multiply-accumulates are saved as the planned widths save.
func (s *State) eliminate(sites []*structure.MLP, at []int, moments []*linalg.Moments) ([][]int, error) {
	layers := make([]*mlp.Layer, len(sites))
	saving := 0.0
	for i, site := range sites {
		var err error
		if layers[i], err = s.layer(site, moments[i]); err != nil {
			return nil, fmt.Errorf("block %d: %w", at[i], err)
		}
		gone := s.Before[at[i]].Hidden - s.Widths[at[i]].Hidden
		saving += layers[i].Cost * float64(gone)
		if s.Options.Fixed != nil { // every block has its own width
			if err := layers[i].Drop(gone); err != nil {
				return nil, err
			}
		}
	}
	if s.Options.Fixed == nil {
		if err := mlp.Eliminate(layers, saving, s.Options.Align); err != nil {
			return nil, err
		}
	}
	keep := make([][]int, len(sites))
	for i, l := range layers {
		keep[i] = l.Eliminator.Kept()
	}
	return keep, nil
}

func runNorms(ctx context.Context, s *State) (string, error) {
	if s.Options.KeepNorms {
		return "", nil
	}
	return runFastNorms(ctx, s)
}
