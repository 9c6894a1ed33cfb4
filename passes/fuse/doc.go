// Package fuse puts the parts of a Vision Transformer into fewer, larger
// operators: attention, linear maps with their bias, GELU and layer norms. It is
// the inverse of package expand, and equal up to rounding.
//
//	vit, err := structure.Find(ctx, eng, model)
//	done, err := fuse.Attention(model, vit, fuse.ORT)
//
// Two forms are known. ORT is that of ONNX Runtime's own operators, domain
// com.microsoft; Standard is that of ONNX, as far as the model's operator set
// has them: Attention from 23 on, Gelu from 20, LayerNormalization from 17. What
// has no such form stays as it is, with a reason.
//
// The package may import graph, passes/structure and internal/engine.
package fuse
