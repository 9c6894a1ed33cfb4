package passes

import (
	"context"
	"fmt"
	"runtime"

	"golang.org/x/sync/errgroup"

	"nuwa/internal/engine"
	"nuwa/internal/linalg"
	"nuwa/passes/attention"
	"nuwa/passes/focus"
	"nuwa/passes/mlp"
	"nuwa/passes/structure"
)

func runDecompose(ctx context.Context, s *State) (string, error) {
	if s.Options.Rate == 0 && s.Options.Fixed == nil {
		return "", nil
	}
	s.cost = nil
	c, err := s.counted(ctx, s.Model)
	if err == nil {
		s.cost, err = &c, s.orderHeads()
	}
	if err == nil {
		err = s.orderNeurons()
	}
	if err != nil {
		return "", err
	}
	if s.Options.Recipe.Attention == AttentionWeights {
		s.Spectra, err = attention.Decompose(s.ViT.Attentions)
		return counted(len(s.Spectra), "attentions decomposed"), err
	}
	s.Spectra = make([]*attention.Spectrum, len(s.ViT.Attentions))
	err = s.eachAttention(func(i int, a *structure.Attention) (err error) {
		s.Spectra[i], err = attention.DecomposeWeighted(a, s.Evidence[i])
		return err
	})
	return counted(len(s.Spectra), "attentions decomposed on data"), err
}

// orderHeads finds out in which order the heads of each attention may go.
func (s *State) orderHeads() error {
	s.Heads = make([]*attention.Heads, len(s.ViT.Attentions))
	if s.Options.Recipe.Allocate != AllocateSensitivity || s.Options.Recipe.Moves == MovesWidths {
		return nil
	}
	return s.eachAttention(func(i int, a *structure.Attention) (err error) {
		if a.QKReason == "" && a.VOReason == "" {
			s.Heads[i], err = attention.NewHeads(a, s.Evidence[i], s.ViT.Shapes)
		}
		return err
	})
}

// eachAttention calls solve for all attentions, side by side.
func (s *State) eachAttention(solve func(i int, a *structure.Attention) error) error {
	width := func(int) int { return max(1, s.ViT.Dim) }
	return abreast(len(s.ViT.Attentions), width, func(i int) error {
		if err := solve(i, s.ViT.Attentions[i]); err != nil {
			return fmt.Errorf("attention %d: %w", i, err)
		}
		return nil
	})
}

// orderNeurons finds out in which order the neurons of hidden layers may go, for
// widths that compete.
func (s *State) orderNeurons() error {
	if s.Options.Recipe.Allocate != AllocateSensitivity || s.Hidden == nil {
		return nil
	}
	var paths []*mlp.Path
	err := s.remember("order of hidden neurons", &paths, func() (err error) {
		paths, err = s.paths()
		return err
	})
	if err != nil {
		return err
	}
	for i, p := range paths {
		s.Hidden[i].Use(p)
	}
	return nil
}

func runFocus(ctx context.Context, s *State) (string, error) {
	if s.Options.Classes == nil {
		return "", nil
	}
	var err error
	if s.Options.Mask {
		err = focus.Mask(s.Model, s.ViT.Classifiers, s.Options.Classes)
	} else {
		err = focus.Slice(s.Model, s.ViT.Classifiers, s.Options.Classes)
	}
	if err == nil && s.Options.Recipe.Refit != RefitNone { // the classifier is looked at again
		engine.Trim(s.Model.Graph)
		s.ViT, err = structure.Find(ctx, s.Engine, s.Model)
	}
	return counted(len(s.Options.Classes), "classes kept"), err
}

func runAttention(_ context.Context, s *State) (string, error) {
	if s.Options.Recipe.Statistics == StatisticsSequential {
		return "", nil
	}
	slim, gone, n := 0, 0, -1
	for i, b := range s.ViT.Blocks {
		if b.Attention == nil {
			continue
		}
		n++
		if !s.attentionChanges(i) {
			continue
		}
		if err := s.pruneAttention(i, n); err != nil {
			return "", fmt.Errorf("block %d: %w", i, err)
		}
		if s.Widths[i].Heads == 0 {
			gone++
		} else {
			slim++
		}
	}
	return listed(counted(slim, "attentions slimmed"), counted(gone, "attentions removed")), nil
}

// attentionChanges tells whether the attention of block i shall be another.
func (s *State) attentionChanges(i int) bool {
	want, has := s.Widths[i], s.Before[i]
	return s.Spectra != nil && (want.Heads != has.Heads || want.QK != has.QK || want.VO != has.VO)
}

// pruneAttention brings the attention of block i, the n-th there is, to its
// heads and widths.
func (s *State) pruneAttention(i, n int) error {
	want, sp := s.Widths[i], s.Spectra[n]
	if want.Heads == 0 {
		return sp.Remove(s.Model, s.Evidence[n])
	}
	if want.Heads < s.Before[i].Heads {
		var err error
		if sp, err = sp.Keep(s.Heads[n].Kept(want.Heads), s.Evidence[n], s.ViT.Shapes); err != nil {
			return err
		}
	}
	return sp.Prune(s.Model, want.QK, want.VO)
}

// runMLP prunes the hidden layers of all blocks whose width shall change.
func runMLP(ctx context.Context, s *State) (string, error) {
	if s.Options.Recipe.Statistics == StatisticsSequential {
		return "", nil
	}
	var layers []hiddenLayer
	var sites []*structure.MLP
	site := 0
	for i, b := range s.ViT.Blocks {
		if b.MLP == nil || b.MLP.Reason != "" {
			continue
		}
		if s.Widths[i].Hidden < s.Before[i].Hidden {
			l := hiddenLayer{site: b.MLP, block: i, evidence: &mlp.Evidence{}}
			if s.Hidden != nil {
				l.evidence = s.Hidden[site]
			}
			layers, sites = append(layers, l), append(sites, b.MLP)
		}
		site++
	}
	if len(sites) == 0 {
		return "", nil
	}
	if s.Options.Recipe.Statistics == StatisticsDense {
		return counted(len(layers), "hidden layers slimmed"), s.pruneHidden(layers)
	}
	if s.Feeds == nil {
		return "", noFeeds()
	}
	before := s.Model.Clone() // statistics are those of the full hidden layers, whichever goes first
	for from := 0; from < len(layers); {
		to := within(sites[from:], momentBytes) + from
		moments, err := mlp.Calibrate(ctx, s.Engine, before, s.ViT.Shapes, sites[from:to], s.Feeds)
		if err != nil {
			return "", err
		}
		group := layers[from:to]
		for i := range group {
			group[i].evidence = &mlp.Evidence{Moments: moments[i], F: group[i].evidence.F, Taylor: group[i].evidence.Taylor}
		}
		if err := s.pruneHidden(group); err != nil {
			return "", err
		}
		for i := range group {
			group[i].evidence = nil // which may take more memory than all weights
		}
		from = to
	}
	return counted(len(layers), "hidden layers slimmed"), nil
}

// momentBytes is how much memory the statistics of hidden layers may take at
// once; a layer that needs more is taken alone.
const momentBytes = 512 << 20

// within returns how many of sites, the first at least, have second moments
// that together take no more than so many bytes.
func within(sites []*structure.MLP, bytes int) int {
	total := 0
	for i, m := range sites {
		if total += 8 * m.Hidden * m.Hidden; total > bytes {
			return max(1, i)
		}
	}
	return len(sites)
}

// pruneHidden chooses the neurons of layers and refits. Layers are solved side by
// side, then applied in order.
func (s *State) pruneHidden(layers []hiddenLayer) error {
	keeps, fits := make([][]int, len(layers)), make([]*linalg.Fit, len(layers))
	err := abreast(len(layers), func(i int) int { return layers[i].site.Hidden }, func(i int) (err error) {
		l := layers[i]
		if s.Widths[l.block].Hidden == 0 {
			return nil
		}
		if keeps[i], err = s.choose(l); err == nil && s.Options.Recipe.Reconstruct != ReconstructNone {
			fits[i], err = mlp.Refit(l.site, l.evidence.Moments, keeps[i], s.refitOptions())
		}
		if err != nil {
			return fmt.Errorf("block %d: %w", l.block, err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for i, l := range layers {
		switch {
		case keeps[i] == nil:
			err = l.site.Second.Fix(s.Model.Graph, l.evidence.Moments)
		case fits[i] == nil:
			err = mlp.Take(s.Model, l.site, keeps[i])
		default:
			err = mlp.Apply(s.Model, l.site, keeps[i], fits[i])
			if fits[i].Cond.Ill() {
				s.note("block %d: the refit of the hidden layer is %s", l.block, fits[i].Cond)
			}
		}
		if err != nil {
			return fmt.Errorf("block %d: %w", l.block, err)
		}
	}
	return nil
}

// abreastBytes is how much memory matrices may take that are solved side by side.
const abreastBytes = 2 << 30

// abreast calls solve for 0 to n−1, as many at once as there are cores, and fewer
// where the matrices of the widest, width(i) in order, take too much memory.
func abreast(n int, width func(i int) int, solve func(i int) error) error {
	most := runtime.GOMAXPROCS(0)
	for i := range n {
		most = min(most, max(1, abreastBytes/(4*8*width(i)*width(i)))) // the moments, and what becomes of them
	}
	var work errgroup.Group
	work.SetLimit(most)
	for i := range n {
		work.Go(func() error { return solve(i) })
	}
	return work.Wait()
}

// refitOptions say how linear maps are refitted, by the recipe's rule.
func (s *State) refitOptions() linalg.Options {
	if s.Options.Recipe.Reconstruct == ReconstructAffine {
		return linalg.Options{Affine: true, Ridge: mlp.Ridge}
	}
	return linalg.Options{}
}

// hiddenLayer is one to be pruned.
type hiddenLayer struct {
	site     *structure.MLP
	block    int
	evidence *mlp.Evidence
}

// choose returns the neurons that stay, by the recipe's rule.
func (s *State) choose(l hiddenLayer) ([]int, error) {
	width := s.Widths[l.block].Hidden
	if s.Options.Recipe.Select == SelectSecond {
		path, err := l.evidence.Path(l.site, s.ViT.Shapes)
		if err != nil {
			return nil, err
		}
		return path.Kept(width), nil
	}
	scores, err := s.scores(l.site, l.evidence)
	return mlp.Top(scores, width), err
}

// scores rates the neurons of a layer by the recipe's rule, or by their
// activation where that rule rates none by itself.
func (s *State) scores(site *structure.MLP, e *mlp.Evidence) ([]float64, error) {
	switch s.Options.Recipe.Select {
	case SelectMagnitude:
		return mlp.ByMagnitude(site)
	case SelectWanda:
		return mlp.ByWanda(site, e.Moments)
	case SelectTaylor:
		if e.Taylor != nil {
			return e.Taylor, nil
		}
	}
	return mlp.ByActivation(e.Moments), nil
}

func runNorms(ctx context.Context, s *State) (string, error) {
	if s.Options.KeepNorms {
		return "", nil
	}
	return runFastNorms(ctx, s)
}
