package structure_test

import (
	"context"
	"os"
	"testing"

	"nuwa/importer"
	"nuwa/internal/engine"
	"nuwa/internal/ort"
	"nuwa/passes"
)

func TestZZ(t *testing.T) {
	if _, err := ort.Load(""); err != nil {
		t.Fatal(err)
	}
	m, err := importer.Load(os.Getenv("M"))
	if err != nil {
		t.Fatal(err)
	}
	if os.Getenv("P") != "" {
		t.Log(m.String())
	}
	st := &passes.State{Model: m, Engine: &engine.Engine{}}
	rep, err := (&passes.Manager{}).Run(context.Background(), st, passes.Cleaning)
	for _, r := range rep {
		t.Logf("%s: %s drift %g %v", r.Pass, r.Changes, r.Drift, r.Time)
	}
	if err != nil {
		t.Fatal(err)
	}
	v := st.ViT
	for i, b := range v.Blocks {
		if a := b.Attention; a != nil {
			t.Logf("%d attn heads %d qk %d vo %d tokens %d | %q | %q", i, a.Heads, a.QKDim, a.VODim, a.Tokens, a.QKReason, a.VOReason)
		}
		if p := b.MLP; p != nil {
			t.Logf("%d mlp hidden %d gated %v tokens %d | %q", i, p.Hidden, p.Gated, p.Tokens, p.Reason)
		}
	}
	for _, d := range v.Declined {
		t.Log(d.Node, d.What, d.Reason)
	}
	for _, c := range v.Classifiers {
		t.Log("classifier", c.Output.Name(), c.Classes, len(c.Linears), c.Softmax)
	}
	t.Log(v.Pooling, v.Dim)
}
