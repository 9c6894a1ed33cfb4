// Package grad differentiates graphs: from a model, a scalar loss and some of
// its values it makes a model that also returns the gradients of the loss with
// respect to those values. The gradient is a graph like any other, of standard
// operators in the model's own opset, so it can be printed, checked, saved and
// run on any provider of ONNX Runtime.
//
//	m = m.Clone()
//	second := m.Graph.Value(name).Producer() // the second linear map of a hidden layer
//	mask, err := grad.AddMask(m, shapes, second, 0, grad.MaskOptions{Axis: 1})
//	loss, err := grad.AddLoss(m, shapes, logits, grad.LossOptions{})
//	shapes, err = eng.Shapes(ctx, m)
//	back, names, err := grad.Backward(m, loss.Value, []string{mask}, shapes, grad.Options{})
//	out, err := eng.Run(ctx, back, feeds)
//	g := out[names[mask]]
//
// It owns one table, from operator to vector-Jacobian rule (rules.go). A rule
// is a small function that is given the gradient of the loss with respect to a
// node's result and emits the gradient with respect to one operand. Operators
// whose results are not floating-point numbers (comparisons, shapes, indices)
// carry no gradient; an operator with no rule on the way from a value to the
// loss is an error that names it.
//
// Only the way between the given values and the loss is differentiated. The
// weights are read by the new nodes where they are; none is copied. Constants
// that multiply a gradient are carried along and applied once, where gradients
// meet. By default activations are computed again, segment by segment, when
// the gradient comes to them, so that memory holds one segment and the values
// between segments (recompute.go).
//
// Every rule is held to finite differences, and so are whole models, masks and
// all: testdata/rules.md and testdata/models.md say how near they come, and
// `make gradients` measures it again. What a gradient costs in time and memory,
// beside a forward pass of the same batch, tells
//
//	go test ./internal/grad -run TestCost -v -cost vit.onnx -cost.batch 8 -cost.threads 2 -cost.profile
//
// The model should have been cleaned first: axes, slices and shapes that rules
// must know are read from constants. The package may import graph,
// internal/engine (for shapes) and internal/fault.
package grad
