package nuwa

import (
	"context"
	"fmt"
	"slices"

	"nuwa/passes"
	"nuwa/passes/structure"
)

// size is what a task was brought to by one choice of widths.
type size struct {
	*task
	state   *passes.State   // every target goes on from a fork
	reports []passes.Report // of all passes that led there
	budget  *Found          // how the rate was found; nil for one that was given
}

// sizeOptions sets what the passes are told about one size.
func (o Options) sizeOptions(p *passes.Options) {
	p.Rate, p.Split, p.Part, p.Align, p.KeepNorms, p.Fixed = o.Rate, o.split, o.Widths.Part, o.Align, o.Norms == "keep", nil
	if w := o.Widths; !w.IsZero() {
		p.Fixed = &passes.Width{QK: w.QK, VO: w.VO, Hidden: w.Hidden}
	}
}

// newSize slims what the task has learned by the passes in list.
func (t *task) newSize(ctx context.Context, o Options, list []passes.Pass) (*size, error) {
	s := &size{task: t, state: t.state.Fork()}
	o.sizeOptions(&s.state.Options)
	s.state.Log, s.state.Progress, s.state.Memo = o.Log, o.Progress, nil
	reports, err := (&passes.Manager{}).Run(ctx, s.state, list)
	s.reports = slices.Concat(t.reports, reports)
	return s, err
}

// widths tells what became of the blocks.
func (s *size) widths() []BlockWidths {
	var out []BlockWidths
	for i, b := range s.state.ViT.Blocks {
		from, to := s.state.Base[i], s.state.Widths[i]
		w := BlockWidths{QK: [2]int{from.QK, to.QK}, VO: [2]int{from.VO, to.VO}, Hidden: [2]int{from.Hidden, to.Hidden}}
		if b.Attention != nil {
			w.Heads = b.Attention.Heads
		}
		out = append(out, w)
	}
	return out
}

func declined(vit *structure.ViT) []Declined {
	var out []Declined
	for i, b := range vit.Blocks {
		if a := b.Attention; a != nil {
			if a.QKReason != "" {
				out = append(out, Declined{Where: fmt.Sprintf("block %d", i), What: "q/k", Reason: a.QKReason})
			}
			if a.VOReason != "" {
				out = append(out, Declined{Where: fmt.Sprintf("block %d", i), What: "v/o", Reason: a.VOReason})
			}
		}
		if b.MLP != nil && b.MLP.Reason != "" {
			out = append(out, Declined{Where: fmt.Sprintf("block %d", i), What: "hidden", Reason: b.MLP.Reason})
		}
	}
	for _, x := range vit.Declined {
		out = append(out, Declined{Where: x.Node.String(), What: x.What, Reason: x.Reason})
	}
	return out
}
