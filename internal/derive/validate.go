package derive

import (
	"context"
	"fmt"

	"nuwa/graph"
	"nuwa/importer"
	"nuwa/internal/engine"
	"nuwa/internal/fault"
	"nuwa/internal/ort"
	"nuwa/passes"
)

// agreement is how far, relative to the largest output, a written file may be
// from the graph in memory. Both are run alike, so only the order of sums may
// differ.
const agreement = 1e-5

// validate loads the file at path in ONNX Runtime, runs it at two batch sizes,
// and holds it to the graph in memory. Errors call it name.
func validate(ctx context.Context, eng *engine.Engine, m *graph.Model, name, path string) error {
	importer.Unload()
	file, err := ort.NewSessionFile(path, ort.Options{Name: name, Threads: eng.Threads, Providers: eng.Providers, Provider: eng.Provider, LowMemory: engine.Heavy(m)})
	if err != nil {
		return err
	}
	defer file.Close()
	memory, err := eng.Open(m)
	if err != nil {
		return err
	}
	defer memory.Close()
	sizes := []int{1, 3}
	if !engine.DynamicBatch(m) {
		sizes = sizes[:1]
	}
	for _, b := range sizes {
		feeds, err := engine.Inputs(m, b, 17)
		if err != nil {
			return err
		}
		got, err := file.Run(ctx, feeds, nil)
		if err != nil {
			return err
		}
		want, err := memory.Run(ctx, feeds, nil)
		if err != nil {
			return err
		}
		for _, v := range m.Graph.Outputs() {
			if err := agree(got[v.Name()], want[v.Name()]); err != nil {
				return &fault.Error{Kind: fault.Check, File: name, Where: fmt.Sprintf("output %q at batch %d", v.Name(), b), Err: err,
					Remedy: "nothing was written; if the base gives finite numbers, please report this model"}
			}
		}
	}
	return nil
}

func agree(got, want *graph.Tensor) error {
	if got == nil || want == nil || fmt.Sprint(got.Dims) != fmt.Sprint(want.Dims) || got.Type != want.Type {
		return fmt.Errorf("the file gives %v, the graph %v", got, want)
	}
	if want.Type == graph.String {
		return nil
	}
	xs, err := got.Floats()
	if err != nil {
		return err
	}
	for _, x := range xs {
		if x-x != 0 {
			return fmt.Errorf("the file gives %g", x)
		}
	}
	moved, at, err := passes.Distance(want, got)
	if err == nil && !(moved <= agreement) {
		err = fmt.Errorf("file and graph differ by %.2g of the largest element: %s", moved, at)
	}
	return err
}
