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
// Inspect, Eval, Compare, Bench and Export are the other verbs. All of them
// need ONNX Runtime: see Doctor for where it is looked for.
package nuwa
