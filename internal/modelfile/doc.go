// Package modelfile opens model files and settles what must be known to use one:
// how images become its input, which class each logit stands for, and how it
// runs. It writes nothing and changes no graph beyond fixing open image sizes.
//
//	eng, err := runtime.Start()
//	f, err := modelfile.Open(ctx, eng, modelfile.Preprocess{}, "", "vit.onnx")
//	j, err := f.Judge(ctx, eng, set, []string{"cat", "dog"})
package modelfile
