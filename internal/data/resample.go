package data

import "math"

// A kernel is a resampling filter: its value at a distance from the center in
// source pixels, zero at and beyond support.
type kernel struct {
	support float64
	at      func(x float64) float64
}

// kernels holds the filters of Pillow's resize under the names used here;
// nearest is not a filter and has its own function.
var kernels = map[Interpolation]kernel{
	Box: {0.5, func(x float64) float64 {
		if x > -0.5 && x <= 0.5 {
			return 1
		}
		return 0
	}},
	Bilinear: {1, func(x float64) float64 { return max(0, 1-math.Abs(x)) }},
	Hamming: {1, func(x float64) float64 {
		if x == 0 {
			return 1
		}
		if x = math.Abs(x); x >= 1 {
			return 0
		}
		return sinc(x) * (0.54 + 0.46*math.Cos(math.Pi*x))
	}},
	Bicubic: {2, func(x float64) float64 { // Keys' cubic with a = −1/2
		const a = -0.5
		switch x = math.Abs(x); {
		case x < 1:
			return ((a+2)*x-(a+3))*x*x + 1
		case x < 2:
			return (((x-5)*x+8)*x - 4) * a
		}
		return 0
	}},
	Lanczos: {3, func(x float64) float64 {
		if x < -3 || x >= 3 {
			return 0
		}
		return sinc(x) * sinc(x/3)
	}},
}

func sinc(x float64) float64 {
	if x == 0 {
		return 1
	}
	return math.Sin(math.Pi*x) / (math.Pi * x)
}

// fractionBits is the precision of the fixed-point weights: 32 bits less 8
// for the sample and 2 for kernels whose weights exceed one.
const fractionBits = 32 - 8 - 2

// taps are the source samples first..first+len(weights)−1 of one output
// sample and their weights in units of 2^−fractionBits.
type taps struct {
	first   int
	weights []int32
}

// taper returns the taps of every output sample when n samples become m. For
// m < n the kernel is stretched by n/m, which is what makes it antialias; at
// the edges it is cut off and its weights are renormalized.
func (k kernel) taper(n, m int) []taps {
	scale := float64(n) / float64(m)
	stretch := max(scale, 1)
	support := k.support * stretch
	out := make([]taps, m)
	for i := range out {
		center := (float64(i) + 0.5) * scale
		lo := max(int(center-support+0.5), 0)
		hi := min(int(center+support+0.5), n)
		w := make([]float64, hi-lo)
		sum := 0.0
		for j := range w {
			w[j] = k.at((float64(j+lo) - center + 0.5) / stretch)
			sum += w[j]
		}
		fixed := make([]int32, len(w))
		for j, x := range w {
			if sum != 0 {
				x /= sum
			}
			fixed[j] = int32(math.Copysign(0.5, x) + x*(1<<fractionBits))
		}
		out[i] = taps{lo, fixed}
	}
	return out
}

// resize scales an image to w×h as Pillow does: rows first, rounded to 8 bits,
// then columns. A direction whose size does not change is left alone.
func (p pixels) resize(w, h int, by Interpolation) pixels {
	if by == Nearest {
		return p.nearest(w, h)
	}
	k := kernels[by]
	if w != p.w {
		p = p.resizeRows(k.taper(p.w, w))
	}
	if h != p.h {
		p = p.resizeColumns(k.taper(p.h, h))
	}
	return p
}

func (p pixels) resizeRows(to []taps) pixels {
	out := newPixels(len(to), p.h)
	for y := range p.h {
		src, dst := p.pix[3*p.w*y:][:3*p.w], out.pix[3*out.w*y:][:3*out.w]
		for x, t := range to {
			r, g, b := int32(1<<(fractionBits-1)), int32(1<<(fractionBits-1)), int32(1<<(fractionBits-1))
			s := src[3*t.first:][:3*len(t.weights)]
			for _, w := range t.weights {
				r += w * int32(s[0])
				g += w * int32(s[1])
				b += w * int32(s[2])
				s = s[3:]
			}
			d := dst[3*x:][:3]
			d[0], d[1], d[2] = clip8(int(r>>fractionBits)), clip8(int(g>>fractionBits)), clip8(int(b>>fractionBits))
		}
	}
	return out
}

func (p pixels) resizeColumns(to []taps) pixels {
	out := newPixels(p.w, len(to))
	sums := make([]int32, 3*p.w)
	for y, t := range to {
		for i := range sums {
			sums[i] = 1 << (fractionBits - 1)
		}
		for j, w := range t.weights {
			for i, s := range p.pix[len(sums)*(t.first+j):][:len(sums)] {
				sums[i] += w * int32(s)
			}
		}
		dst := out.pix[len(sums)*y:][:len(sums)]
		for i, s := range sums {
			dst[i] = clip8(int(s >> fractionBits))
		}
	}
	return out
}

// nearest takes the source pixel under the center of each output pixel.
func (p pixels) nearest(w, h int) pixels {
	out := newPixels(w, h)
	columns := nearestIndices(p.w, w)
	i := 0
	for _, sy := range nearestIndices(p.h, h) {
		row := p.pix[3*p.w*sy:]
		for _, sx := range columns {
			copy(out.pix[i:i+3], row[3*sx:])
			i += 3
		}
	}
	return out
}

// nearestIndices adds the step up as Pillow does, so that centers that fall
// between two pixels round the same way.
func nearestIndices(n, m int) []int {
	out := make([]int, m)
	step := float64(n) / float64(m)
	at := step / 2
	for i := range out {
		out[i] = min(int(at), n-1)
		at += step
	}
	return out
}

// crop cuts the middle w×h out of an image; what lies outside it is black.
func (p pixels) crop(w, h int) pixels {
	if w == p.w && h == p.h {
		return p
	}
	out := newPixels(w, h)
	left, top := (p.w-w)>>1, (p.h-h)>>1
	x0, x1 := max(left, 0), min(left+w, p.w)
	for y := max(top, 0); y < min(top+h, p.h); y++ {
		copy(out.pix[3*(w*(y-top)+x0-left):], p.pix[3*(p.w*y+x0):3*(p.w*y+x1)])
	}
	return out
}
