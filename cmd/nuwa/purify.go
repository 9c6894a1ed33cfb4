package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"

	"nuwa"
)

func (a *app) purify() *cobra.Command {
	c := &cobra.Command{
		Use: "purify vit.onnx",
		Example: `  nuwa purify vit.onnx -o anchor.onnx --data photos/train --classes cat,dog --purify-time 5m
  nuwa purify vit.onnx -o anchor.onnx --data photos/train --classes cat,dog --purify-loss wanted --purify-steps 2000`,
		Short: "Remove the hidden neurons that hurt the wanted classes",
		Long: `Purify learns, with all weights as they are, which hidden neurons to keep, and
writes the model without the others. Its outputs stay as wide as the base's.

A fifth of --data chooses among the masks on the way; --test, or else another
fifth, judges the result. A run that was interrupted goes on when the same
command is given again, from a checkpoint beside the output.`,
		Args: args(1, 1, "the base model"),
		RunE: func(cmd *cobra.Command, args []string) error {
			v := a.config
			if v.GetString("output") == "" {
				return usageError("--output", "no file", "where to write the anchor model")
			}
			pre, err := a.preprocess()
			if err != nil {
				return err
			}
			o := nuwa.PurifyOptions{
				Model: args[0], Output: v.GetString("output"), Data: v.GetString("data"), Test: v.GetString("test"),
				Classes: a.list("classes"), Labels: v.GetString("labels"), ImageRoot: v.GetString("image-root"), MultiLabel: v.GetBool("multilabel"), Purification: a.purification(),
				Preprocess: pre, Runtime: a.runtime(), Seed: v.GetUint64("seed"), Force: v.GetBool("force"),
			}
			o.Method = v.GetString("method")
			rep, err := a.newReport(o.Model, o.Output)
			if err != nil {
				return err
			}
			defer rep.discard()
			show, done := a.progress()
			o.Progress = show
			res, err := nuwa.Purify(cmd.Context(), o)
			done()
			if err != nil {
				return err
			}
			res.Provenance.Command = command(cmd, args)
			if err := rep.write(res); err != nil {
				return err
			}
			return a.print(res, func(w io.Writer) error { return writeAnchor(w, res) })
		},
	}
	f := c.Flags()
	f.StringP("output", "o", "", "where to write the anchor model")
	f.String("test", "", "images to judge by, as for --data; never learned from")
	f.String("method", "ste", "ste: scores learned step by step; first or second: one gradient pass, to first or second order")
	f.Uint64("seed", 0, "seed of every random choice")
	f.Bool("force", false, "replace an existing output or report")
	reportFlag(f)
	purifyFlags(f)
	dataFlags(f)
	return c
}

// purifyFlags are those of commands that purify.
func purifyFlags(f *pflag.FlagSet) {
	f.String("purify-loss", "", "classes that the loss is over: all or wanted; by default wanted for recipe best, else all")
	f.Int("purify-steps", 10000, "most steps")
	f.Duration("purify-time", 0, "most time, as 90s or 10m; 0 means no limit")
	f.Int("purify-batch", 0, "images per step; 0 means 1, or as many as the model fixes")
	f.Int("purify-patience", 0, "judgements without a better one before learning ends; 0 means never")
	f.String("purify-checkpoint", "", "file that an interrupted run goes on from; the output's name with .purify by default")
	f.Bool("balance", false, "weigh images by the inverse frequency of their class, judge by the mean of classes, and calibrate on equally many images of each")
}

func (a *app) purification() nuwa.Purification {
	v := a.config
	return nuwa.Purification{
		Loss: v.GetString("purify-loss"), Steps: v.GetInt("purify-steps"), Time: v.GetDuration("purify-time"), Batch: v.GetInt("purify-batch"),
		Patience: v.GetInt("purify-patience"), Checkpoint: v.GetString("purify-checkpoint"), Balance: v.GetBool("balance"), Watch: a.watch(),
	}
}

// watch returns a callback that keeps one line about learning up to date on a
// terminal; nil in a pipe.
func (a *app) watch() func(nuwa.PurifyProgress) {
	file, ok := a.err.(*os.File)
	if !ok || !term.IsTerminal(int(file.Fd())) || a.config.GetBool("quiet") {
		return nil
	}
	var shown time.Time
	return func(p nuwa.PurifyProgress) {
		if time.Since(shown) < 100*time.Millisecond && p.Step < p.Steps {
			return
		}
		shown = time.Now()
		line := fmt.Sprintf("step %d of %d   loss %.3f   validation %.2f %% (best %.2f)   neurons %s   %s left",
			p.Step, p.Steps, p.Loss, 100*p.Accuracy, 100*p.Best, strings.Trim(fmt.Sprint(p.Kept), "[]"), p.Left.Round(time.Second))
		if width, _, err := term.GetSize(int(file.Fd())); err == nil && len(line) >= width {
			line = line[:max(0, width-1)]
		}
		fmt.Fprintf(file, "\r\x1b[K%s", line)
		if p.Step == p.Steps {
			fmt.Fprint(file, "\r\x1b[K")
		}
	}
}

func writeAnchor(w io.Writer, r *nuwa.Result) error {
	fmt.Fprintf(w, "%s, purified for %s: removed %.3f of the multiply-accumulates\n", r.Model, strings.Join(r.Classes, ", "), r.Rate)
	if r.Judged != "" {
		fmt.Fprintf(w, "accuracy on %s\n", r.Judged)
	}
	fmt.Fprintln(w)
	if err := r.Summary.Write(w); err != nil {
		return err
	}
	fmt.Fprintln(w)
	if err := writePurification(w, r.Purification); err != nil {
		return err
	}
	for _, n := range r.Notes {
		fmt.Fprintln(w, "note:", n)
	}
	_, err := fmt.Fprintf(w, "\nwrote %s in %.1f s\n", r.Output, r.Seconds)
	return err
}

// writePurification tells per block how many neurons went, and what the
// validation images say.
func writePurification(w io.Writer, p *nuwa.PurifyResult) error {
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	fmt.Fprintln(t, "block\thidden\tremoved")
	for _, l := range p.Layers {
		fmt.Fprintf(t, "%d\t%s\t%d\t%s\n", l.Block, change([2]int{l.Hidden, l.Kept}), l.Hidden-l.Kept, l.Reason)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(w, "validation %s over all classes %.2f → %.2f %%, among the wanted %.2f → %.2f %%\n",
		p.Metric, 100*p.Before.All, 100*p.After.All, 100*p.Before.Wanted, 100*p.After.Wanted)
	_, err := fmt.Fprintf(w, "%d steps in %.1f s until %s; best after step %d\n", p.Steps, p.Seconds, p.Stopped, p.Best)
	return err
}
