package data

import (
	"fmt"
	"hash/fnv"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
)

// stratify marks the images of the first of two parts, for a set whose images
// may have several classes. Images with the same combination of classes are
// divided in the given proportion as far as whole images go, so that what
// occurs together occurs together in both parts. What is left of each
// combination, one image at most, is dealt out by iterative stratification
// (Sechidis, Tsoumakas and Vlahavas 2011): the class with the fewest images
// left comes first, and each goes to the part that lacks more of that class.
// A part is not left without a class that has two images or more, unless a
// rarer class needs them on the other side. The images of a combination are
// drawn in an order that depends on the seed and the names of its classes.
func (s *Set) stratify(seed uint64, fraction float64) []bool {
	inFirst := make([]bool, len(s.Samples))
	lack, total := s.demand(fraction)
	put := func(p, part int) {
		inFirst[p] = part == 0
		total[part]--
		for _, c := range s.Samples[p].Classes {
			lack[c][part]--
		}
	}
	var left []int
	for _, group := range s.combinations(seed) {
		first := int(fraction * float64(len(group)))
		second := int((1 - fraction) * float64(len(group)))
		for i, p := range group {
			switch {
			case i < first:
				put(p, 0)
			case i < first+second:
				put(p, 1)
			default:
				left = append(left, p)
			}
		}
	}
	for len(left) > 0 {
		next := s.rarest(left)
		rest := left[:0:0]
		for _, p := range left {
			if next >= 0 && !slices.Contains(s.Samples[p].Classes, next) {
				rest = append(rest, p)
				continue
			}
			put(p, lacking(lack, total, next))
		}
		left = rest
	}
	return inFirst
}

// demand returns how many images of each class, and in all, the two parts
// shall get. Both get one of a class with two images or more.
func (s *Set) demand(fraction float64) (of [][2]float64, total [2]float64) {
	n := float64(len(s.Samples))
	total = [2]float64{fraction * n, (1 - fraction) * n}
	for _, k := range s.Counts() {
		first := fraction * float64(k)
		if k > 1 && fraction > 0 && fraction < 1 {
			first = min(max(first, 1), float64(k-1))
		}
		of = append(of, [2]float64{first, float64(k) - first})
	}
	return of, total
}

// lacking returns the part that lacks more images of a class; of equals, and
// where the class is −1, the one that lacks more in all.
func lacking(lack [][2]float64, total [2]float64, class int) int {
	const rounding = 1e-9
	d := 0.0
	if class >= 0 {
		d = lack[class][0] - lack[class][1]
	}
	if math.Abs(d) < rounding {
		d = total[0] - total[1]
	}
	if d > rounding {
		return 0
	}
	return 1
}

// rarest returns the class with the fewest of the given images, −1 where none
// of them has one.
func (s *Set) rarest(left []int) int {
	count := make([]int, len(s.Classes))
	for _, p := range left {
		for _, c := range s.Samples[p].Classes {
			count[c]++
		}
	}
	rarest := -1
	for c, n := range count {
		if n > 0 && (rarest < 0 || n < count[rarest]) {
			rarest = c
		}
	}
	return rarest
}

// combinations groups the images by their classes, each group in a random
// order.
func (s *Set) combinations(seed uint64) [][]int {
	groups := map[string][]int{}
	for p, x := range s.Samples {
		names := make([]string, len(x.Classes))
		for i, c := range x.Classes {
			names[i] = fmt.Sprintf("%q", s.Classes[c])
		}
		slices.Sort(names)
		key := strings.Join(names, " ")
		groups[key] = append(groups[key], p)
	}
	var out [][]int
	for _, key := range slices.Sorted(maps.Keys(groups)) {
		name := fnv.New64a()
		name.Write([]byte(key))
		r := rand.New(rand.NewPCG(seed, name.Sum64()))
		group := groups[key]
		r.Shuffle(len(group), func(i, j int) { group[i], group[j] = group[j], group[i] })
		out = append(out, group)
	}
	return out
}
