package main

import (
	"context"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"nuwa/internal/fault"
)

func TestPanic(t *testing.T) {
	c := &cobra.Command{Run: func(*cobra.Command, []string) { panic("a defect") }}
	c.SetArgs([]string{})
	err := execute(context.Background(), c)
	if fault.KindOf(err) != fault.Internal || !strings.Contains(err.Error(), "a panic: a defect") || !strings.Contains(err.Error(), "main_test.go") {
		t.Errorf("got %v", err)
	}
}

// Every kind of error is explained, and in the order of its code.
func TestExitCodes(t *testing.T) {
	last := fault.Kind(0)
	for _, c := range exitCodes {
		if c.kind <= last || c.kind.String() == "unknown" || c.meaning == "" {
			t.Errorf("%d %s: %q", c.kind, c.kind, c.meaning)
		}
		for k := last + 1; k < c.kind; k++ {
			if k.String() != "unknown" {
				t.Errorf("exit code %d, %s, is not explained", k, k)
			}
		}
		last = c.kind
	}
}
