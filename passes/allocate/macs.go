package allocate

// Block is the shape of one block of a ViT, as far as its cost depends on it.
type Block struct {
	N     int  // tokens
	D     int  // embedding width
	H     int  // heads
	Q, V  int  // query/key and value/output width per head
	E     int  // hidden width
	Gated bool // the hidden layer has a second input map, its gate

	// Window is the number of tokens that each token attends to, where it is
	// not all N of them.
	Window int
}

// MACs returns the multiply-accumulates of the block's products,
// (2·N·d + N²)·H·(q+v) + 2·N·d·e; 3·N·d·e if the hidden layer is gated, and
// N·Window for N² in window attention.
func (b Block) MACs() float64 {
	n, d := float64(b.N), float64(b.D)
	seen := n
	if b.Window > 0 {
		seen = float64(b.Window)
	}
	return (2*n*d+n*seen)*float64(b.H)*float64(b.Q+b.V) + float64(b.E)*b.HiddenCost()
}

// HiddenCost returns the multiply-accumulates of one hidden neuron: 2·N·d, or
// 3·N·d if gated.
func (b Block) HiddenCost() float64 {
	maps := 2.0
	if b.Gated {
		maps = 3
	}
	return maps * float64(b.N) * float64(b.D)
}
