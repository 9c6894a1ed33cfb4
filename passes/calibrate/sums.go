package calibrate

import (
	"nuwa/graph"
	"nuwa/internal/linalg"
)

// sums are the outputs that give what one batch adds to Moments.
type sums struct {
	rows, sum string
	pieces    []int    // widths of the pieces that the channels are cut into
	grams     []string // of each piece with itself and those after it, piece by piece
}

// ask makes v an output.
func ask(g *graph.Graph, v *graph.Value) string {
	g.AddOutput(v)
	return v.Name()
}

// askSums has m give the number of rows and the sum of the matrix x, and the
// second moment of the rows of scaled, both of the given width.
func askSums(m *graph.Model, x, scaled *graph.Value, width int) sums {
	g := m.Graph
	s := sums{rows: ask(g, g.Add("Shape", "rows", []*graph.Value{x}).Output(0)), sum: ask(g, sumRows(m, x)), pieces: pieces(width)}
	parts := split(m, scaled, s.pieces)
	for i, a := range parts {
		for _, b := range parts[i:] {
			s.grams = append(s.grams, ask(g, g.Add("Gemm", "gram", []*graph.Value{a, b, zero(g)}, graph.Int("transA", 1)).Output(0)))
		}
	}
	return s
}

// A second moment is symmetric: of its blocks, those below the diagonal need
// not be computed.
const (
	mostPieces = 4
	leastPiece = 128 // channels: smaller products waste more than is spared
)

// pieces returns the widths of the blocks that a second moment is computed in.
func pieces(width int) []int {
	n := max(1, min(mostPieces, width/leastPiece))
	out := make([]int, n)
	for i := range out {
		out[i] = (i+1)*width/n - i*width/n
	}
	return out
}

// split cuts the columns of the matrix x.
func split(m *graph.Model, x *graph.Value, widths []int) []*graph.Value {
	if len(widths) == 1 {
		return []*graph.Value{x}
	}
	sizes := make([]int64, len(widths))
	for i, w := range widths {
		sizes[i] = int64(w)
	}
	n := m.Graph.Add("Split", "piece", []*graph.Value{x}, graph.Int("axis", 1))
	if m.Opset("") < 13 {
		n.SetAttr(graph.Ints("split", sizes...))
	} else {
		n.SetInput(1, m.Graph.AddConst("piece_sizes", graph.NewTensor([]int64{int64(len(sizes))}, sizes)))
	}
	for range sizes[1:] {
		n.AddOutput(m.Graph.UniqueName("piece"))
	}
	return n.Outputs()
}

// add takes the sums of one batch out of a run's results.
func (s sums) add(m *linalg.Moments, res map[string]*graph.Tensor) error {
	n, sum, err := s.first(res)
	if err != nil {
		return err
	}
	grams := make([][]float32, len(s.grams))
	for i, name := range s.grams {
		if grams[i], err = res[name].Float32s(); err != nil {
			return err
		}
	}
	return m.AddBlocks(n, sum, s.pieces, grams)
}

// first returns the number of rows of one batch and their sum.
func (s sums) first(res map[string]*graph.Tensor) (rows int, sum []float32, err error) {
	shape, err := res[s.rows].Ints()
	if err != nil {
		return 0, nil, err
	}
	sum, err = res[s.sum].Float32s()
	return int(shape[0]), sum, err
}

// groupSums are the outputs that give what one batch adds to the Moments of
// groups of channels.
type groupSums struct {
	rows, sum, gram string
	groups, width   int
}

// askGroups has m give the sums of the rows of the matrix x and their second
// moments within groups of channels, all of one size.
func askGroups(m *graph.Model, x *graph.Value, groups [][]int) groupSums {
	g := m.Graph
	s := groupSums{groups: len(groups), width: len(groups[0])}
	s.rows = ask(g, g.Add("Shape", "rows", []*graph.Value{x}).Output(0))
	s.sum = ask(g, sumRows(m, x))
	var order []int64
	for _, group := range groups {
		for _, c := range group {
			order = append(order, int64(c))
		}
	}
	ints := func(name string, xs ...int64) *graph.Value {
		return g.AddConst(name, graph.NewTensor([]int64{int64(len(xs))}, xs))
	}
	x = g.Add("Transpose", "channels_first", []*graph.Value{x}, graph.Ints("perm", 1, 0)).Output(0)
	x = g.Add("Gather", "grouped", []*graph.Value{x, ints("order", order...)}, graph.Int("axis", 0)).Output(0)
	x = g.Add("Reshape", "groups", []*graph.Value{x, ints("groups_shape", int64(s.groups), int64(s.width), -1)}).Output(0)
	t := g.Add("Transpose", "groups_t", []*graph.Value{x}, graph.Ints("perm", 0, 2, 1)).Output(0)
	s.gram = ask(g, g.Add("MatMul", "group_gram", []*graph.Value{x, t}).Output(0))
	return s
}

// add takes the sums of one batch out of a run's results.
func (s groupSums) add(ms []*linalg.Moments, groups [][]int, res map[string]*graph.Tensor) error {
	n, sum, err := sums{rows: s.rows, sum: s.sum}.first(res)
	if err != nil {
		return err
	}
	gram, err := res[s.gram].Float32s()
	if err != nil {
		return err
	}
	size := s.width * s.width
	for i, m := range ms {
		own := make([]float32, s.width)
		for j, c := range groups[i] {
			own[j] = sum[c]
		}
		if err := m.Add(n, own, gram[i*size:(i+1)*size]); err != nil {
			return err
		}
	}
	return nil
}
