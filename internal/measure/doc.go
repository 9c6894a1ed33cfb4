// Package measure finds out how good and how fast models are: accuracy on
// images, agreement between two models, latency, and size.
//
//	m, err := measure.Open(measure.Source{Path: "slim.onnx"}, &engine.Engine{Threads: 2})
//	if err != nil {
//		return err
//	}
//	defer m.Close()
//	photos := measure.FromSet(set, pre)
//	acc, err := measure.Evaluate(ctx, m, photos, classOf, measure.EvalOptions{Wanted: []int{2, 8}})
//	fmt.Println(acc.All.Accuracy, acc.Restricted.Accuracy)
//
// Every accuracy is given twice, on the images of the wanted classes: deciding
// among all classes, and among the wanted ones only. A slim model that knows
// few classes has to be held against the second figure of its base. Shares
// come with a 95 % interval, since a few hundred images tell no more; latencies
// of several models are taken in turns and compared round by round, since a
// busy machine is slow for all of them at once.
//
// Results are plain structs that encode to JSON; Summary and Benchmark also
// write themselves as text tables. The package may import graph, internal/ort,
// internal/data, internal/engine, internal/cost and internal/fault.
package measure
