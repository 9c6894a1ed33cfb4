package derive

import (
	"context"
	"fmt"

	"golang.org/x/sync/errgroup"

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
// and holds it to the graph in memory, which runs beside it. Errors call it name.
func validate(ctx context.Context, eng *engine.Engine, m *graph.Model, name, path string) error {
	importer.Unload()
	batches := engine.Batches(m, 1, 3)
	feeds := make([]map[string]*graph.Tensor, len(batches))
	for i, b := range batches {
		var err error
		if feeds[i], err = engine.Inputs(m, b, 17); err != nil {
			return err
		}
	}
	var want []map[string]*graph.Tensor
	var memory errgroup.Group
	memory.Go(func() (err error) {
		want, err = outputs(ctx, feeds, func() (*ort.Session, error) { return eng.Open(m) })
		return err
	})
	got, err := outputs(ctx, feeds, func() (*ort.Session, error) {
		return ort.NewSessionFile(path, ort.Options{Name: name, Threads: eng.Threads, Providers: eng.Providers, Provider: eng.Provider, LowMemory: engine.Heavy(m)})
	})
	if other := memory.Wait(); err == nil {
		err = other
	}
	if err != nil {
		return err
	}
	for i, b := range batches {
		for _, v := range m.Graph.Outputs() {
			if err := agree(got[i][v.Name()], want[i][v.Name()]); err != nil {
				return &fault.Error{Kind: fault.Check, File: name, Where: fmt.Sprintf("output %q at batch %d", v.Name(), b), Err: err,
					Remedy: "nothing was written; if the base gives finite numbers, please report this model"}
			}
		}
	}
	return nil
}

// outputs runs what open gives on feeds.
func outputs(ctx context.Context, feeds []map[string]*graph.Tensor, open func() (*ort.Session, error)) ([]map[string]*graph.Tensor, error) {
	s, err := open()
	if err != nil {
		return nil, err
	}
	defer s.Close()
	all := make([]map[string]*graph.Tensor, len(feeds))
	for i, f := range feeds {
		if all[i], err = s.Run(ctx, f, nil); err != nil {
			return nil, err
		}
	}
	return all, nil
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
