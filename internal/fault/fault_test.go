package fault_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"testing"

	"nuwa/internal/fault"
)

func TestError(t *testing.T) {
	for want, e := range map[string]*fault.Error{
		"":                                  {},
		"a.onnx: node 3: got x, want y (z)": {File: "a.onnx", Where: "node 3", Got: "x", Want: "y", Remedy: "z"},
		"a.onnx: x":                         {File: "a.onnx", Got: "x"},
		"want y: file does not exist":       {Want: "y", Err: fs.ErrNotExist},
		"node 3 (z)":                        {Where: "node 3", Remedy: "z"},
	} {
		if got := e.Error(); got != want {
			t.Errorf("%+v gives %q, want %q", e, got, want)
		}
	}
}

func TestExitCode(t *testing.T) {
	inner := &fault.Error{Kind: fault.Data, Err: fs.ErrNotExist}
	for _, c := range []struct {
		err  error
		want int
	}{
		{nil, 0},
		{errors.New("plain"), 1},
		{inner, 4},
		{fmt.Errorf("around: %w", inner), 4},
		{&fault.Error{Kind: fault.Model, Err: inner}, 3},
		{fmt.Errorf("around: %w", context.Canceled), 130},
		{fmt.Errorf("around: %w", context.DeadlineExceeded), 130},
	} {
		if got := fault.ExitCode(c.err); got != c.want {
			t.Errorf("%v has exit code %d, want %d", c.err, got, c.want)
		}
	}
	if !errors.Is(inner, fs.ErrNotExist) {
		t.Error("the cause is not found behind a fault")
	}
}

func TestDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"", "abc", 3}, {"kitten", "sitting", 3}, {"flaw", "lawn", 2}, {"é", "e", 1}, {"same", "same", 0}} {
		if got, back := fault.Distance(c.a, c.b), fault.Distance(c.b, c.a); got != c.want || back != c.want {
			t.Errorf("%q and %q: got %d and %d, want %d", c.a, c.b, got, back, c.want)
		}
	}
}

func TestNearest(t *testing.T) {
	names := []string{"seed", "rate", "data", "date"}
	if got := fault.Nearest("rte", names, 2); !slices.Equal(got, []string{"rate", "date"}) {
		t.Errorf("nearest to rte: %q", got)
	}
	if got := fault.Nearest("x", names[:1], 3); !slices.Equal(got, names[:1]) || names[0] != "seed" {
		t.Errorf("nearest of one: %q", got)
	}
}
