package structure

import (
	"context"
	"math/rand/v2"
	"os"
	"slices"
	"testing"

	"nuwa/graph"
	"nuwa/internal/engine"
	"nuwa/internal/ort"
)

func TestMain(m *testing.M) {
	if _, err := ort.Load(""); err != nil {
		println(err.Error())
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// arrange computes slowly and plainly what a layout means: the codes of a
// target whose axes are the given lists of source digits.
func arrange(src []int64, digits [][]factor) (codes, dst []int64) {
	place := strides(src)
	codes, dst = []int64{0}, nil
	for _, axis := range digits {
		n := int64(1)
		for _, f := range axis {
			var next []int64
			for _, c := range codes {
				for i := range f.size {
					next = append(next, c+i*f.stride*place[f.axis])
				}
			}
			codes, n = next, n*f.size
		}
		dst = append(dst, n)
	}
	return codes, dst
}

// randomLayout draws source axes made of digits and shuffles the digits into
// target axes.
func randomLayout(rng *rand.Rand) (src []int64, digits [][]factor) {
	var all []factor
	for axis := range 1 + rng.IntN(3) {
		n := int64(1)
		for range 1 + rng.IntN(3) {
			size := int64(1 + rng.IntN(4))
			if size > 1 {
				all = append(all, factor{size: size, axis: axis, stride: n})
			}
			n *= size
		}
		src = append(src, n)
	}
	rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	for len(all) > 0 {
		k := 1 + rng.IntN(len(all))
		digits = append(digits, all[:k])
		all = all[k:]
		if rng.IntN(4) == 0 {
			digits = append(digits, nil)
		}
	}
	return src, digits
}

func TestDecodeAndEmitGiveBackTheRearrangement(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	e := &engine.Engine{Threads: 1, Plain: true}
	ran := 0
	for range 150 {
		src, digits := randomLayout(rng)
		codes, dst := arrange(src, digits)
		if len(dst) == 0 {
			continue
		}
		l, err := decode(codes, dst, src, len(src)-1)
		if err != nil {
			t.Fatalf("source %v, digits %v: %v", src, digits, err)
		}
		m := graph.NewModel(graph.Opset{Version: 14})
		var dims []graph.Dim
		for _, d := range src {
			dims = append(dims, graph.Fixed(d))
		}
		x := m.Graph.AddInput("x", graph.TensorType(graph.Int64, dims...))
		y, err := l.emit(m.Graph, x, "y")
		if err != nil {
			t.Fatal(err)
		}
		if y == x {
			y = m.Graph.Add("Identity", "y", []*graph.Value{x}).Output(0)
		}
		if n := len(m.Graph.Nodes()); n > 3 {
			t.Errorf("source %v, digits %v: %d operators, want at most 3", src, digits, n)
		}
		m.Graph.AddOutput(y)
		numbers := make([]int64, graph.Elements(src))
		for i := range numbers {
			numbers[i] = int64(i)
		}
		out, err := e.Run(context.Background(), m, map[string]*graph.Tensor{"x": graph.NewTensor(src, numbers)})
		if err != nil {
			t.Fatal(err)
		}
		got := out[y.Name()]
		xs, _ := got.Ints()
		if !slices.Equal(got.Dims, dst) || !slices.Equal(xs, codes) {
			t.Fatalf("source %v, digits %v: rebuilt as %v %v, want %v %v", src, digits, got.Dims, xs, dst, codes)
		}
		ran++
	}
	if ran < 100 {
		t.Errorf("only %d layouts ran", ran)
	}
}

func TestDecodeTakesAPartOfTheChannelsOnly(t *testing.T) {
	// The keys of a packed qkv: [2, 5, 3·2·4] → [2, 2, 5, 4], offset 8.
	digits := [][]factor{{{size: 2, axis: 0, stride: 1}}, {{size: 2, axis: 2, stride: 4}}, {{size: 5, axis: 1, stride: 1}}, {{size: 4, axis: 2, stride: 1}}}
	src := []int64{2, 5, 24}
	codes, dst := arrange(src, digits)
	for i := range codes {
		codes[i] += 8
	}
	l, err := decode(codes, dst, src, 2)
	if err != nil {
		t.Fatal(err)
	}
	if l.offset != 8 {
		t.Errorf("offset %d, want 8", l.offset)
	}
	heads, width := l.headFactors(3)
	if len(heads) != 1 || l.factors[heads[0]].size != 2 || len(width) != 1 || l.factors[width[0]].size != 4 {
		t.Errorf("heads %v, width %v of %v", heads, width, l.factors)
	}
}

func TestGrowsFindsTheBatchAmongTheDigitsOfAnAxis(t *testing.T) {
	// Tokens × batch on one axis, as nn.MultiheadAttention flattens it, taken apart into batch and tokens.
	at := func(batch int64) *layout {
		src := []int64{16 * batch, 6}
		codes, dst := arrange(src, [][]factor{{{size: batch, axis: 0, stride: 1}}, {{size: 16, axis: 0, stride: batch}}, {{size: 6, axis: 1, stride: 1}}})
		l, err := decode(codes, dst, src, 1)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	l := at(2)
	if err := l.grows(at(3)); err != nil {
		t.Fatal(err)
	}
	for i, want := range []bool{true, false, false} {
		if f := l.factors[l.dst[i][0]]; f.dynamic != want {
			t.Errorf("axis %d of size %d: grows %v, want %v", i, f.size, f.dynamic, want)
		}
	}
	whole := []int64{0, 1, 2, 3, 4, 5}
	flat, err := decode(whole, []int64{6}, []int64{1, 6}, 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.grows(flat); err == nil {
		t.Error("another layout was taken for the same at another batch size")
	}
}

func TestDecodeRefuses(t *testing.T) {
	src := []int64{4, 6}
	whole := make([]int64, 24)
	for i := range whole {
		whole[i] = int64(i)
	}
	flipped := slices.Clone(whole)
	slices.Reverse(flipped)
	shuffled := slices.Clone(whole)
	shuffled[3], shuffled[4] = shuffled[4], shuffled[3]
	repeated := slices.Concat(whole[:12], whole[:12])
	for name, codes := range map[string][]int64{
		"a flip": flipped, "two elements swapped": shuffled, "rows repeated": repeated, "rows missing": whole[:12], "rows from the middle": whole[6:18],
	} {
		if _, err := decode(codes, []int64{int64(len(codes) / 6), 6}, src, 1); err == nil {
			t.Errorf("%s: decoded", name)
		}
	}
}
