package calibrate

import (
	"fmt"

	"nuwa/graph"
	"nuwa/internal/linalg"
)

// Gap is how far a value is from where it should be: another input, which the
// feeds give, minus the value.
type Gap struct {
	Tap
	Should string      // the name of the input
	Type   *graph.Type // of the input, and of the value
}

// gapSums are the outputs that give what one batch adds to a Cross.
type gapSums struct{ sum, gram string }

// askGap has m give the sum of a gap and its products with the rows x.
func askGap(m *graph.Model, x *graph.Value, gap Gap) (gapSums, error) {
	g := m.Graph
	is := g.Value(gap.Value)
	if is == nil {
		return gapSums{}, fmt.Errorf("no value is called %q", gap.Value)
	}
	should := g.AddInput(gap.Should, gap.Type)
	d := g.Add("Sub", "gap", []*graph.Value{rows(g, should, gap.Tap), rows(g, is, gap.Tap)}).Output(0)
	return gapSums{sum: ask(g, sumRows(m, d)), gram: ask(g, g.Add("Gemm", "gap_gram", []*graph.Value{x, d, zero(g)}, graph.Int("transA", 1)).Output(0))}, nil
}

// add takes the sums of one batch out of a run's results.
func (s gapSums) add(c *linalg.Cross, res map[string]*graph.Tensor) error {
	sum, err := res[s.sum].Float32s()
	if err != nil {
		return err
	}
	gram, err := res[s.gram].Float32s()
	if err != nil {
		return err
	}
	return c.Add(sum, gram)
}
