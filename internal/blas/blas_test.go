package blas

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"testing"

	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/blas64"
	"gonum.org/v1/gonum/blas/gonum"

	"nuwa/internal/ort"
)

var own gonum.Implementation

func normal(rng *rand.Rand, n int) []float64 {
	xs := make([]float64, n)
	for i := range xs {
		xs[i] = rng.NormFloat64()
	}
	return xs
}

// near fails unless got is want up to the rounding of sums of k terms.
func near(t *testing.T, what string, got, want []float64, k int) {
	t.Helper()
	for i := range want {
		if d := math.Abs(got[i] - want[i]); !(d <= 1e-14*float64(k)*math.Max(1, math.Abs(want[i]))) {
			t.Fatalf("%s: element %d is %g, want %g", what, i, got[i], want[i])
		}
	}
}

func TestMain(m *testing.M) {
	if ort.Loaded() {
		panic("something has loaded ONNX Runtime unasked")
	}
	x := normal(rand.New(rand.NewPCG(5, 1)), 1<<16)
	implementation{}.Dgemm(blas.NoTrans, blas.NoTrans, 256, 256, 256, 1, x, 256, x, 256, 0, make([]float64, 1<<16), 256)
	if ort.Loaded() {
		panic("a product has loaded ONNX Runtime")
	}
	if _, err := ort.Load(""); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

func TestGonumUsesIt(t *testing.T) {
	if _, ok := blas64.Implementation().(implementation); !ok {
		t.Errorf("gonum uses %T", blas64.Implementation())
	}
	for k, open := range sessions {
		if _, err := open(); err != nil {
			t.Errorf("%+v: %v", k, err)
		}
	}
}

var transposes = []blas.Transpose{blas.NoTrans, blas.Trans}

// Products are gonum's, in any spelling: in matrices with space behind their rows
// too, which stays as it was.
func TestDgemm(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for _, size := range [][3]int{{600, 70, 53}, {150, 130, 110}, {257, 64, 128}, {3, 2, 4}, {1, 1 << 11, 1 << 10}, {1 << 11, 1, 1 << 10}} {
		m, n, k := size[0], size[1], size[2]
		for _, tA := range transposes {
			for _, tB := range transposes {
				for _, space := range []int{0, 5} {
					for _, by := range [][2]float64{{1, 0}, {-1, 1}, {.5, -2}} {
						ar, ac, br, bc := m, k, k, n
						if tA == blas.Trans {
							ar, ac = ac, ar
						}
						if tB == blas.Trans {
							br, bc = bc, br
						}
						lda, ldb, ldc := ac+space, bc+space, n+space
						a, b, c := normal(rng, ar*lda), normal(rng, br*ldb), normal(rng, m*ldc)
						if by[1] == 0 {
							c[0] = math.NaN() // which must not be read
						}
						want := append([]float64(nil), c...)
						own.Dgemm(tA, tB, m, n, k, by[0], a, lda, b, ldb, by[1], want, ldc)
						implementation{}.Dgemm(tA, tB, m, n, k, by[0], a, lda, b, ldb, by[1], c, ldc)
						near(t, fmt.Sprint(size, tA, tB, space, by), c, want, k)
					}
				}
			}
		}
	}
}

// Triangular systems are solved, and triangles multiplied, as gonum does it.
func TestTriangles(t *testing.T) {
	rng := rand.New(rand.NewPCG(2, 1))
	for _, size := range [][2]int{{200, 150}, {70, 333}, {20, 30}} {
		m, n := size[0], size[1]
		for _, side := range []blas.Side{blas.Left, blas.Right} {
			for _, ul := range []blas.Uplo{blas.Upper, blas.Lower} {
				for _, tA := range transposes {
					for _, d := range []blas.Diag{blas.Unit, blas.NonUnit} {
						order := m
						if side == blas.Right {
							order = n
						}
						lda, ldb := order+3, n+2
						a, b := normal(rng, order*lda), normal(rng, m*ldb)
						for i := range a {
							a[i] /= 2 * float64(order)
						}
						for i := range order {
							a[i*lda+i] = 2 + rng.Float64()
						}
						what := fmt.Sprint(size, side, ul, tA, d)
						want := append([]float64(nil), b...)
						own.Dtrsm(side, ul, tA, d, m, n, .5, a, lda, want, ldb)
						implementation{}.Dtrsm(side, ul, tA, d, m, n, .5, a, lda, b, ldb)
						near(t, what+" solved", b, want, order)
						own.Dtrmm(side, ul, tA, d, m, n, 3, a, lda, want, ldb)
						implementation{}.Dtrmm(side, ul, tA, d, m, n, 3, a, lda, b, ldb)
						near(t, what+" multiplied", b, want, order)
					}
				}
			}
		}
	}
}

func TestDsyrk(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 1))
	for _, size := range [][2]int{{160, 90}, {201, 400}, {20, 10}} {
		n, k := size[0], size[1]
		for _, ul := range []blas.Uplo{blas.Upper, blas.Lower} {
			for _, tA := range transposes {
				rows, lda := n, k+3
				if tA == blas.Trans {
					rows, lda = k, n+3
				}
				ldc := n + 1
				a, c := normal(rng, rows*lda), normal(rng, n*ldc)
				want := append([]float64(nil), c...)
				own.Dsyrk(ul, tA, n, k, -1, a, lda, .5, want, ldc)
				implementation{}.Dsyrk(ul, tA, n, k, -1, a, lda, .5, c, ldc)
				near(t, fmt.Sprint(size, ul, tA), c, want, k)
			}
		}
	}
}

func BenchmarkDgemm(b *testing.B) {
	rng := rand.New(rand.NewPCG(4, 1))
	for _, n := range []int{48, 64, 100, 128, 256, 768, 1536} {
		x, y, c := normal(rng, n*n), normal(rng, n*n), make([]float64, n*n)
		for name, i := range map[string]blas.Float64Level3{"gonum": own, "ort": implementation{}} {
			b.Run(fmt.Sprint(name, n), func(b *testing.B) {
				for b.Loop() {
					i.Dgemm(blas.NoTrans, blas.Trans, n, n, n, 1, x, n, y, n, 1, c, n)
				}
				b.ReportMetric(2*float64(n)*float64(n)*float64(n)*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
			})
		}
	}
}
