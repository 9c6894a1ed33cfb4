package examine

import (
	"context"
	"fmt"
	"strings"

	"nuwa/internal/fault"
	"nuwa/internal/measure"
	"nuwa/internal/modelfile"
	"nuwa/internal/report"
	"nuwa/passes"
	"nuwa/passes/structure"
)

// Inspection is what Inspect found in a model.
type Inspection struct {
	Model       string            `json:"model"`
	IRVersion   int64             `json:"ir_version"`
	Opsets      map[string]int64  `json:"opsets"`
	Producer    string            `json:"producer,omitempty"`
	Input       string            `json:"input"`
	Outputs     []string          `json:"outputs"`
	Preprocess  string            `json:"preprocess"`
	Classes     int               `json:"classes,omitempty"` // logits of the first classifier
	Classifiers int               `json:"classifiers"`
	Pooling     string            `json:"pooling,omitempty"`
	Dim         int               `json:"dim,omitempty"` // embedding width
	Size        measure.Size      `json:"size"`
	Blocks      []InspectedBlock  `json:"blocks"`
	Declined    []report.Declined `json:"declined,omitempty"`
	Notes       []string          `json:"notes,omitempty"`
}

// InspectedBlock is one block. Zero stands for a part that it does not have.
type InspectedBlock struct {
	Tokens int  `json:"tokens"`
	Heads  int  `json:"heads,omitempty"`
	QK     int  `json:"qk,omitempty"` // width per head
	VO     int  `json:"vo,omitempty"` // width per head
	Hidden int  `json:"hidden,omitempty"`
	Gated  bool `json:"gated,omitempty"`

	PruneQK     bool  `json:"prune_qk"`
	PruneVO     bool  `json:"prune_vo"`
	PruneHidden bool  `json:"prune_hidden"`
	MACs        int64 `json:"macs"` // of attention and hidden layer, per image
}

// InspectOptions say what Inspect shall read.
type InspectOptions struct {
	Model      string
	Preprocess modelfile.Preprocess
	Runtime    modelfile.Runtime
}

// Inspect reads a model and tells what it is made of, what can be pruned, and
// what cannot and why.
func Inspect(ctx context.Context, o InspectOptions) (*Inspection, error) {
	eng, err := o.Runtime.Start()
	if err != nil {
		return nil, err
	}
	f, err := modelfile.OpenAny(ctx, eng, o.Preprocess, "", o.Model)
	if err != nil {
		return nil, err
	}
	in := &Inspection{Model: o.Model, IRVersion: f.Model.IRVersion, Opsets: map[string]int64{}, Producer: f.Model.ProducerName,
		Preprocess: f.Pre.String() + " (" + f.PreFrom + ")", Notes: f.Notes}
	if f.NoImages != nil {
		in.Preprocess = "none: the model does not take images"
	}
	for _, s := range f.Model.Opsets {
		in.Opsets[s.Domain] = s.Version
	}
	for _, v := range f.Model.Graph.Outputs() {
		in.Outputs = append(in.Outputs, v.Name()+" "+v.Type.String())
	}
	s := &passes.State{Model: f.Model, Engine: eng}
	if _, err := (&passes.Manager{SkipProof: true}).Run(ctx, s, passes.Cleaning); err != nil {
		return nil, fault.InFile(o.Model, err)
	}
	if in.Size, err = measure.SizeOf(ctx, eng, s.Model, o.Model); err != nil {
		return nil, fault.InFile(o.Model, err)
	}
	var inputs []string
	for _, v := range s.Model.Graph.Inputs() {
		inputs = append(inputs, v.Name()+" "+v.Type.String())
	}
	in.Input = strings.Join(inputs, ", ")
	vit := s.ViT
	in.Pooling, in.Dim, in.Classifiers = vit.Pooling, vit.Dim, len(vit.Classifiers)
	if len(vit.Classifiers) > 0 {
		in.Classes = vit.Classifiers[0].Classes
	}
	for _, b := range vit.Blocks {
		var x InspectedBlock
		if a := b.Attention; a != nil {
			x.Tokens, x.Heads, x.QK, x.VO = a.Tokens, a.Heads, a.QKDim, a.VODim
			x.PruneQK, x.PruneVO = a.QKReason == "", a.VOReason == ""
			qk, vo := a.UnitMACs(vit.Shapes)
			x.MACs += int64(qk)*int64(a.QKDim) + int64(vo)*int64(a.VODim)
		}
		if m := b.MLP; m != nil {
			x.Tokens, x.Hidden, x.Gated, x.PruneHidden = max(x.Tokens, m.Tokens), m.Hidden, m.Gated, m.Reason == ""
			x.MACs += int64(m.UnitMACs(vit.Shapes) * float64(m.Hidden))
		}
		in.Blocks = append(in.Blocks, x)
	}
	in.Declined, in.Notes = Declined(vit), append(in.Notes, s.Notes...)
	if err := s.RequireViT(); err != nil {
		in.Notes = append(in.Notes, "the model is no Vision Transformer, and derive refuses it: "+err.Error())
	}
	return in, nil
}

// Declined lists the parts of a model that are left as they are, and why.
func Declined(vit *structure.ViT) []report.Declined {
	var out []report.Declined
	for i, b := range vit.Blocks {
		if a := b.Attention; a != nil {
			if a.QKReason != "" {
				out = append(out, report.Declined{Where: fmt.Sprintf("block %d", i), What: "q/k", Reason: a.QKReason})
			}
			if a.VOReason != "" {
				out = append(out, report.Declined{Where: fmt.Sprintf("block %d", i), What: "v/o", Reason: a.VOReason})
			}
		}
		if b.MLP != nil && b.MLP.Reason != "" {
			out = append(out, report.Declined{Where: fmt.Sprintf("block %d", i), What: "hidden", Reason: b.MLP.Reason})
		}
	}
	for _, x := range vit.Declined {
		out = append(out, report.Declined{Where: x.Node.String(), What: x.What, Reason: x.Reason})
	}
	return out
}
