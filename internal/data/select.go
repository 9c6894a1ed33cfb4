package data

import (
	"archive/zip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"hash/fnv"
	"io/fs"
	"math"
	"math/rand/v2"
	"slices"

	"nuwa/internal/fault"
)

// Select returns the images of the named classes. The classes of the result
// are those names, in the order of s; names may be given as for Resolve. A set
// that is Multi keeps all its images: those that have no class any more are
// negatives.
func (s *Set) Select(names []string) (*Set, error) {
	picked, err := Resolve(names, s.Classes, len(s.Classes))
	if err != nil {
		return nil, &fault.Error{Kind: fault.Data, File: s.Root, Err: err}
	}
	slices.Sort(picked)
	out := *s
	out.Classes, out.Samples = nil, nil
	number := map[int]int{}
	for i, c := range picked {
		out.Classes = append(out.Classes, s.Classes[c])
		number[c] = i
	}
	for _, x := range s.Samples {
		switch c, ok := number[x.Class]; {
		case s.Multi:
			y := Sample{Path: x.Path, Class: -1}
			for _, c := range x.Classes {
				if to, ok := number[c]; ok {
					y.Classes = append(y.Classes, to)
				}
			}
			out.Samples = append(out.Samples, y)
		case ok:
			out.Samples = append(out.Samples, Sample{Path: x.Path, Class: c})
		}
	}
	return &out, nil
}

// Split divides the set in two. The first part gets the given fraction of
// each class, rounded to the nearest image, but neither part loses a class
// that has two images or more. Which images go where depends on the seed and
// on the class alone, so selecting classes and splitting commute. Both parts
// keep the order of s. A set that is Multi is split so that classes and their
// combinations survive: see stratify.
func (s *Set) Split(seed uint64, fraction float64) (first, second *Set) {
	inFirst := make([]bool, len(s.Samples))
	if s.Multi {
		inFirst = s.stratify(seed, fraction)
	} else {
		s.splitClasses(seed, fraction, inFirst)
	}
	var a, b []int
	for p, yes := range inFirst {
		if yes {
			a = append(a, p)
		} else {
			b = append(b, p)
		}
	}
	return s.keep(a), s.keep(b)
}

// splitClasses marks the images of the first part, class by class.
func (s *Set) splitClasses(seed uint64, fraction float64, inFirst []bool) {
	for _, order := range s.shuffled(seed) {
		n := int(math.Round(fraction * float64(len(order))))
		if len(order) > 1 && fraction > 0 && fraction < 1 {
			n = min(max(n, 1), len(order)-1)
		}
		for _, p := range order[:min(max(n, 0), len(order))] {
			inFirst[p] = true
		}
	}
}

// Take returns n images, or all if there are fewer: one of each class in turn,
// from a random order within the class that the seed decides. Its beginning is
// what a smaller n gives. In a set that is Multi, an image counts for each of
// its classes, and having none is like one more class.
func (s *Set) Take(n int, seed uint64) *Set {
	order := s.shuffled(seed)
	var out []int
	taken, have := make([]bool, len(s.Samples)), make([]int, len(order))
	for round, left := 0, min(n, len(s.Samples)); len(out) < left; round++ {
		for c := range order {
			for len(order[c]) > 0 && have[c] <= round && len(out) < left {
				p := order[c][0]
				order[c] = order[c][1:]
				if taken[p] {
					continue
				}
				out, taken[p] = append(out, p), true
				for _, class := range s.groups(p) {
					have[class]++
				}
			}
		}
	}
	return s.keep(out)
}

// Without returns the images of s that are not in other, which was made from
// the same set.
func (s *Set) Without(other *Set) *Set {
	gone := map[string]bool{}
	for _, x := range other.Samples {
		gone[x.Path] = true
	}
	var out []int
	for p, x := range s.Samples {
		if !gone[x.Path] {
			out = append(out, p)
		}
	}
	return s.keep(out)
}

// Balance returns n images, one of each class in turn as Take does, but a class
// whose images are used up begins again: every class is there equally often,
// and an image of a rare class several times. Of a set in which no class has
// images left over, it gives no more than the largest class times the number of
// classes.
func (s *Set) Balance(n int, seed uint64) *Set {
	order := s.shuffled(seed)
	order = slices.DeleteFunc(order, func(class []int) bool { return len(class) == 0 })
	most := 0
	for _, class := range order {
		most = max(most, len(class))
	}
	var out []int
	for round := range most {
		for _, class := range order {
			if len(out) < n {
				out = append(out, class[round%len(class)])
			}
		}
	}
	return s.keep(out)
}

// Digest returns a hex SHA-256 over the classes and, for every sample in
// order, its path, class, size and CRC-32. A folder and a zip archive of it
// have the same digest. Files of a directory are read; an archive knows the
// checksums of its files.
func (s *Set) Digest(ctx context.Context) (string, error) {
	lines := make([]string, len(s.Samples))
	err := parallel(ctx, len(lines), func(i int) error {
		x := s.Samples[i]
		size, crc, err := s.checksum(x.Path)
		if err != nil {
			return &fault.Error{Kind: fault.Data, File: s.src.at(x.Path), Err: err, Remedy: "the file cannot be read"}
		}
		lines[i] = fmt.Sprintf("%q %d %d %08x\n", x.Path, x.Class, size, crc)
		if s.Multi {
			lines[i] = fmt.Sprintf("%q %d %d %08x\n", x.Path, x.Classes, size, crc)
		}
		return nil
	})
	switch {
	case ctx.Err() != nil:
		return "", s.stopped(ctx)
	case err != nil:
		return "", err
	}
	h := sha256.New()
	fmt.Fprintf(h, "%q\n", s.Classes)
	for _, line := range lines {
		h.Write([]byte(line))
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

func (s *Set) checksum(file string) (size uint64, crc uint32, err error) {
	info, err := fs.Stat(s.src, file)
	if err != nil {
		return 0, 0, err
	}
	if h, ok := info.Sys().(*zip.FileHeader); ok {
		return h.UncompressedSize64, h.CRC32, nil
	}
	b, err := s.src.read(file)
	return uint64(len(b)), crc32.ChecksumIEEE(b), err
}

// shuffled returns the positions of each class's samples in an order that
// depends on the seed and the class's name. A set without classes counts as
// one class; one that is Multi has one more, of the images without a class.
func (s *Set) shuffled(seed uint64) [][]int {
	classes := max(1, len(s.Classes))
	if s.Multi {
		classes++
	}
	out := make([][]int, classes)
	for i := range s.Samples {
		for _, c := range s.groups(i) {
			out[c] = append(out[c], i)
		}
	}
	for c, order := range out {
		name := fnv.New64a()
		if c < len(s.Classes) {
			name.Write([]byte(s.Classes[c]))
		}
		r := rand.New(rand.NewPCG(seed, name.Sum64()))
		r.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
	}
	return out
}

// groups returns the numbers under which shuffled lists image i.
func (s *Set) groups(i int) []int {
	if c := s.Of(i); len(c) > 0 {
		return c
	}
	if s.Multi {
		return []int{len(s.Classes)}
	}
	return []int{0}
}

// keep returns the set of the samples at the given positions, in that order.
func (s *Set) keep(positions []int) *Set {
	out := *s
	out.Samples = make([]Sample, len(positions))
	for i, p := range positions {
		out.Samples[i] = s.Samples[p]
	}
	return &out
}
