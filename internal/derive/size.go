package derive

import (
	"context"
	"slices"

	"nuwa/internal/lowering"
	"nuwa/internal/report"
	"nuwa/internal/task"
	"nuwa/passes"
)

// Size is what a task was brought to by one choice of widths.
type Size struct {
	*task.Task
	state   *passes.State    // every target goes on from a fork
	reports []passes.Report  // of all passes that led there
	budget  *report.Found    // how the rate was found; nil for one that was given
	choice  *lowering.Choice // how it is quantized; nil until that is found out
}

// NewSize slims what the task has learned by the passes in list. split is a
// factor on what the recipe's ρ rule has attention lose; 0 means 1.
func NewSize(ctx context.Context, t *task.Task, o task.Options, split float64, list []passes.Pass) (*Size, error) {
	s := &Size{Task: t, state: t.State.Fork()}
	task.SizeOptions(o, &s.state.Options)
	s.state.Options.Split = split
	s.state.Log, s.state.Progress, s.state.Memo = o.Log, o.Progress, nil
	reports, err := (&passes.Manager{}).Run(ctx, s.state, list)
	s.reports = slices.Concat(t.Reports, reports)
	return s, err
}

// widths tells what became of the blocks.
func (s *Size) widths() []report.BlockWidths {
	var out []report.BlockWidths
	for i := range s.state.ViT.Blocks {
		from, to := s.state.Base[i], s.state.Widths[i]
		out = append(out, report.BlockWidths{Heads: [2]int{from.Heads, to.Heads}, QK: [2]int{from.QK, to.QK}, VO: [2]int{from.VO, to.VO},
			Hidden: [2]int{from.Hidden, to.Hidden}})
	}
	return out
}
