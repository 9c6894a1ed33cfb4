package grad

import (
	"math"
	"math/rand/v2"
	"testing"
)

// TestCuts holds the choice of cuts to trying all of them.
func TestCuts(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 3))
		n := 1 + r.IntN(9)
		made, held := make([]int64, n), make([]int64, n)
		largest := int64(0)
		for i := range n {
			made[i], held[i] = int64(r.IntN(20)), int64(r.IntN(20))
			largest = max(largest, made[i])
		}
		limit := largest + int64(r.IntN(40))
		cost := func(cut func(i int) bool) int64 { // of cutting before some nodes, none of them the first
			held0, inside := int64(0), int64(0)
			for i := range n {
				if i > 0 && cut(i) {
					held0, inside = held0+held[i], 0
				}
				if inside += made[i]; inside > limit {
					return math.MaxInt64
				}
			}
			return held0
		}
		want := int64(math.MaxInt64)
		for choice := range 1 << (n - 1) {
			want = min(want, cost(func(i int) bool { return choice>>(i-1)&1 == 1 }))
		}
		got, cuts := cutsWithin(made, held, limit)
		at := map[int]bool{}
		for _, i := range cuts {
			at[i] = true
		}
		if got != want || cost(func(i int) bool { return at[i] }) != want {
			t.Fatalf("made %v held %v limit %d: cuts %v cost %d, want %d", made, held, limit, cuts, got, want)
		}
	}
}
