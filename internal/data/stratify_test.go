package data

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// crowd is a set of n images that have each of some classes with its own
// chance, the second mostly together with the first.
func crowd(n int, seed uint64, chances ...float64) *Set {
	r := rand.New(rand.NewPCG(seed, 1))
	s := &Set{Root: "crowd", src: &source{name: "crowd"}, Multi: true}
	for c := range chances {
		s.Classes = append(s.Classes, fmt.Sprintf("class%02d", c))
	}
	for i := range n {
		x := Sample{Path: fmt.Sprintf("%05d.png", i), Class: -1}
		for c, p := range chances {
			if c == 1 && slices.Contains(x.Classes, 0) {
				p = 0.9
			}
			if r.Float64() < p {
				x.Classes = append(x.Classes, c)
			}
		}
		s.Samples = append(s.Samples, x)
	}
	return s
}

// together counts the images that have both classes.
func together(s *Set, a, b int) (n int) {
	for i := range s.Samples {
		if slices.Contains(s.Of(i), a) && slices.Contains(s.Of(i), b) {
			n++
		}
	}
	return n
}

// Every class, every pair of classes and the images without a class are
// divided in proportion.
func TestSplitOfSeveralClasses(t *testing.T) {
	for seed := range uint64(20) {
		s := crowd(400, seed, 0.3, 0.1, 0.05, 0.02, 0.01)
		a, b := s.Split(seed, 0.2)
		if a.Len()+b.Len() != s.Len() || math.Abs(float64(a.Len())-80) > 3 {
			t.Fatalf("%d and %d images", a.Len(), b.Len())
		}
		all, first := s.Counts(), a.Counts()
		for c, n := range all {
			if n > 1 && (first[c] == 0 || first[c] == n) {
				t.Errorf("seed %d: a part has %d of %d images of class %d", seed, first[c], n, c)
			}
			if d := math.Abs(float64(first[c]) - 0.2*float64(n)); d > 1.5 {
				t.Errorf("seed %d: %d of %d images of class %d", seed, first[c], n, c)
			}
			for e := range c {
				if d := math.Abs(float64(together(a, c, e)) - 0.2*float64(together(s, c, e))); d > 3 {
					t.Errorf("seed %d: %d of %d images of both class %d and %d", seed, together(a, c, e), together(s, c, e), c, e)
				}
			}
		}
		if again, _ := s.Split(seed, 0.2); described(again) != described(a) {
			t.Error("the same seed gave another split")
		}
		if other, _ := s.Split(seed+1, 0.2); described(other) == described(a) {
			t.Error("another seed gave the same split")
		}
	}
}

// Selecting classes keeps the images of the others as negatives.
func TestSelectOfSeveralClasses(t *testing.T) {
	s := crowd(50, 1, 0.3, 0.2, 0.4)
	one, err := s.Select([]string{"class02"})
	if err != nil {
		t.Fatal(err)
	}
	if one.Len() != 50 || one.Counts()[0] != s.Counts()[2] {
		t.Errorf("%d images, %v of the class, want %d", one.Len(), one.Counts(), s.Counts()[2])
	}
}

// Taking images counts each for all of its classes, and negatives like a class.
func TestTakeOfSeveralClasses(t *testing.T) {
	s := crowd(1000, 2, 0.5, 0.1, 0.05, 0.02)
	few := s.Take(60, 1)
	counts := few.Counts()
	negatives := 0
	for i := range few.Samples {
		if len(few.Of(i)) == 0 {
			negatives++
		}
	}
	if counts[3] < 10 || counts[2] < 10 || negatives < 10 {
		t.Errorf("%v of each class and %d of none among 60", counts, negatives)
	}
	if described(s.Take(30, 1)) != described(few.keep(all(30))) {
		t.Error("a larger sample does not begin with the smaller one")
	}
	if got := s.Take(5000, 1).Len(); got != 1000 {
		t.Errorf("took %d of 1000", got)
	}
}

// Balanced images have each class equally often.
func TestBalance(t *testing.T) {
	s := grid(10, 2, 30)
	for n, want := range map[int][]int{0: {0, 0, 0}, 7: {3, 2, 2}, 60: {20, 20, 20}, 999: {30, 30, 30}} {
		if got := s.Balance(n, 3).Counts(); !slices.Equal(got, want) {
			t.Errorf("Balance(%d) gave %v per class, want %v", n, got, want)
		}
	}
	if got, want := described(s.Balance(6, 3)), described(s.Take(6, 3)); got != want {
		t.Errorf("where no class runs out, Balance gives %s, Take %s", got, want)
	}
	if d := s.Balance(60, 3); d.Of(1)[0] != 1 || d.Samples[1].Path != d.Samples[7].Path {
		t.Error("a class of two images does not begin again")
	}
}

// A set of one class per image stays what it is when more are allowed.
func TestAsMulti(t *testing.T) {
	s := grid(3, 2)
	m := s.AsMulti()
	if !m.Multi || s.Multi || !slices.Equal(m.Counts(), s.Counts()) || m.AsMulti() != m {
		t.Errorf("%+v", m)
	}
}
