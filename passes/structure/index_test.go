package structure_test

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"nuwa/passes/passtest"
	"nuwa/passes/structure"
	"nuwa/testmodels"
)

var update = flag.Bool("update", false, "write testdata/reasons.txt anew")

// What is found in every untrained model is what its generator put there, and
// whatever may not be pruned has a reason that stays the same.
func TestFindAgreesWithTheIndex(t *testing.T) {
	cases, err := testmodels.Tiny()
	if err != nil {
		t.Fatal(err)
	}
	var reasons strings.Builder
	for _, c := range cases {
		t.Run(c.File, func(t *testing.T) {
			m := passtest.Load(t, c.Path())
			vit := passtest.Clean(t, m)
			compare(t, c, vit)
			for _, line := range declined(vit) {
				fmt.Fprintf(&reasons, "%s: %s\n", c.File, line)
			}
		})
	}
	const golden = "testdata/reasons.txt"
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(golden, []byte(reasons.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := lineDiff(string(want), reasons.String()); diff != "" {
		t.Errorf("reasons differ from %s (go test -update to accept):\n%s", golden, diff)
	}
}

// compare holds what was found to the index.
func compare(t *testing.T, c testmodels.Case, vit *structure.ViT) {
	t.Helper()
	check := func(what string, got, want any) {
		t.Helper()
		if got != want {
			t.Errorf("%s: found %v, the index has %v", what, got, want)
		}
	}
	attentions, mlps := 0, 0
	for _, b := range vit.Blocks {
		if b.Attention != nil {
			attentions++
		}
		if b.MLP != nil {
			mlps++
		}
	}
	switch c.Spelling {
	case "cnn", "mlp_only":
		check("attentions", len(vit.Attentions), 0)
		return
	case "channel_softmax": // no attention; the hidden layers are found all the same
		check("attentions", attentions, 0)
		check("blocks with a hidden layer", mlps, c.Blocks)
		check("places left alone", len(vit.Declined) >= c.Blocks, true)
	default:
		check("blocks", len(vit.Blocks), c.Blocks)
		check("blocks with attention", attentions, c.Blocks)
		check("blocks with a hidden layer", mlps, c.Blocks)
	}
	check("dim", vit.Dim, c.Dim)
	check("classifiers", len(vit.Classifiers) > 0, true)
	for _, k := range vit.Classifiers {
		check("classes", k.Classes, c.Classes)
	}
	tokens := c.Tokens
	if c.Spelling == "window" {
		tokens /= 4 // the index counts the image's, attention sees a window's
	}
	prunable := c.Prunable
	if c.Spelling == "talking_heads" {
		prunable.QK = true // heads are mixed after each has its product, which is all that matters
	}
	qk, vo, hidden := true, true, true
	for i, b := range vit.Blocks {
		if a := b.Attention; a != nil {
			check(fmt.Sprintf("heads of block %d", i), a.Heads, c.Heads)
			check(fmt.Sprintf("q/k width of block %d", i), a.QKDim, c.QK)
			check(fmt.Sprintf("v/o width of block %d", i), a.VODim, c.VO)
			check(fmt.Sprintf("tokens of block %d", i), a.Tokens, tokens)
			qk, vo = qk && a.QKReason == "", vo && a.VOReason == ""
		} else {
			qk, vo = false, false
		}
		if m := b.MLP; m != nil {
			check(fmt.Sprintf("hidden width of block %d", i), m.Hidden, c.Hidden)
			check(fmt.Sprintf("tokens of hidden layer %d", i), m.Tokens, c.Tokens)
			hidden = hidden && m.Reason == ""
		} else {
			hidden = false
		}
	}
	check("q/k prunable", qk, prunable.QK)
	check("v/o prunable", vo, prunable.VO)
	check("hidden prunable", hidden, prunable.Hidden)
}

// declined lists what is left alone in vit, and why.
func declined(vit *structure.ViT) []string {
	var lines []string
	say := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	for i, b := range vit.Blocks {
		if a := b.Attention; a != nil && a.QKReason != "" {
			say("block %d, q/k: %s", i, a.QKReason)
		}
		if a := b.Attention; a != nil && a.VOReason != "" {
			say("block %d, v/o: %s", i, a.VOReason)
		}
		if b.MLP != nil && b.MLP.Reason != "" {
			say("block %d, hidden: %s", i, b.MLP.Reason)
		}
	}
	for _, d := range vit.Declined {
		say("%s at %s: %s", d.What, d.Node, d.Reason)
	}
	return lines
}

// lineDiff lists the lines that only one of two texts has.
func lineDiff(want, got string) string {
	var b strings.Builder
	only := func(sign, a, c string) {
		for line := range strings.Lines(a) {
			if !strings.Contains("\n"+c, "\n"+line) {
				b.WriteString(sign + line)
			}
		}
	}
	only("- ", want, got)
	only("+ ", got, want)
	if b.Len() == 0 && want != got {
		return "the same lines in another order"
	}
	return b.String()
}
