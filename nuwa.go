// Package nuwa turns an exported Vision Transformer into a smaller, faster one
// that serves only the classes a device needs. It is what the command nuwa is
// made of.
//
//	res, err := nuwa.Derive(ctx, nuwa.Options{
//		Model: "vit.onnx", Output: "slim.onnx",
//		Data: "photos", Classes: []string{"cat", "dog", "ship"}, Rate: 0.4,
//	})
//	slim := res.Summary.Models[1]
//	fmt.Println(res.Rate, slim.Accuracy.Restricted.Accuracy)
//
// Inspect, Eval, Compare, Bench, Export and Batch are the other verbs. All of
// them need ONNX Runtime: see Doctor for where it is looked for. Errors that a
// user can cause say where they are, what was wanted, and what to do.
//
// A program that imports this package has gonum's large products computed by ONNX
// Runtime once that is loaded, unless it has chosen another BLAS (blas64.Use).
//
// This package only names what the packages under internal do; see
// docs/ARCHITECTURE.md for what is where.
package nuwa

import (
	"context"
	"time"

	"nuwa/internal/batch"
	"nuwa/internal/cache"
	"nuwa/internal/derive"
	"nuwa/internal/examine"
	"nuwa/internal/experiment"
	"nuwa/internal/export"
	"nuwa/internal/measure"
	"nuwa/internal/modelfile"
	"nuwa/internal/report"
	"nuwa/internal/task"
	"nuwa/passes"
	"nuwa/passes/purify"
)

// Version is the version of nuwa, written into the models it makes.
const Version = modelfile.Version

// What all verbs share.
type (
	// Runtime says how ONNX Runtime is found and used: the library, threads
	// and execution providers.
	Runtime = modelfile.Runtime
	// Preprocess overrides how images become inputs: size, mean and deviation,
	// resizing, order of channels.
	Preprocess = modelfile.Preprocess
)

// Deriving a slim model.
type (
	// Options say what Derive shall make: the base, images, wanted classes, a
	// rate or widths or limits, and how.
	Options = task.Options
	// Widths are explicit widths of heads and hidden layers.
	Widths = task.Widths
	// Budget are limits on size, latency, memory or accuracy, instead of a rate.
	Budget = task.Budget
	// Purification says how neurons that hurt the wanted classes are found.
	Purification = task.Purification
	// PurifyOptions say what Purify shall make.
	PurifyOptions = derive.PurifyOptions
	// PurifyProgress tells how far learning a mask is.
	PurifyProgress = purify.Progress
	// Recipe names one strategy for each part of the work.
	Recipe = passes.Recipe
)

// What Derive and Purify made.
type (
	// Result is the slim model beside its base: accuracy, widths, cost, time,
	// provenance.
	Result = report.Result
	// BlockWidths are the widths of one block before and after.
	BlockWidths = report.BlockWidths
	// Declined is a part of the model that is left as it is, and why.
	Declined = report.Declined
	// Found is the search for a rate that meets limits: its trials and what
	// was met.
	Found = report.Found
	// OtherResult is the logit for all classes that are not wanted, and how
	// well it rejects.
	OtherResult = report.Other
	// PurifyResult says which hidden neurons hurt, and what removing them did.
	PurifyResult = purify.Result
)

// Looking at models.
type (
	// InspectOptions say what Inspect shall read.
	InspectOptions = examine.InspectOptions
	// Inspection is what a model is made of and what can be pruned.
	Inspection = examine.Inspection
	// InspectedBlock is one block of an Inspection.
	InspectedBlock = examine.InspectedBlock
	// EvalOptions say what Eval shall measure.
	EvalOptions = examine.EvalOptions
	// Accuracy is how often a model is right, among all its classes and among
	// the wanted ones.
	Accuracy = measure.Accuracy
	// CompareOptions say what Compare shall measure.
	CompareOptions = examine.CompareOptions
	// Summary holds accuracy, size, agreement and latency of models side by side.
	Summary = measure.Summary
	// BenchOptions say what Bench shall time.
	BenchOptions = examine.BenchOptions
	// Benchmark holds latencies taken in turns.
	Benchmark = measure.Benchmark
	// Health is which ONNX Runtime is used, and what it offers.
	Health = examine.Health
)

// Writing models for other consumers.
type (
	// ExportOptions say what Export shall write: operator set, fusions,
	// precision, batch, layout.
	ExportOptions = export.Options
	// Exported is what Export wrote and how far that is from the original.
	Exported = export.Result
	// Quantized says how a model came to compute in 8-bit integers.
	Quantized = report.Quantized
	// Placement says which nodes a target's execution provider runs.
	Placement = report.Placement
)

// Many models, and experiments.
type (
	// BatchOptions say what Batch shall make and with what.
	BatchOptions = batch.Options
	// BatchProgress tells that a step of a batch began, went on or ended.
	BatchProgress = batch.Progress
	// BatchResult is the models that a batch made, or would make.
	BatchResult = batch.Result
	// BatchModel is one model of a batch, and its status.
	BatchModel = batch.Model
	// RecipeBenchOptions say which experiment BenchRecipes makes.
	RecipeBenchOptions = experiment.Options
	// RecipeBench counts the models of an experiment.
	RecipeBench = experiment.Result
	// CacheEntry is a result that runs share.
	CacheEntry = cache.Entry
)

// Statuses of a model of a batch.
const (
	Made    = batch.Made
	Kept    = batch.Kept
	Planned = batch.Planned
	Broken  = batch.Broken
)

// Recipes are those that have a name; Parts lists what one is made of, with all
// strategies.
var (
	Recipes = passes.Recipes
	Parts   = passes.Parts
)

// Derive makes a slim model and, unless o.DryRun, writes it.
func Derive(ctx context.Context, o Options) (*Result, error) { return derive.Derive(ctx, o) }

// Purify learns which hidden neurons hurt the wanted classes, removes them and
// writes the anchor model. Its outputs stay as wide as the base's.
func Purify(ctx context.Context, o PurifyOptions) (*Result, error) { return derive.Purify(ctx, o) }

// Batch makes every task of a configuration at every size for every target.
// A model that fails is told of in the result and leaves the others alone; the
// error is about the whole.
func Batch(ctx context.Context, o BatchOptions) (*BatchResult, error) { return batch.Run(ctx, o) }

// Inspect reads a model and tells what it is made of, what can be pruned, and
// what cannot and why.
func Inspect(ctx context.Context, o InspectOptions) (*Inspection, error) {
	return examine.Inspect(ctx, o)
}

// Eval measures a model's accuracy on the images of the wanted classes.
func Eval(ctx context.Context, o EvalOptions) (*Accuracy, error) { return examine.Eval(ctx, o) }

// Compare holds a slim model against its base.
func Compare(ctx context.Context, o CompareOptions) (*Summary, error) { return examine.Compare(ctx, o) }

// Bench times models in turns: the honest figure on a busy machine is the ratio
// within each round.
func Bench(ctx context.Context, o BenchOptions) (*Benchmark, error) { return examine.Bench(ctx, o) }

// Export writes a model again, unchanged or for another consumer. What it writes
// was run beside the original.
func Export(ctx context.Context, o ExportOptions) (*Exported, error) { return export.Export(ctx, o) }

// Doctor finds ONNX Runtime and says which one it is and what it offers.
func Doctor(r Runtime) (*Health, error) { return examine.Doctor(r) }

// BenchRecipes makes a model for every model, task, seed, recipe and rate that
// an experiment names, judges it, and sums up.
func BenchRecipes(ctx context.Context, o RecipeBenchOptions) (*RecipeBench, error) {
	return experiment.Run(ctx, o)
}

// CacheFolder is where a user's runs share results unless another folder is
// named.
func CacheFolder() (string, error) { return cache.Default() }

// CacheEntries lists what runs that use dir share, held to checksums with
// verify.
func CacheEntries(dir string, verify bool) ([]CacheEntry, error) {
	return (&cache.Cache{Dir: dir}).List(verify)
}

// PruneCache removes from dir what is damaged, what was not used since before,
// and what was not used for longest until most bytes are left; a zero time and
// a negative size limit nothing. It returns what was removed.
func PruneCache(dir string, before time.Time, most int64) ([]CacheEntry, error) {
	return (&cache.Cache{Dir: dir}).Prune(before, most)
}
