// Package data turns image folders into batches of tensors and class names
// into logit numbers.
//
// A [Set] is a folder of images, one subfolder per class, in a directory or
// inside a zip archive, or the images that a CSV names, with any number of
// classes each. A [Preprocess] says how an image becomes the input of
// a model: size, crop, interpolation, normalization and memory layout. Pixels
// follow Pillow, with which nearly every vision model was trained: JPEG chroma
// is upsampled and converted as libjpeg does, WebP as libwebp does, alpha is
// dropped, CMYK and palettes are expanded as convert("RGB") does, and resizing
// is Pillow's antialiased fixed-point resampling, bit for bit. Three choices
// differ from some Pillow pipelines: EXIF orientation is ignored, 16-bit gray
// keeps its high byte rather than saturating at 255, and a center crop whose
// margin is odd leaves the smaller half at the top and left.
//
//	set, err := data.Open("cifar10.zip/cifar10/train")
//	if err != nil {
//		return err
//	}
//	defer set.Close()
//	pre := data.Default(32, 32)
//	for b, err := range set.Take(128, seed).Batches(ctx, nil, 32, pre) {
//		if err != nil {
//			return err
//		}
//		use(b.X, b.Labels) // f32[n,3,32,32], class numbers of the set
//	}
//
// The package imports graph for tensors and internal/fault for errors; it
// knows nothing of models, sessions or passes.
package data
