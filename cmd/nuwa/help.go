package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"nuwa"
	"nuwa/internal/fault"
)

// exitCodes says what each kind of error means.
var exitCodes = []struct {
	kind    fault.Kind
	meaning string
}{
	{fault.Internal, "a defect of nuwa itself; please report it"},
	{fault.Usage, "flags, configuration or arguments that make no sense"},
	{fault.Model, "a file that is not a sound ONNX model"},
	{fault.Data, "images, labels or classes that do not fit"},
	{fault.Unsupported, "a sound model in which there is nothing to prune, or that nuwa cannot feed"},
	{fault.Unreachable, "a rate or width that the model cannot be brought to"},
	{fault.Runtime, "ONNX Runtime is missing or too old, or failed to run the model"},
	{fault.Exists, "an output is there already and --force was not given"},
	{fault.IO, "a file could not be read or written"},
	{fault.Check, "the result did not pass its own validation; nothing was written"},
	{fault.Interrupted, "interrupted; no output was written"},
}

// topics are the commands that only explain something.
func topics() []*cobra.Command {
	var codes strings.Builder
	fmt.Fprintln(&codes, "The exit code tells what went wrong; with --json the kind stands beside the error.")
	fmt.Fprintln(&codes)
	fmt.Fprintf(&codes, "  %3d  %-12s %s\n", 0, "", "success")
	for _, c := range exitCodes {
		fmt.Fprintf(&codes, "  %3d  %-12s %s\n", c.kind, c.kind, c.meaning)
	}
	fmt.Fprintln(&codes, "\nNo error leaves a file half-written.")
	return []*cobra.Command{
		{Use: "recipes", Short: "What a recipe is made of", Long: recipes()},
		{Use: "exit-codes", Short: "What the exit codes mean", Long: strings.TrimSpace(codes.String())},
		{Use: "labels", Short: "Images and their classes from a CSV", Long: `Wherever images are taken, a CSV (or TSV) may stand for a folder of folders. Each
line holds an image and its classes:

  image,classes            a list, separated by ; or |, or by spaces where
  a.jpg,cat;dog            no cell has either; other columns do not count
  b.jpg,                   beside one called classes, labels, tags ...
                           and lines of the same image add up

  image,bee,cat,dog        a column per class, of 0 and 1 (or false and
  a.jpg,0,1,1              true; nothing is 0), which needs a header

A header of a list may be left out. Paths are relative to the folder that the
CSV is in, or to --image-root, either of which may be in a zip. Names without an
ending are completed.

Where every image has exactly one class, all is as with folders. Otherwise, or
with --multilabel, each class is decided by itself: losses are sigmoid
cross-entropies, images without a wanted class are negatives, and quality is
the mean average precision, the mean over classes of

  Σ (Rₙ − Rₙ₋₁)·Pₙ

with Pₙ and Rₙ the precision and the recall of the images that have the n
highest scores; equal scores come in together. A split keeps the proportions of
classes and of what occurs together.`},
		{Use: "configuration", Short: "Flags from the environment and from a file", Long: `Every flag can also be set in the environment, as NUWA_ and its name in capitals
(NUWA_DRY_RUN=1), or in a file that --config or NUWA_CONFIG names. The command
line comes first, then the environment, then the file, then the default.

The file is YAML, TOML or JSON, told apart by its ending, and may serve several
commands: each takes the keys that are flags of its own.

  # nuwa.yaml
  data: photos/train
  classes: [cat, dog, ship]
  rate: 0.4
  mean: [0.485, 0.456, 0.406]
  std: [0.229, 0.224, 0.225]

What nuwa batch reads is another file, with tasks, sizes and targets in it: see
nuwa config init and nuwa config schema. Its single values can be set in the
environment too, as NUWA_ and the keys that lead to them (NUWA_DATA_TRAIN,
NUWA_DEFAULTS_SEED).`},
	}
}

// recipes explains every strategy, and which of them the named recipes take.
func recipes() string {
	var b strings.Builder
	b.WriteString("A recipe is one strategy for each part of the work. A flag of the part's name\ntakes another than the recipe's.\n")
	for _, p := range nuwa.Parts {
		fmt.Fprintf(&b, "\n--%s: %s\n", p.Name, p.Doc)
		for _, c := range p.Choices {
			var in []string
			for _, name := range slices.Sorted(maps.Keys(nuwa.Recipes)) {
				r := nuwa.Recipes[name]
				if *p.Of(&r) == c.Name {
					in = append(in, name)
				}
			}
			fmt.Fprintf(&b, "  %-14s %s", c.Name, c.Doc)
			if len(in) > 0 {
				fmt.Fprintf(&b, " [%s]", strings.Join(in, ", "))
			}
			b.WriteByte('\n')
		}
	}
	b.WriteString(`
With C the second moment of hidden activations, W the weights that read them
and F the second moment of the gradient of the loss where they are added up, one
row per neuron, second-order selection drops the neuron j of least

  W_j·F·W_jᵀ / [C⁻¹]_jj

C being that of the neurons left and W solved again after each. Sensitivity
weighs this, and Σ σ² over the singular values that attention gives up, by how
many rows of an image are concerned, and against the cost saved.`)
	return b.String()
}
