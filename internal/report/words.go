package report

import (
	"fmt"
	"math"
	"strings"
	"unicode"

	"nuwa/internal/figures"
)

// percent prints a share of 0..1, with as many decimals as n images tell.
func percent(x float64, n int) string { return points(x, n) + "\u202f%" }

// points prints a share of 0..1 in percent, without the sign for it.
func points(x float64, n int) string {
	if n >= 2000 {
		return fmt.Sprintf("%.2f", 100*x)
	}
	return fmt.Sprintf("%.1f", 100*x)
}

// gain prints by how many points b is more than a.
func gain(a, b float64, n int) string {
	d := points(math.Abs(b-a), n)
	switch {
	case strings.Trim(d, "0.") == "":
		return "±" + d
	case b < a:
		return "−" + d
	}
	return "+" + d
}

// way classes a change of shares for the reader: "better", "worse", or "" where
// b is not known so well: within 1.96·√(p(1−p)/(n+4)), p = (bn+2)/(n+4), which
// is about its 95 % interval (Agresti and Coull 1998).
func way(a, b float64, n int) string {
	m := float64(n)
	p := (b*m + 2) / (m + 4)
	switch noise := 1.96 * math.Sqrt(p*(1-p)/(m+4)); {
	case b-a > noise:
		return "better"
	case a-b > noise:
		return "worse"
	}
	return ""
}

// change prints by how many percent b differs from a.
func change(a, b float64) string {
	s := strings.Trim(figures.Change(a, b), " ()")
	return strings.NewReplacer("-", "−", " %", "\u202f%").Replace(s)
}

// list joins words the way a sentence does, and counts those after the first
// most.
func list(words []string, most int) string {
	if n := len(words); n > most+1 {
		words = append(words[:most:most], fmt.Sprintf("%d more", n-most))
	}
	if n := len(words); n > 1 {
		return strings.Join(words[:n-1], ", ") + " and " + words[n-1]
	}
	return strings.Join(words, "")
}

// command spells arguments of nuwa for a shell.
func command(args []string) string {
	words := []string{"nuwa"}
	for _, a := range args {
		if a == "" || strings.ContainsFunc(a, func(r rune) bool {
			return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("-_./,:=%+@", r)
		}) {
			a = "'" + strings.ReplaceAll(a, "'", `'\''`) + "'"
		}
		words = append(words, a)
	}
	return strings.Join(words, " ")
}
