package main

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"nuwa"
	"nuwa/internal/measure"
)

func (a *app) eval() *cobra.Command {
	c := &cobra.Command{
		Use: "eval model.onnx",
		Example: `  nuwa eval vit.onnx --data photos/test --classes cat,dog,ship
  nuwa eval slim.onnx --data photos/test --json
  nuwa eval vit.onnx --data labels.csv --image-root photos.zip`,
		Short: "Measure a model's accuracy",
		Args:  args(1, 1, "a model"),
		RunE: func(cmd *cobra.Command, args []string) error {
			pre, err := a.preprocess()
			if err != nil {
				return err
			}
			show, done := a.progress()
			acc, err := nuwa.Eval(cmd.Context(), nuwa.EvalOptions{
				Model: args[0], Data: a.config.GetString("data"), Classes: a.list("classes"), Labels: a.config.GetString("labels"),
				ImageRoot: a.config.GetString("image-root"), MultiLabel: a.config.GetBool("multilabel"),
				Batch: a.config.GetInt("batch"), Preprocess: pre, Runtime: a.runtime(), Progress: show,
			})
			done()
			if err != nil {
				return err
			}
			return a.print(acc, func(w io.Writer) error {
				return (&measure.Summary{Models: []measure.Report{{Name: args[0], Accuracy: acc}}}).Write(w)
			})
		},
	}
	dataFlags(c.Flags())
	c.Flags().Int("batch", 0, "images per run; 0 for a good number")
	return c
}

func (a *app) compare() *cobra.Command {
	c := &cobra.Command{
		Use: "compare vit.onnx slim.onnx",
		Example: `  nuwa compare vit.onnx slim.onnx --data photos/test
  nuwa compare vit.onnx slim.onnx --batch 8 --threads 1`,
		Short: "Hold a slim model against its base: accuracy, agreement, size, latency",
		Args:  args(2, 2, "the base and the slim model"),
		RunE: func(cmd *cobra.Command, args []string) error {
			pre, err := a.preprocess()
			if err != nil {
				return err
			}
			show, done := a.progress()
			sum, err := nuwa.Compare(cmd.Context(), nuwa.CompareOptions{
				Base: args[0], Slim: args[1], Data: a.config.GetString("data"), Classes: a.list("classes"), Labels: a.config.GetString("labels"),
				ImageRoot: a.config.GetString("image-root"), MultiLabel: a.config.GetBool("multilabel"),
				Preprocess: pre, Runtime: a.runtime(), Bench: a.benchOptions(), SkipBench: a.config.GetBool("no-bench"), Progress: show,
			})
			done()
			if err != nil {
				return err
			}
			return a.print(sum, func(w io.Writer) error {
				if err := sum.Write(w); err != nil || sum.Bench == nil {
					return err
				}
				fmt.Fprintln(w)
				return sum.Bench.Write(w)
			})
		},
	}
	dataFlags(c.Flags())
	benchFlags(c.Flags())
	c.Flags().Bool("no-bench", false, "do not measure latency")
	return c
}

func (a *app) bench() *cobra.Command {
	c := &cobra.Command{
		Use: "bench model.onnx [model.onnx ...]",
		Example: `  nuwa bench vit.onnx slim.onnx
  nuwa bench vit.onnx slim.onnx --batch 32 --threads 1 --runs 100`,
		Short: "Time models in turns",
		Long: `Bench runs the models in rounds, each once per round, so that a busy machine is
slow for all of them at once. The figure to trust is the ratio within rounds.`,
		Args: args(1, 1000, "at least one model"),
		RunE: func(cmd *cobra.Command, args []string) error {
			o := a.benchOptions()
			o.Models, o.Runtime, o.Size = args, a.runtime(), a.config.GetInt("size")
			show, done := a.progress()
			o.Progress = show
			b, err := nuwa.Bench(cmd.Context(), o)
			done()
			if err != nil {
				return err
			}
			return a.print(b, b.Write)
		},
	}
	benchFlags(c.Flags())
	c.Flags().Int("size", 0, "image side, for models that leave it open")
	c.AddCommand(a.benchRecipes())
	return c
}

func (a *app) benchRecipes() *cobra.Command {
	c := &cobra.Command{
		Use:     "recipes CONFIG",
		Example: "  nuwa bench recipes configs/recipes.yaml -o docs",
		Short:   "Compare recipes over models, tasks, rates and seeds",
		Long: `Recipes makes a model for every combination that a file names, judges it on test
images, and writes RESULTS.md with tables, charts and a CSV. Outcomes are kept as
they come, so that an interrupted experiment goes on where it was.`,
		Args: args(1, 1, "a file that describes the experiment"),
		RunE: func(cmd *cobra.Command, args []string) error {
			o := nuwa.RecipeBenchOptions{Config: args[0], Log: a.config.GetString("cells"), Output: a.config.GetString("output"),
				Runtime: a.runtime(), Command: "nuwa bench recipes " + args[0]}
			if o.Output != "" {
				o.Command += " -o " + o.Output
			}
			var done func()
			o.Progress, done = a.progress()
			res, err := nuwa.BenchRecipes(cmd.Context(), o)
			done()
			if err != nil {
				return err
			}
			return a.print(res, func(w io.Writer) error {
				_, err := fmt.Fprintf(w, "%d cells, %d of them made now, %d at rates that cannot be reached\n", res.Cells, res.Made, res.Unreachable)
				return err
			})
		},
	}
	c.Flags().StringP("output", "o", "", "folder for RESULTS.md and what it shows")
	c.Flags().String("cells", "", "file that keeps outcomes; CONFIG.cells by default")
	return c
}

func benchFlags(f *pflag.FlagSet) {
	f.Int("batch", 0, "images per run; 0 for 1, or the batch that a model fixes")
	f.Int("runs", 0, "rounds at least; 0 means 30")
	f.Int("warmup", 0, "rounds that do not count; 0 means 3")
	f.Duration("min-time", 0*time.Second, "go on until the rounds took so long")
}

func (a *app) benchOptions() nuwa.BenchOptions {
	v := a.config
	return nuwa.BenchOptions{Batch: v.GetInt("batch"), Runs: v.GetInt("runs"), Warmup: v.GetInt("warmup"), MinTime: v.GetDuration("min-time")}
}
