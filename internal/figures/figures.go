// Package figures prints numbers for people: counts, sizes, times and changes.
// It imports nothing of nuwa.
package figures

import (
	"fmt"
	"strings"
	"time"
)

// Count prints a number with three to four digits and k, M or G.
func Count(n int64) string {
	for _, unit := range []struct {
		size int64
		name string
	}{{1e9, " G"}, {1e6, " M"}, {1e3, " k"}} {
		if n >= unit.size {
			return Digits(float64(n)/float64(unit.size)) + unit.name
		}
	}
	return fmt.Sprint(n)
}

// Bytes prints a file size in decimal units, as file managers and networks do.
func Bytes(n int64) string {
	s := Count(n)
	if n < 1e3 {
		return s + " B"
	}
	return strings.Replace(s, "k", "kB", 1) + map[bool]string{true: "B"}[n >= 1e6]
}

// Duration prints a time with three to four digits.
func Duration(d time.Duration) string {
	switch {
	case d >= time.Second:
		return Digits(d.Seconds()) + " s"
	case d >= time.Millisecond:
		return Digits(float64(d)/1e6) + " ms"
	}
	return Digits(float64(d)/1e3) + " µs"
}

// Digits prints a positive number with three to four digits.
func Digits(x float64) string {
	switch {
	case x >= 100:
		return fmt.Sprintf("%.0f", x)
	case x >= 10:
		return fmt.Sprintf("%.1f", x)
	}
	return fmt.Sprintf("%.2f", x)
}

// Change prints by how much b differs from a, in percent of a.
func Change(a, b float64) string {
	if a == 0 {
		return ""
	}
	return fmt.Sprintf(" (%+.1f %%)", 100*(b-a)/a)
}

// Plural prints a number and the noun that goes with it.
func Plural(n int, one, many string) string {
	if n == 1 {
		return fmt.Sprintf("%d %s", n, one)
	}
	return fmt.Sprintf("%d %s", n, many)
}
