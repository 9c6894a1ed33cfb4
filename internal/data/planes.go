package data

import "image"

// jpegRGB converts decoded JPEG planes as libjpeg does: chroma by triangle
// ("fancy") upsampling where it is halved, by repetition otherwise, then
// BT.601 full range in 16-bit fixed point.
func jpegRGB(m *image.YCbCr) pixels {
	out := newPixels(m.Rect.Dx(), m.Rect.Dy())
	cb := jpegChroma(m.Cb, m.CStride, m.SubsampleRatio, out.w, out.h)
	cr := jpegChroma(m.Cr, m.CStride, m.SubsampleRatio, out.w, out.h)
	const half = 1 << 15
	i := 0
	for y := range out.h {
		luma := m.Y[y*m.YStride:]
		for x := range out.w {
			l := int(luma[x])
			b, r := int(cb[i/3])-128, int(cr[i/3])-128
			out.pix[i] = clip8(l + (91881*r+half)>>16)
			out.pix[i+1] = clip8(l + (-22554*b-46802*r+half)>>16)
			out.pix[i+2] = clip8(l + (116130*b+half)>>16)
			i += 3
		}
	}
	return out
}

func clip8(v int) byte { return byte(min(max(v, 0), 255)) }

// jpegChroma brings a chroma plane to w×h.
func jpegChroma(src []byte, stride int, ratio image.YCbCrSubsampleRatio, w, h int) []byte {
	sx, sy := 1, 1 // luma samples per chroma sample
	switch ratio {
	case image.YCbCrSubsampleRatio422:
		sx = 2
	case image.YCbCrSubsampleRatio420:
		sx, sy = 2, 2
	case image.YCbCrSubsampleRatio440:
		sy = 2
	case image.YCbCrSubsampleRatio411:
		sx = 4
	case image.YCbCrSubsampleRatio410:
		sx, sy = 4, 2
	}
	cw, ch := (w+sx-1)/sx, (h+sy-1)/sy
	out := make([]byte, w*h)
	// libjpeg does not smooth across fewer than three columns.
	smooth := sx == 1 && sy == 2 || sx == 2 && cw > 2
	column := make([]int, cw) // one row after the vertical pass, times 4 when sy is 2
	for y := range h {
		near := src[y/sy*stride:][:cw]
		dst := out[y*w:][:w]
		if !smooth {
			for x := range dst {
				dst[x] = near[x/sx]
			}
			continue
		}
		if sy == 1 {
			for x, v := range near {
				column[x] = int(v)
			}
			triangle(dst, column, 2, 1, 2)
			continue
		}
		other := y/2 - 1 + y%2*2 // the row on the far side of this half
		far := src[min(max(other, 0), ch-1)*stride:][:cw]
		for x, v := range near {
			column[x] = 3*int(v) + int(far[x])
		}
		if sx == 2 {
			triangle(dst, column, 4, 8, 7)
			continue
		}
		for x, v := range column {
			dst[x] = byte((v + 1 + y%2) >> 2)
		}
	}
	return out
}

// triangle doubles a row: each output is ¾ of the nearer and ¼ of the farther
// input, shifted down by bits after adding left or right, the roundings of
// even and odd columns.
func triangle(dst []byte, src []int, bits, left, right int) {
	last := len(src) - 1
	for x := range dst {
		i := x / 2
		far, round := max(i-1, 0), left
		if x%2 == 1 {
			far, round = min(i+1, last), right
		}
		dst[x] = byte((3*src[i] + src[far] + round) >> bits)
	}
}

// webpRGB converts decoded VP8 planes as libwebp does: chroma weighted
// 9:3:3:1 in two roundings, then BT.601 studio range in 14-bit fixed point.
func webpRGB(m *image.YCbCr) pixels {
	out := newPixels(m.Rect.Dx(), m.Rect.Dy())
	cw, ch := (out.w+1)/2, (out.h+1)/2
	chroma := func(plane []byte, x, y int) int {
		at := func(cx, cy int) int {
			return int(plane[min(max(cy, 0), ch-1)*m.CStride+min(max(cx, 0), cw-1)])
		}
		cx, cy := x/2, y/2
		fx, fy := cx-1+x%2*2, cy-1+y%2*2
		near := at(cx, cy)
		if fx < 0 || fx >= cw { // the outermost columns have one column of chroma only
			return (3*near + at(cx, fy) + 2) >> 2
		}
		side, above, corner := at(fx, cy), at(cx, fy), at(fx, fy)
		diagonal := (near + side + above + corner + 8 + 2*(side+above)) >> 3
		return (diagonal + near) >> 1
	}
	i := 0
	for y := range out.h {
		for x := range out.w {
			l := int(m.Y[y*m.YStride+x]) * 19077 >> 8
			u, v := chroma(m.Cb, x, y), chroma(m.Cr, x, y)
			out.pix[i] = clip8((l + v*26149>>8 - 14234) >> 6)
			out.pix[i+1] = clip8((l - u*6419>>8 - v*13320>>8 + 8708) >> 6)
			out.pix[i+2] = clip8((l + u*33050>>8 - 17685) >> 6)
			i += 3
		}
	}
	return out
}
