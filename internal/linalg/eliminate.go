package linalg

import (
	"fmt"
	"math"
	"slices"

	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/blas64"
	"gonum.org/v1/gonum/mat"
)

const (
	// minEliminationRidge bounds the inverse that an Eliminator carries. Two
	// neurons that always agree have an inverse as large as one over the
	// ridge; the square of that must leave digits for the twin that remains.
	minEliminationRidge = 1e-6

	// panelWidth is how many drops are held back before the inverse and the
	// weight are updated, by one matrix product instead of many vector ones.
	panelWidth = 64
)

// Eliminator drops the neurons of a hidden layer one after the other, the
// others taking over as well as they can after each (optimal brain surgeon, as
// OSSCAR, arXiv 2403.12983). With C the second moment of the activations and
// W the weight of the r neurons left that fits the full layer's output best,
// dropping neuron j adds
//
//	Σ_c F_c·W_jc² / [C_rr⁻¹]_jj
//
// to the squared error per row, exactly, if all others are then solved again.
// F are Options.Weight. Errors of different layers with weights from one loss
// may be compared, which lets layers compete for the same budget:
//
//	for budget > 0 {
//		best := the layer whose Cheapest costs least
//		j, _ := best.Cheapest()
//		err := best.Drop(j)
//	}
//
// A drop costs O(e·d + e·64) and, every 64th, a matrix product of O(e²·64):
// O(e²·d + e³) for a whole layer. An Eliminator holds an e×e matrix.
type Eliminator struct {
	Cond Condition // of C, with the ridge

	kept  []int // the neuron in each row of inv and w, ascending
	row   []int // the row of each neuron; −1 once dropped
	gone  []bool
	left  int
	inv   *mat.Dense // [C_rr⁻¹], without the held-back drops
	w     *mat.Dense // r×d, without the held-back drops
	f     []float64
	diag  []float64 // diagonal of C + λ, by neuron: no inverse has a smaller diagonal than its reciprocal
	pivot []float64 // current diagonal of the inverse, by row
	norm  []float64 // current Σ_c F_c·W_jc², by row
	cost  float64

	// The held-back drops: the true inverse is inv − V·Vᵀ, the true weight
	// w − V·Z, over the first held columns of V and rows of Z.
	v, z *mat.Dense // r×panelWidth, panelWidth×d
	held int
}

// NewEliminator prepares the elimination of the neurons whose output weight is
// w (e×d, one row per neuron, not modified) and whose activations have moments
// m, centred if o.Affine: the bias then takes over the mean. The ridge is at
// least 1e-6 of the second moment's scale.
func NewEliminator(m *Moments, w *mat.Dense, o Options) (*Eliminator, error) {
	if err := m.check("NewEliminator", w, o); err != nil {
		return nil, err
	}
	n, d := w.Dims()
	inv, diag, cond, err := invert(m, o.Affine, math.Max(o.Ridge, minEliminationRidge))
	if err != nil {
		return nil, err
	}
	e := &Eliminator{
		Cond: cond, left: n, f: slices.Clone(o.Weight),
		kept: make([]int, n), row: make([]int, n), gone: make([]bool, n),
		inv: inv, w: mat.DenseCopyOf(w), diag: diag,
		pivot: make([]float64, n), norm: make([]float64, n),
		v: mat.NewDense(n, panelWidth, nil), z: mat.NewDense(panelWidth, d, nil),
	}
	for j := range n {
		e.kept[j], e.row[j] = j, j
	}
	e.refresh()
	return e, nil
}

// Left returns how many neurons are not dropped yet.
func (e *Eliminator) Left() int { return e.left }

// Kept returns the neurons not dropped yet, ascending.
func (e *Eliminator) Kept() []int {
	out := make([]int, 0, e.left)
	for i, j := range e.kept {
		if !e.gone[i] {
			out = append(out, j)
		}
	}
	return out
}

// Scores returns what dropping each neuron of Kept would cost now, in the same
// order: the error it adds per row of H.
func (e *Eliminator) Scores() []float64 {
	out := make([]float64, 0, e.left)
	for i := range e.kept {
		if !e.gone[i] {
			out = append(out, e.score(i))
		}
	}
	return out
}

// Cheapest returns the neuron whose drop costs least, the lowest of equals,
// and its cost; −1 and +Inf when a single neuron is left.
func (e *Eliminator) Cheapest() (neuron int, cost float64) {
	neuron, cost = -1, math.Inf(1)
	if e.left < 2 {
		return neuron, cost
	}
	for i, j := range e.kept {
		if s := e.score(i); !e.gone[i] && (neuron < 0 || s < cost) {
			neuron, cost = j, s
		}
	}
	return neuron, cost
}

// Cost returns the squared error per row that all drops so far have added.
func (e *Eliminator) Cost() float64 { return e.cost }

// Weights returns the fitted weight of the neurons of Kept, r×d, pulled
// towards the one given by the ridge. It equals Reconstruct's, up to the
// rounding of the updates, for the same ridge.
func (e *Eliminator) Weights() *mat.Dense {
	e.flush()
	return mat.DenseCopyOf(e.w)
}

// Drop removes neurons, solving for the others after each. It fails, having
// dropped nothing, when one was dropped before or none would be left.
func (e *Eliminator) Drop(neurons ...int) error {
	sorted := slices.Sorted(slices.Values(neurons))
	for i, j := range sorted {
		if j < 0 || j >= len(e.row) || e.row[j] < 0 || e.gone[e.row[j]] || i > 0 && sorted[i-1] == j {
			return mismatch("Eliminator.Drop", fmt.Sprintf("neuron %d of %v", j, neurons), "neurons still kept, each once")
		}
	}
	if len(neurons) >= e.left {
		return mismatch("Eliminator.Drop", fmt.Sprintf("%d neurons of the %d left", len(neurons), e.left), "fewer")
	}
	for _, j := range neurons {
		e.drop(e.row[j])
	}
	return nil
}

func (e *Eliminator) score(i int) float64 {
	return e.norm[i] / math.Max(e.pivot[i], 1/e.diag[e.kept[i]])
}

// drop removes the neuron in row i: with v = K_i/√K_ii and z = W_i/√K_ii for
// the inverse K and the weight W, K becomes K − v·vᵀ and W becomes W − v·z.
func (e *Eliminator) drop(i int) {
	if e.held == panelWidth {
		neuron := e.kept[i]
		e.flush()
		i = e.row[neuron]
	}
	e.cost += e.score(i)
	r, d := e.w.Dims()
	p := e.held
	vi := slices.Clone(e.v.RawRowView(i)[:p])

	v := slices.Clone(e.inv.RawRowView(i))
	z := e.z.RawRowView(p)
	copy(z, e.w.RawRowView(i))
	if p > 0 {
		gemv(blas.NoTrans, -1, e.v.Slice(0, r, 0, p), vi, 1, v)
		gemv(blas.Trans, -1, e.z.Slice(0, p, 0, d), vi, 1, z)
	}
	s := 1 / math.Sqrt(math.Max(v[i], 1/e.diag[e.kept[i]]))
	blas64.Scal(s, vec(v))
	blas64.Scal(s, vec(z))

	// The norms follow from ⟨W_k, z⟩ alone: ‖W_k − v_k·z‖² expanded.
	fz := slices.Clone(z)
	for c, f := range e.f {
		fz[c] *= f
	}
	zz := blas64.Dot(vec(z), vec(fz))
	along := make([]float64, r)
	gemv(blas.NoTrans, 1, e.w, fz, 0, along)
	if p > 0 {
		mix := make([]float64, p)
		gemv(blas.NoTrans, 1, e.z.Slice(0, p, 0, d), fz, 0, mix)
		gemv(blas.NoTrans, -1, e.v.Slice(0, r, 0, p), mix, 1, along)
	}
	for k := range r {
		e.v.Set(k, p, v[k])
		e.pivot[k] -= v[k] * v[k]
		e.norm[k] = math.Max(0, e.norm[k]+v[k]*(v[k]*zz-2*along[k]))
	}
	e.gone[i] = true
	e.left--
	e.held++
}

// flush applies the held-back drops and takes the dropped rows out.
func (e *Eliminator) flush() {
	if e.held == 0 {
		return
	}
	var stay []int
	for i, j := range e.kept {
		if e.gone[i] {
			e.row[j] = -1
		} else {
			e.row[j] = len(stay)
			stay = append(stay, i)
		}
	}
	n, p := len(stay), e.held
	_, d := e.w.Dims()
	e.inv = compact(e.inv, stay, stay)
	e.w = compact(e.w, stay, nil)
	e.v = compact(e.v, stay, nil)
	for a, i := range stay {
		e.kept[a] = e.kept[i]
	}
	e.kept, e.left, e.gone = e.kept[:n], n, make([]bool, n)
	e.pivot, e.norm = e.pivot[:n], e.norm[:n]

	v, z := general(e.v.Slice(0, n, 0, p)), general(e.z.Slice(0, p, 0, d))
	blas64.Gemm(blas.NoTrans, blas.Trans, -1, v, v, 1, e.inv.RawMatrix())
	blas64.Gemm(blas.NoTrans, blas.NoTrans, -1, v, z, 1, e.w.RawMatrix())
	e.held = 0
	e.refresh()
}

// refresh computes pivots and norms from the inverse and the weight.
func (e *Eliminator) refresh() {
	for i := range e.kept {
		e.pivot[i] = e.inv.At(i, i)
		row := e.w.RawRowView(i)
		sum := 0.0
		for c, x := range row {
			if e.f != nil {
				x *= x * e.f[c]
			} else {
				x *= x
			}
			sum += x
		}
		e.norm[i] = sum
	}
}

// compact moves the given rows, and columns unless cols is nil, of m to its
// front and returns them as a matrix over the same memory.
func compact(m *mat.Dense, rows, cols []int) *mat.Dense {
	raw := m.RawMatrix()
	width := raw.Cols
	if cols != nil {
		width = len(cols)
	}
	for a, i := range rows {
		from, to := raw.Data[i*raw.Stride:i*raw.Stride+raw.Cols], raw.Data[a*width:(a+1)*width]
		if cols == nil {
			copy(to, from)
			continue
		}
		for b, j := range cols {
			to[b] = from[j]
		}
	}
	return mat.NewDense(len(rows), width, raw.Data[:len(rows)*width])
}

func general(m mat.Matrix) blas64.General { return m.(*mat.Dense).RawMatrix() }

func gemv(t blas.Transpose, alpha float64, a mat.Matrix, x []float64, beta float64, y []float64) {
	blas64.Gemv(t, alpha, general(a), vec(x), beta, vec(y))
}
