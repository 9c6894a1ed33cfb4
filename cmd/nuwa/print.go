package main

import (
	"fmt"
	"io"
	"os"
	"slices"
	"text/tabwriter"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"nuwa"
)

// writeBlocks prints widths before and after.
func writeBlocks(w io.Writer, blocks []nuwa.BlockWidths) error {
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	fmt.Fprintln(t, "block\theads\tq/k\tv/o\thidden")
	for i, b := range blocks {
		fmt.Fprintf(t, "%d\t%s\t%s\t%s\t%s\n", i, change(b.Heads), change(b.QK), change(b.VO), change(b.Hidden))
	}
	return t.Flush()
}

func number(n int) string {
	if n == 0 {
		return "-"
	}
	return fmt.Sprint(n)
}

func change(w [2]int) string {
	switch {
	case w[0] == w[1]:
		return number(w[0])
	case w[1] == 0:
		return fmt.Sprintf("%d → none", w[0])
	}
	return fmt.Sprintf("%d → %d", w[0], w[1])
}

// progress returns a callback that draws a bar per stage on a terminal, and
// does nothing in a pipe; done clears the line.
func (a *app) progress() (show func(stage string, done, total int), done func()) {
	file, ok := a.err.(*os.File)
	if !ok || !term.IsTerminal(int(file.Fd())) || a.config.GetBool("quiet") {
		return nil, func() {}
	}
	var bar *progressbar.ProgressBar
	last := ""
	clear := func() {
		if bar != nil {
			_ = bar.Clear()
			bar = nil
		}
	}
	return func(stage string, n, total int) {
		if stage != last || bar == nil {
			clear()
			last = stage
			bar = progressbar.NewOptions(max(total, 1), progressbar.OptionSetWriter(file), progressbar.OptionSetDescription(stage),
				progressbar.OptionSetPredictTime(true), progressbar.OptionClearOnFinish(), progressbar.OptionThrottle(100e6))
		}
		bar.ChangeMax(max(total, 1))
		_ = bar.Set(n)
	}, clear
}

// sorted returns a sorted copy.
func sorted(names []string) []string { return slices.Sorted(slices.Values(names)) }
