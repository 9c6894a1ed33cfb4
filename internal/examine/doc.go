// Package examine holds the verbs that only look: what a model is made of, how
// accurate and how fast it is, how it compares with another, and which ONNX
// Runtime all of that is found out with.
//
//	in, err := examine.Inspect(ctx, examine.InspectOptions{Model: "vit.onnx"})
//	fmt.Println(in.Found(), in.Prunable())
package examine
