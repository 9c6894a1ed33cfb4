package latency

import (
	"math"
	"os"
	"testing"

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

// Points of the grid are timed once, and what lies between them is between.
func TestBetween(t *testing.T) {
	table := New(&engine.Engine{Threads: 1}, 16)
	ctx := t.Context()
	for _, c := range [][2]int{{32, 32}, {32, 64}} {
		if ns, err := table.Attention(ctx, Attention{Heads: 2, Queries: 17, Keys: 17}, c[0], c[1]); err != nil || !(ns > 0) {
			t.Fatalf("widths %v take %g ns, %v", c, ns, err)
		}
	}
	if len(table.times) != 2 {
		t.Errorf("%d points are timed, want 2: %v", len(table.times), table.times)
	}
	for key := range map[string]bool{"linear 8 32 32": true, "linear 8 32 48": true, "linear 8 48 32": true, "linear 8 48 48": true} {
		table.times[key] = map[string]float64{"linear 8 32 32": 100, "linear 8 32 48": 200, "linear 8 48 32": 300, "linear 8 48 48": 400}[key]
	}
	for _, c := range []struct {
		in, out int
		want    float64
	}{{32, 32, 100}, {48, 48, 400}, {32, 40, 150}, {40, 32, 200}, {40, 40, 250}, {36, 44, 0.75*0.25*100 + 0.75*0.75*200 + 0.25*0.25*300 + 0.25*0.75*400}} {
		got, err := table.Linear(ctx, 8, c.in, c.out)
		if err != nil || math.Abs(got-c.want) > 1e-9 {
			t.Errorf("%d → %d takes %g, %v; want %g", c.in, c.out, got, err, c.want)
		}
	}
	if _, err := table.Linear(ctx, 8, 0, 8); err == nil {
		t.Error("a width of zero was timed")
	}
}

// A map of twice the work takes longer.
func TestOrder(t *testing.T) {
	table := New(&engine.Engine{Threads: 1}, 16)
	small, err1 := table.Linear(t.Context(), 64, 128, 128)
	large, err2 := table.Linear(t.Context(), 64, 512, 512)
	if err1 != nil || err2 != nil || !(large > 2*small) {
		t.Errorf("16 times the work takes %g ns, once %g; %v %v", large, small, err1, err2)
	}
}

// Wide parts are timed at fewer points, so that a table of them is done in time.
func TestGridIsCoarserForWideParts(t *testing.T) {
	table := New(&engine.Engine{Threads: 1}, 4)
	for w := 4; w <= 512; w += 4 {
		if _, err := table.Activation(t.Context(), 4, w); err != nil {
			t.Fatal(err)
		}
	}
	if len(table.times) != 16+3*8 {
		t.Errorf("%d widths up to 512 are timed, want 40", len(table.times))
	}
}
