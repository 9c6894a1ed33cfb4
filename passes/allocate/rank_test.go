package allocate

import (
	"math"
	"math/rand/v2"
	"testing"
)

func TestRho(t *testing.T) {
	for _, c := range []struct{ alpha, want float64 }{
		{0, 1}, {0.1, 0.99799}, {0.3, 0.99253}, {0.5, 0.96875}, {0.7, 0.90697}, {1, 0.7},
	} {
		if got := Rho(c.alpha); math.Abs(got-c.want) > 1e-12 {
			t.Errorf("Rho(%g) = %.12f, want %g", c.alpha, got, c.want)
		}
	}
	for a := 0.0; a < 1; a += 0.01 {
		if Rho(a+0.01) >= Rho(a) {
			t.Fatalf("Rho does not fall at %g", a)
		}
	}
}

func TestRankFor(t *testing.T) {
	for _, c := range []struct {
		name     string
		energies [][]float64
		rho      float64
		want     int
	}{
		{"one head", [][]float64{{5, 3, 1, 1}}, 0.8, 2},
		{"just above", [][]float64{{5, 3, 1, 1}}, 0.801, 3},
		{"everything", [][]float64{{5, 3, 1, 1}}, 1, 4},
		{"half rank", [][]float64{{5, 3, 1e-28, 1e-30}}, 1, 2},
		{"mean of shares, not of energies", [][]float64{{1e6, 0, 0}, {1, 1, 1}}, 0.8, 2}, // (1 + 2/3)/2
		{"head without energy", [][]float64{{0, 0}, {1, 1}}, 0.7, 1},
		{"nothing asked", [][]float64{{1, 1}}, 0, 1},
		{"more than everything", [][]float64{{1, 1}}, 1.5, 2},
		{"heads of other lengths", [][]float64{{1}, {1, 1, 1, 1}}, 0.9, 4},
		{"no energy", [][]float64{{0, 0}}, 1, 1},
		{"no heads", nil, 1, 1},
	} {
		if got := RankFor(c.energies, c.rho); got != c.want {
			t.Errorf("%s: rank %d, want %d", c.name, got, c.want)
		}
	}
}

// The rank is the smallest that satisfies the definition, read off literally.
func TestRankForIsTheDefinition(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 0))
	for range 500 {
		energies := make([][]float64, 1+rng.IntN(6))
		n := 1 + rng.IntN(12)
		for h := range energies {
			energies[h] = make([]float64, n)
			x := 1.0
			for i := range n {
				energies[h][i] = x
				x *= rng.Float64()
			}
		}
		rho := rng.Float64()
		retained := func(k int) float64 {
			mean := 0.0
			for _, head := range energies {
				kept, total := 0.0, 0.0
				for i, e := range head {
					total += e
					if i < k {
						kept += e
					}
				}
				mean += kept / total / float64(len(energies))
			}
			return mean
		}
		k := RankFor(energies, rho)
		if retained(k) < rho-1e-9 || k > 1 && retained(k-1) > rho+1e-9 {
			t.Fatalf("rank %d retains %g, rank %d %g, wanted %g", k, retained(k), k-1, retained(k-1), rho)
		}
	}
}

func TestRound(t *testing.T) {
	for _, c := range []struct{ k, align, base, want int }{
		{1, 8, 32, 8}, {0, 8, 32, 8}, {8, 8, 32, 8}, {11, 8, 32, 8}, {12, 8, 32, 16}, {13, 8, 32, 16},
		{31, 8, 32, 32}, {32, 8, 32, 32}, {40, 8, 32, 32},
		{3, 8, 6, 6}, {6, 8, 6, 6}, // narrower than one multiple: as it is
		{33, 8, 36, 32}, {34, 8, 36, 36}, {36, 8, 36, 36}, // a base that is no multiple
		{5, 1, 6, 5}, {5, 0, 6, 5}, {5, 64, 64, 64},
	} {
		if got := Round(c.k, c.align, c.base); got != c.want {
			t.Errorf("Round(%d, %d, %d) = %d, want %d", c.k, c.align, c.base, got, c.want)
		}
	}
}

func TestRoundIsNearest(t *testing.T) {
	for base := 1; base < 40; base++ {
		for align := 1; align < 12; align++ {
			for k := 1; k <= base; k++ {
				got := Round(k, align, base)
				nearest := math.MaxInt
				for w := 1; w <= base; w++ {
					if w%align == 0 || w == base {
						nearest = min(nearest, max(w-k, k-w))
					}
				}
				if off := max(got-k, k-got); off != nearest || got > base || got%align != 0 && got != base {
					t.Fatalf("Round(%d, %d, %d) = %d, the nearest is %d away", k, align, base, got, nearest)
				}
			}
		}
	}
}

func TestBlockMACs(t *testing.T) {
	// DeiT-B: the products of its twelve blocks, counted by hand.
	b := Block{N: 197, D: 768, H: 12, Q: 64, V: 64, E: 3072}
	qkv, scores, mix, out := 197*768*3*768, 12*197*197*64, 12*197*197*64, 197*768*768
	mlp := 2 * 197 * 768 * 3072
	if got, want := b.MACs(), float64(qkv+scores+mix+out+mlp); got != want {
		t.Errorf("DeiT-B block: %g MACs, want %g", got, want)
	}
	if total := 12 * b.MACs(); math.Abs(total-17.45e9) > 0.05e9 {
		t.Errorf("DeiT-B: %g MACs, want about 17.45e9", total)
	}
	gated := b
	gated.Gated = true
	if got, want := gated.MACs()-b.MACs(), float64(mlp/2); got != want {
		t.Errorf("a gate costs %g, want %g", got, want)
	}
	windowed := b
	windowed.Window = 49
	if got, want := b.MACs()-windowed.MACs(), float64(2*12*197*(197-49)*64); got != want {
		t.Errorf("windows save %g, want %g", got, want)
	}
	narrow := b
	narrow.E--
	if got := b.MACs() - narrow.MACs(); got != b.HiddenCost() {
		t.Errorf("one neuron saves %g, said to be %g", got, b.HiddenCost())
	}
}
