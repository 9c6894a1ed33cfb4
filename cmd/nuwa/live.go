package main

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/term"

	"nuwa"
)

// live shows how a batch goes: on a terminal, a few lines that are kept up to
// date; in a pipe, a line for every step that ends.
type live struct {
	out     io.Writer
	width   int // of the terminal; 0 in a pipe
	quiet   bool
	began   time.Time
	drawn   time.Time
	lines   int // that are drawn
	running []nuwa.BatchProgress
	done    int
	models  int
}

func (a *app) live() *live {
	l := &live{out: a.err, quiet: a.config.GetBool("quiet"), began: time.Now()}
	if file, ok := a.err.(*os.File); ok && term.IsTerminal(int(file.Fd())) {
		l.width = 80
		if w, _, err := term.GetSize(int(file.Fd())); err == nil && w > 0 {
			l.width = w
		}
	}
	return l
}

// show takes note of a change.
func (l *live) show(p nuwa.BatchProgress) {
	if l.quiet {
		return
	}
	if p.Models > 0 {
		l.done, l.models = p.Finished, p.Models
	}
	at := slices.IndexFunc(l.running, func(r nuwa.BatchProgress) bool { return r.Step == p.Step })
	ended := p.State != "running" && p.Step != ""
	switch {
	case ended && at >= 0:
		l.running = slices.Delete(l.running, at, at+1)
	case !ended && at >= 0:
		l.running[at] = p
	case !ended && p.Step != "":
		l.running = append(l.running, p)
	}
	if ended {
		l.line(p)
	}
	if l.width > 0 && (ended || time.Since(l.drawn) > 100*time.Millisecond) {
		l.draw()
	}
}

// line tells of a step that ended.
func (l *live) line(p nuwa.BatchProgress) {
	l.erase()
	switch {
	case p.State == "done":
		fmt.Fprintf(l.out, "[%d/%d] %s: done in %.1f s\n", l.done, l.models, p.Step, p.Took.Seconds())
	default:
		fmt.Fprintf(l.out, "[%d/%d] %s: %s: %v\n", l.done, l.models, p.Step, p.State, p.Err)
	}
}

// draw writes what runs now below the lines about what ended.
func (l *live) draw() {
	l.erase()
	l.drawn = time.Now()
	lines := []string{fmt.Sprintf("%d of %d models, %s", l.done, l.models, time.Since(l.began).Round(time.Second))}
	for _, r := range l.running {
		s := "  " + r.Step
		if r.Stage != "" {
			s += ": " + r.Stage
		}
		if r.Total > 0 {
			s += fmt.Sprintf(" %d/%d", r.Done, r.Total)
		}
		lines = append(lines, s)
	}
	for i, s := range lines {
		if r := []rune(s); len(r) >= l.width {
			lines[i] = string(r[:l.width-1])
		}
	}
	fmt.Fprint(l.out, strings.Join(lines, "\n")+"\n")
	l.lines = len(lines)
}

// erase takes away what was drawn last.
func (l *live) erase() {
	if l.lines > 0 {
		fmt.Fprintf(l.out, "\x1b[%dA\x1b[J", l.lines)
	}
	l.lines = 0
}

func (l *live) close() { l.erase() }
