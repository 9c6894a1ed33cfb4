// Package testmodels owns the models and images that the demo and the tests
// run on: a small Vision Transformer trained on drawn images of vehicles, the
// images themselves, and many tiny untrained models for structure tests.
//
// It imports the standard library only. The trained demo model, its class
// names and the images are embedded, so a program can use them without knowing
// where the repository lies:
//
//	model := testmodels.Demo()      // ONNX bytes
//	names := testmodels.Labels()    // class names in the order of the logits
//	photos := testmodels.Images()   // a zip: train/CLASS/NNNN.jpg, val/..., test/...
//
// The other models are read from the source tree, and are therefore for tests:
//
//	cases, err := testmodels.Tiny()
//	for _, c := range cases {
//		fmt.Println(c.Path(), c.Spelling, c.Opset, c.Prunable.QK)
//	}
//
// README.md in this folder tells how every file was made and how to make it
// again.
package testmodels
