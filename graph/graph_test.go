package graph

import (
	"math"
	"strings"
	"testing"
)

func small(t *testing.T) (*Model, *Value, *Value, *Value) {
	t.Helper()
	m := NewModel(Opset{Version: 17})
	x := m.Graph.AddInput("x", TensorType(Float32, Sym("batch"), Fixed(2)))
	w := m.Graph.AddConst("w", NewTensor([]int64{2, 2}, []float32{1, 2, 3, 4}))
	h := m.Graph.Add("MatMul", "h", []*Value{x, w}).Output(0)
	y := m.Graph.Add("Relu", "y", []*Value{h}).Output(0)
	m.Graph.AddOutput(y)
	if err := m.Check(); err != nil {
		t.Fatal(err)
	}
	return m, x, h, y
}

func TestRemoveIsRefusedWhileUsed(t *testing.T) {
	m, _, h, _ := small(t)
	err := h.Producer().Remove()
	if err == nil || !strings.Contains(err.Error(), `Relu "y"`) {
		t.Fatalf("got %v, want a refusal that names the user", err)
	}
	if err := m.Check(); err != nil {
		t.Fatal(err)
	}
}

func TestReplaceUsesKeepsTheSignature(t *testing.T) {
	m, x, h, y := small(t)
	y.Type = TensorType(Float32, Sym("batch"), Fixed(2))
	h.Type = TensorType(Float32, Sym("other"), Fixed(2))
	y.ReplaceUses(h)
	if got := m.Graph.Outputs()[0].Type.String(); got != "f32[batch,2]" {
		t.Errorf("output is declared as %s, want f32[batch,2]", got)
	}
	if err := y.Producer().Remove(); err != nil {
		t.Fatal(err)
	}
	if got := m.Graph.Outputs()[0].Name(); got != "y" {
		t.Errorf("output is called %q, want y", got)
	}
	h.ReplaceUses(x) // an input cannot be renamed: an Identity must stand in
	if got := m.Graph.Outputs()[0]; got.Name() != "y" || !got.Producer().Is("Identity") {
		t.Errorf("output is %q, want y from an Identity", got.Name())
	}
	if err := m.Check(); err != nil {
		t.Fatal(err)
	}
}

func TestCloneIsDeepAndSharesBytes(t *testing.T) {
	m, _, _, _ := small(t)
	before := m.String()
	c := m.Clone()
	if c.String() != before {
		t.Fatalf("clone prints\n%s\nwant\n%s", c, before)
	}
	if &c.Graph.Value("w").Const().Data[0] != &m.Graph.Value("w").Const().Data[0] {
		t.Error("clone copied the element bytes")
	}
	c.Graph.Nodes()[0].SetAttr(Int("a", 1))
	c.Graph.Value("h").ReplaceUses(c.Graph.Value("x"))
	if m.String() != before {
		t.Error("editing the clone changed the original")
	}
	for _, m := range []*Model{m, c} {
		if err := m.Check(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestSubgraphsReadOuterValues(t *testing.T) {
	m, x, h, _ := small(t)
	body := NewGraph("then")
	n := m.Graph.NewNode("If", "branch")
	n.SetInputs(x)
	n.SetAttr(&Attr{Name: "then_branch", Kind: AttrGraph, Graphs: []*Graph{body}})
	n.AddOutput("z")
	inner := body.Add("Neg", "inner", []*Value{h}).Output(0)
	body.AddOutput(inner)
	if err := m.Check(); err != nil {
		t.Fatal(err)
	}
	if got := body.Lookup("h"); got != h {
		t.Errorf("Lookup found %v, want the outer value", got)
	}
	if got := m.Graph.UniqueName("inner"); got == "inner" {
		t.Error("UniqueName gave a name that a nested graph uses")
	}
	if err := m.Clone().Check(); err != nil {
		t.Fatal(err)
	}
	if err := n.Remove(); err != nil {
		t.Fatal(err)
	}
	if got := len(h.Uses()); got != 1 {
		t.Errorf("h has %d uses after the branch is gone, want 1", got)
	}
	if err := m.Check(); err != nil {
		t.Fatal(err)
	}
}

func TestSortIsStableAndFindsCycles(t *testing.T) {
	m, _, h, y := small(t)
	m.Graph.MoveBefore(y.Producer(), h.Producer())
	if err := m.Graph.Sort(); err != nil {
		t.Fatal(err)
	}
	if got := m.Graph.Nodes()[0].Op; got != "MatMul" {
		t.Errorf("first node is %s, want MatMul", got)
	}
	h.Producer().SetInput(0, y)
	if err := m.Graph.Sort(); err == nil || !strings.Contains(err.Error(), "cycle: "+h.Producer().String()+" reads ") {
		t.Errorf("got %v, want a cycle that starts with %s", err, h.Producer())
	}
	if err := m.Check(); err == nil {
		t.Error("Check accepts a cycle")
	}
}

func TestRepeatedDeclarationsLapse(t *testing.T) {
	m, _, h, y := small(t)
	h.Type = TensorType(Float32, Sym("n"))
	r := m.Graph.Repeat(h)
	r.Type = TensorType(Float32, Fixed(7))
	m.Graph.Infos = append(m.Graph.Infos, h, r)
	o := m.Graph.Repeat(y)
	m.Graph.RepeatOutput(0, o)
	c := m.Clone()
	for _, m := range []*Model{m, c} {
		infos := m.Graph.Infos
		h, r := infos[len(infos)-2], infos[len(infos)-1]
		if r.Name() != h.Name() || !r.Current() || m.Graph.OutputDecl(0) == m.Graph.Outputs()[0] {
			t.Error("a repeated declaration does not hold though nothing changed")
		}
		h.Type = TensorType(Float32, Fixed(3))
		m.Graph.Outputs()[0].Type = TensorType(Float32)
		if r.Current() || !h.Current() || m.Graph.OutputDecl(0) != m.Graph.Outputs()[0] {
			t.Error("a repeated declaration holds after the value got another type")
		}
	}
	if len(m.Clone().Graph.Infos) != len(m.Graph.Infos)-1 {
		t.Error("a clone keeps a lapsed declaration")
	}
}

func TestCheckDims(t *testing.T) {
	for _, dims := range [][]int64{{-1}, {1 << 32, 1 << 32}, {1 << 62}, {0, 1 << 40, 1 << 40}} {
		if CheckDims(dims) == nil {
			t.Errorf("%v passes", dims)
		}
	}
	for _, dims := range [][]int64{nil, {0}, {3, 0, 5}, {1 << 50}} {
		if err := CheckDims(dims); err != nil {
			t.Error(err)
		}
	}
}

func TestHalfRoundTrip(t *testing.T) {
	for b := range 1 << 16 {
		x := halfFloat(uint16(b))
		if math.IsNaN(x) {
			continue
		}
		if got := halfBits(x); got != uint16(b) {
			t.Fatalf("%#04x decodes to %g, which encodes to %#04x", b, x, got)
		}
	}
	for x, want := range map[float64]uint16{1 + 1.0/2048: 0x3c00, 1 + 3.0/2048: 0x3c02, 65519: 0x7bff, 65520: 0x7c00, 1e-9: 0} {
		if got := halfBits(x); got != want {
			t.Errorf("halfBits(%g) = %#04x, want %#04x", x, got, want)
		}
	}
	for b := range 1 << 16 {
		x := float64(math.Float32frombits(uint32(b) << 16))
		if !math.IsNaN(x) && bfloatBits(x) != uint16(b) {
			t.Fatalf("bfloat16 %#04x does not survive", b)
		}
	}
}

func TestTensorCheckNamesTheDifference(t *testing.T) {
	bad := &Tensor{Name: "w", Type: Float32, Dims: []int64{2, 3}, Data: make([]byte, 20)}
	if err := bad.Check(); err == nil || !strings.Contains(err.Error(), "20 bytes, want 24") {
		t.Errorf("got %v", err)
	}
}
