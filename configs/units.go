package configs

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Count is a number that may be written with k, M, G or T for powers of a
// thousand: 8M, 1.2G.
type Count int64

// Bytes is a number of bytes: 12MB, or 12MiB for powers of 1024.
type Bytes int64

var thousands = []struct {
	unit string
	n    float64
}{{"T", 1e12}, {"G", 1e9}, {"M", 1e6}, {"k", 1e3}, {"", 1}}

// UnmarshalText reads a count.
func (c *Count) UnmarshalText(text []byte) error {
	n, err := quantity(string(text), func(unit string) (float64, bool) { return prefix(unit) })
	if err != nil {
		return fmt.Errorf("got %q, want a number such as 8M or 1200k", text)
	}
	*c = Count(n)
	return nil
}

// UnmarshalText reads a number of bytes.
func (b *Bytes) UnmarshalText(text []byte) error {
	n, err := quantity(string(text), func(unit string) (float64, bool) {
		unit = strings.TrimSuffix(unit, "B")
		if p, ok := strings.CutSuffix(unit, "i"); ok && p != "" {
			n, known := prefix(p)
			return math.Pow(1024, math.Round(math.Log10(n)/3)), known
		}
		return prefix(unit)
	})
	if err != nil {
		return fmt.Errorf("got %q, want a number of bytes such as 12MB or 500kB", text)
	}
	*b = Bytes(n)
	return nil
}

// String writes the shortest form that UnmarshalText reads back.
func (c Count) String() string { return short(int64(c)) }

// String writes the shortest form that UnmarshalText reads back.
func (b Bytes) String() string { return short(int64(b)) + "B" }

func short(n int64) string {
	for _, t := range thousands {
		if float64(n) >= t.n {
			return strconv.FormatFloat(float64(n)/t.n, 'f', -1, 64) + t.unit
		}
	}
	return "0"
}

func prefix(unit string) (float64, bool) {
	for _, t := range thousands {
		if strings.EqualFold(unit, t.unit) {
			return t.n, true
		}
	}
	return 0, false
}

// quantity reads a number and the unit behind it.
func quantity(s string, unit func(string) (float64, bool)) (int64, error) {
	s = strings.TrimSpace(s)
	at := strings.LastIndexAny(s, "0123456789.") + 1
	x, err := strconv.ParseFloat(s[:at], 64)
	if err != nil {
		return 0, err
	}
	n, ok := unit(strings.TrimSpace(s[at:]))
	if x = math.Round(x * n); !ok || !(x >= 0) || x >= 1<<62 {
		return 0, strconv.ErrRange
	}
	return int64(x), nil
}

// Label names a size in files and tables.
func (s Size) Label() string {
	if s.Name != "" {
		return s.Name
	}
	var parts []string
	for _, p := range []struct {
		set  bool
		name string
		v    any
	}{
		{s.Rate > 0, "rate", s.Rate}, {s.MaxMACs > 0, "macs", s.MaxMACs}, {s.MaxParams > 0, "params", s.MaxParams},
		{s.MaxBytes > 0, "bytes", s.MaxBytes}, {s.MaxMemory > 0, "memory", s.MaxMemory}, {s.MaxLatency > 0, "latency", duration(s.MaxLatency)},
		{s.MinAccuracy > 0, "accuracy", s.MinAccuracy},
	} {
		if p.set {
			parts = append(parts, fmt.Sprint(p.name, "-", p.v))
		}
	}
	if len(parts) == 0 {
		return "full"
	}
	return strings.Join(parts, "-")
}

// duration is printed as people write it: 1.5ms.
type duration time.Duration

func (d duration) String() string {
	s := time.Duration(d).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	return strings.ReplaceAll(s, "µ", "u")
}
