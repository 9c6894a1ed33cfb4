package main

import (
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"nuwa"
)

func (a *app) doctor() *cobra.Command {
	return &cobra.Command{
		Use:   "doctor",
		Short: "Tell which ONNX Runtime is used and what it offers",
		Args:  args(0, 0, "none"),
		RunE: func(*cobra.Command, []string) error {
			h, err := nuwa.Doctor(a.runtime())
			if err != nil {
				return err
			}
			return a.print(h, func(w io.Writer) error {
				t := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
				fmt.Fprintf(t, "nuwa\t%s\nONNX Runtime\t%s\nlibrary\t%s\nfound by\t%s\nAPI level\t%d\nproviders\t%v\nthreads\t%d\n",
					h.Version, h.Runtime, h.Library, h.Source, h.API, h.Providers, h.Threads)
				return t.Flush()
			})
		},
	}
}

func (a *app) inspect() *cobra.Command {
	c := &cobra.Command{
		Use:   "inspect vit.onnx",
		Short: "Show what a model is made of, what can be pruned, and what cannot and why",
		Args:  args(1, 1, "a model"),
		RunE: func(cmd *cobra.Command, args []string) error {
			pre, err := a.preprocess()
			if err != nil {
				return err
			}
			in, err := nuwa.Inspect(cmd.Context(), nuwa.InspectOptions{Model: args[0], Preprocess: pre, Runtime: a.runtime()})
			if err != nil {
				return err
			}
			return a.print(in, func(w io.Writer) error { return writeInspection(w, in) })
		},
	}
	preprocessFlags(c.Flags())
	return c
}

func writeInspection(w io.Writer, in *nuwa.Inspection) error {
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	fmt.Fprintf(t, "model\t%s\nproducer\t%s\nIR version\t%d\nopsets\t%v\ninput\t%s\noutputs\t%v\nimages\t%s\n",
		in.Model, in.Producer, in.IRVersion, in.Opsets, in.Input, in.Outputs, in.Preprocess)
	fmt.Fprintf(t, "MACs\t%.2f M per image\nparameters\t%.3f M\nbytes\t%d\n", float64(in.Size.MACs)/1e6, float64(in.Size.Params)/1e6, in.Size.Bytes)
	fmt.Fprintf(t, "classes\t%s, %d classifiers, pooling: %s\n", number(in.Classes), in.Classifiers, in.Pooling)
	fmt.Fprintf(t, "found\t%s\nprunable\t%s\n", in.Found(), in.Prunable())
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(w)
	if len(in.Blocks) == 0 {
		fmt.Fprintln(w, "no attention and no hidden layer was found: nothing can be pruned")
	} else {
		fmt.Fprintln(t, "block\ttokens\theads\tq/k\tv/o\thidden\tMACs")
		for i, b := range in.Blocks {
			gated := ""
			if b.Gated {
				gated = " gated"
			}
			fmt.Fprintf(t, "%d\t%d\t%s\t%s\t%s\t%s%s\t%.2f M\n", i, b.Tokens, number(b.Heads), fixed(b.QK, b.PruneQK), fixed(b.VO, b.PruneVO), fixed(b.Hidden, b.PruneHidden), gated, float64(b.MACs)/1e6)
		}
		if err := t.Flush(); err != nil {
			return err
		}
	}
	for _, d := range in.Declined {
		fmt.Fprintf(w, "left alone: %s %s: %s\n", d.Where, d.What, d.Reason)
	}
	for _, n := range in.Notes {
		fmt.Fprintln(w, "note:", n)
	}
	return nil
}

// fixed marks a width that cannot be changed.
func fixed(width int, prunable bool) string {
	if width > 0 && !prunable {
		return fmt.Sprintf("%d (fixed)", width)
	}
	return number(width)
}
