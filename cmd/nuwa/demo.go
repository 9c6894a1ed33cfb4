package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"nuwa"
	"nuwa/internal/fault"
	"nuwa/testmodels"
)

func usageError(where, got, want string) error {
	return &fault.Error{Kind: fault.Usage, Where: where, Got: got, Want: want}
}

func (a *app) demo() *cobra.Command {
	c := &cobra.Command{
		Use:   "demo",
		Short: "Derive from the embedded ViT: no files needed",
		Args:  args(0, 0, "none"),
		RunE: func(cmd *cobra.Command, args []string) error {
			kept := a.config.GetString("output")
			rep, err := a.newReport(kept)
			if err != nil {
				return err
			}
			defer rep.discard()
			dir, err := os.MkdirTemp("", "nuwa-demo-*")
			if err != nil {
				return &fault.Error{Kind: fault.IO, Err: err}
			}
			defer os.RemoveAll(dir)
			in := func(name string) string { return filepath.Join(dir, name) }
			labels := ""
			for _, l := range testmodels.Labels() {
				labels += l + "\n"
			}
			for name, content := range map[string][]byte{"vit.onnx": testmodels.Demo(), "vehicles.zip": testmodels.Images(), "labels.txt": []byte(labels)} {
				if err := os.WriteFile(in(name), content, 0o644); err != nil {
					return &fault.Error{Kind: fault.IO, File: in(name), Err: err}
				}
			}
			output := kept
			if kept == "" {
				output = in("slim.onnx")
			}
			show, done := a.progress()
			res, err := nuwa.Derive(cmd.Context(), nuwa.Options{
				Model: in("vit.onnx"), Output: output, Force: a.config.GetBool("force"), Labels: in("labels.txt"),
				Data: in("vehicles.zip") + "/train", Test: in("vehicles.zip") + "/test",
				Classes: a.list("classes"), Rate: a.config.GetFloat64("rate"), Recipe: a.config.GetString("recipe"),
				Preprocess: nuwa.Preprocess{Mean: []float32{.5, .5, .5}, Std: []float32{.5, .5, .5}},
				Runtime:    a.runtime(), Log: a.logger(), Progress: show,
			})
			done()
			if err != nil {
				return err
			}
			res.Model, res.Judged = "vit.onnx", "the embedded test images"
			if kept == "" {
				res.Output = ""
			}
			res.Provenance.Command = command(cmd, args)
			if err := rep.write(res); err != nil {
				return err
			}
			return a.print(res, func(w io.Writer) error {
				fmt.Fprintf(w, "A ViT that tells %d kinds of things apart, slimmed for the few that a device looks for.\n", len(testmodels.Labels()))
				fmt.Fprintln(w)
				if err := writeResult(w, res); err != nil {
					return err
				}
				if kept != "" {
					return writeEnd(w, res)
				}
				_, err := fmt.Fprintf(w, "\nderived in %.1f s; give -o to keep the slim model\n", res.Seconds)
				return err
			})
		},
	}
	c.Flags().StringP("output", "o", "", "where to keep the slim model")
	c.Flags().Bool("force", false, "replace an existing output or report")
	reportFlag(c.Flags())
	c.Flags().StringSlice("classes", []string{"car", "truck"}, "wanted classes")
	c.Flags().Float64("rate", 0.5, "part of the multiply-accumulates to remove")
	c.Flags().String("recipe", "best", "paper or best")
	return c
}
