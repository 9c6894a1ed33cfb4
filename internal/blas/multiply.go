package blas

import (
	"context"
	"runtime"
	"slices"
	"sync"
	"unsafe"

	"golang.org/x/sync/errgroup"
	"gonum.org/v1/gonum/blas"

	"nuwa/graph"
	"nuwa/internal/engine"
	"nuwa/internal/ort"
)

// matrix is the operand of a product, its rows one behind the other; or, where
// transposed, those of its transpose.
type matrix struct {
	rows, cols int
	transposed bool
	data       []float64
}

// pack returns op(A), rows×cols, without what lies between the rows of A.
func pack(t blas.Transpose, rows, cols int, a []float64, lda int) matrix {
	m := matrix{rows: rows, cols: cols, transposed: t != blas.NoTrans}
	if m.transposed {
		rows, cols = cols, rows
	}
	if lda == cols {
		m.data = a[:rows*cols]
		return m
	}
	m.data = make([]float64, 0, rows*cols)
	for r := range rows {
		m.data = append(m.data, a[r*lda:r*lda+cols]...)
	}
	return m
}

// panelRows is how many rows of a product one run computes. It does not depend on
// the number of cores, so that the result does not.
const panelRows = 256

// panel returns the rows of m from from on, panelRows at most.
func (m matrix) panel(from int) matrix {
	to := min(from+panelRows, m.rows)
	p := matrix{rows: to - from, cols: m.cols, transposed: m.transposed}
	if m.transposed {
		return pack(blas.Trans, p.rows, p.cols, m.data[from:], m.rows)
	}
	p.data = m.data[from*m.cols : to*m.cols]
	return p
}

// tensor shares the elements of m.
func (m matrix) tensor() *graph.Tensor {
	dims := []int64{int64(m.rows), int64(m.cols)}
	if m.transposed {
		slices.Reverse(dims)
	}
	return &graph.Tensor{Type: graph.Float64, Dims: dims, Data: unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(m.data))), 8*len(m.data))}
}

// multiply returns x·y, row by row.
func multiply(x, y matrix) ([]float64, error) {
	s, err := sessions[kind{x.transposed, y.transposed}]()
	if err != nil {
		return nil, err
	}
	product := make([]float64, x.rows*y.cols)
	right := y.tensor()
	var work errgroup.Group
	work.SetLimit(runtime.GOMAXPROCS(0))
	for from := 0; from < x.rows; from += panelRows {
		work.Go(func() error {
			out, err := s.Run(context.Background(), map[string]*graph.Tensor{"x": x.panel(from).tensor(), "y": right}, nil)
			if err == nil {
				data := out["product"].Data
				copy(product[from*y.cols:], unsafe.Slice((*float64)(unsafe.Pointer(unsafe.SliceData(data))), len(data)/8))
			}
			return err
		})
	}
	return product, work.Wait()
}

// kind tells which operands of a product are transposed.
type kind struct{ x, y bool }

// sessions multiply, and are opened when they are needed first.
var sessions = map[kind]func() (*ort.Session, error){}

func init() {
	for _, k := range []kind{{false, false}, {false, true}, {true, false}, {true, true}} {
		sessions[k] = sync.OnceValues(func() (*ort.Session, error) { return (&engine.Engine{Threads: 1}).Open(model(k)) })
	}
}

// model returns one that multiplies two matrices.
func model(k kind) *graph.Model {
	bit := map[bool]int64{true: 1}
	m := graph.NewModel(graph.Opset{Version: 13})
	open := graph.TensorType(graph.Float64, graph.Dim{}, graph.Dim{})
	x, y := m.Graph.AddInput("x", open), m.Graph.AddInput("y", open)
	n := m.Graph.Add("Gemm", "product", []*graph.Value{x, y}, graph.Int("transA", bit[k.x]), graph.Int("transB", bit[k.y]))
	n.Output(0).Type = open
	m.Graph.AddOutput(n.Output(0))
	return m
}
