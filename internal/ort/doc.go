// Package ort runs ONNX models in ONNX Runtime. It is the only package that
// talks to the Go binding.
//
// It owns finding and loading the shared library, sessions, moving tensors in
// and out, cancellation, profiling, and turning ONNX Runtime's messages into
// errors that name the node. It may import graph (for tensors), fault and
// ort/release; it knows nothing of operators or of model structure.
//
//	s, err := ort.NewSessionFile("vit.onnx", ort.Options{Threads: 4})
//	if err != nil {
//		return err
//	}
//	defer s.Close()
//	out, err := s.Run(ctx, map[string]*graph.Tensor{"image": x}, nil)
//
// The library is loaded once per process, by the first session or by Load,
// and stays loaded. All functions may be called from several goroutines.
package ort
