package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"nuwa"
	"nuwa/configs"
	"nuwa/internal/fault"
	"nuwa/internal/figures"
)

// overrides are the flags of batch that stand for keys of its file.
var overrides = map[string]string{
	"base": "base", "data": "data.train", "test": "data.test", "labels": "data.labels", "recipe": "defaults.recipe", "seed": "defaults.seed", "images": "defaults.images",
	"output": "output.dir",
}

func (a *app) batch() *cobra.Command {
	c := &cobra.Command{
		Use: "batch FILE",
		Example: `  nuwa config init batch.yaml
  nuwa batch batch.yaml --dry-run
  nuwa batch batch.yaml --memory 8GB
  nuwa batch batch.yaml -o elsewhere --seed 2`,
		Short: "Make models for many tasks, sizes and targets from one file",
		Long: `Batch makes every task of a file at every size for every target. What models
share is done once: the base is opened once, a task is learned once, and a size
is slimmed once for targets that want the same widths. Steps run side by side as
far as --cores and --memory allow; a model that fails leaves the others alone.

A run that was killed goes on when the same command is given again: models that
are finished stay as they are, and what was learned comes from the cache. Each
model gets its report when it is finished. When the file was edited, models that
an earlier run made and that nobody changed are replaced; no other file is,
without --force. With
the same number of threads, models are bit for bit those of nuwa derive.`,
		Args: args(1, 1, "a file that nuwa config init writes"),
		RunE: func(cmd *cobra.Command, args []string) error {
			v := a.config
			over := map[string]any{}
			for flag, key := range overrides {
				if cmd.Flags().Changed(flag) {
					over[key] = v.Get(flag)
				}
			}
			config, err := configs.Load(args[0], over)
			if err != nil {
				return err
			}
			o := nuwa.BatchOptions{Config: config, Runtime: a.runtime(), Cores: v.GetInt("cores"), Force: v.GetBool("force"), DryRun: v.GetBool("dry-run"),
				Bench: v.GetBool("bench"), Log: a.logger()}
			if o.Cores < 0 {
				return usageError("--cores", fmt.Sprint(o.Cores), "0, for all, or more")
			}
			if text := v.GetString("memory"); text != "" {
				if o.Memory, err = size(text); err != nil {
					return &fault.Error{Kind: fault.Usage, Where: "--memory", Err: err}
				}
			}
			if !v.GetBool("no-cache") {
				if o.Cache, err = a.cacheFolder(); err != nil {
					return err
				}
			}
			live := a.live()
			o.Progress = live.show
			res, err := nuwa.Batch(cmd.Context(), o)
			live.close()
			if err != nil {
				return err
			}
			if err := a.print(res, func(w io.Writer) error { return writeBatch(w, res, o) }); err != nil {
				return err
			}
			failed := res.Failed()
			if len(failed) == 0 {
				return nil
			}
			a.told = v.GetBool("json")
			return &fault.Error{Kind: fault.KindOf(failed[0].Err), Got: fmt.Sprintf("%d of %d models were not made", len(failed), len(res.Models)),
				Remedy: "the table tells why; the others are there"}
		},
	}
	f := c.Flags()
	f.String("base", "", "instead of base in the file")
	f.String("data", "", "instead of data.train")
	f.String("test", "", "instead of data.test")
	f.String("labels", "", "instead of data.labels")
	f.String("recipe", "", "instead of defaults.recipe")
	f.Uint64("seed", 0, "instead of defaults.seed")
	f.Int("images", 0, "instead of defaults.images")
	f.StringP("output", "o", "", "instead of output.dir")
	f.Int("cores", 0, "cores to keep busy; 0 means all. Each model is made with --threads, by default 1")
	f.String("memory", "", "most memory for steps together, as estimated, as in 8GB")
	f.Bool("bench", false, "measure latency too, of one model at a time")
	f.Bool("dry-run", false, "print the plan, with estimated time and memory")
	f.Bool("force", false, "replace files that are there and that no run with this cache made as they are")
	f.Bool("no-cache", false, "share no results with other runs; one that is killed begins anew")
	cacheFlag(f, "the user's own by default")
	return c
}

// writeBatch prints a table of all models.
func writeBatch(w io.Writer, r *nuwa.BatchResult, o nuwa.BatchOptions) error {
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	fmt.Fprintln(t, "task\tsize\ttarget\tmodel\trate\tMACs\tfile\tbase\taccuracy\tlatency\tin")
	for _, m := range r.Models {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s", m.Task, m.Size, m.Target, m.Status)
		if m.Result != nil && len(m.Result.Summary.Models) > 1 {
			base, slim := m.Result.Summary.Models[0], m.Result.Summary.Models[1]
			fmt.Fprintf(t, "\t%.3f\t%s\t%s", m.Result.Rate, figures.Count(slim.Size.MACs), figures.Bytes(slim.Size.Bytes))
			if base.Accuracy != nil && slim.Accuracy != nil {
				fmt.Fprintf(t, "\t%.2f %%\t%.2f %%", 100*base.Accuracy.Restricted.Accuracy, 100*slim.Accuracy.Restricted.Accuracy)
			} else {
				fmt.Fprint(t, "\t\t")
			}
			fmt.Fprint(t, "\t")
			if b := m.Result.Summary.Bench; b != nil && len(b.Models) > 1 {
				fmt.Fprint(t, figures.Duration(b.Models[1].Median))
			}
			fmt.Fprint(t, "\t", m.Output)
		}
		fmt.Fprintln(t)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	said := map[string]int{}
	for _, m := range r.Models {
		said[m.Task+m.Error]++
	}
	for _, m := range r.Models {
		switch n := said[m.Task+m.Error]; {
		case m.Error == "" || n == 0:
		case n > 1: // the task is what they have in common
			fmt.Fprintf(w, "%s failed, %d models: %s\n", m.Task, n, m.Error)
		default:
			fmt.Fprintf(w, "%s %s %s failed: %s\n", m.Task, m.Size, m.Target, m.Error)
		}
		said[m.Task+m.Error] = 0
	}
	if o.DryRun {
		return writePlan(w, r, o)
	}
	_, err := fmt.Fprintf(w, "\n%d of %d models are there after %.1f s; see %s\n", len(r.Models)-len(r.Failed()), len(r.Models), r.Seconds, r.Index)
	return err
}

// writePlan prints the steps that are left.
func writePlan(w io.Writer, r *nuwa.BatchResult, o nuwa.BatchOptions) error {
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	fmt.Fprintln(t, "\nstep\ttime\tmemory")
	for _, s := range r.Steps {
		fmt.Fprintf(t, "%s\t%s\t%s\n", s.Name, about(s.Seconds), figures.Bytes(s.Memory))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "\n%s, about %s and %s, as estimated; nothing was made\n", figures.Plural(len(r.Steps), "step", "steps"), about(r.Seconds), figures.Bytes(r.Memory))
	return err
}

func about(seconds float64) string {
	return strings.TrimSuffix(time.Duration(seconds*1e9).Round(100*time.Millisecond).String(), "0s")
}
