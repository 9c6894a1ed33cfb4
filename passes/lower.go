package passes

import (
	"context"
	"fmt"

	"nuwa/passes/cleanup"
	"nuwa/passes/fuse"
	"nuwa/passes/norms"
	"nuwa/passes/opset"
	"nuwa/passes/structure"
)

// Lowering says what a consumer wants of a finished model. A zero field wants
// nothing.
type Lowering struct {
	Clean     bool   // the model went through Cleaning before
	Fold      bool   // constants folded, shape arithmetic frozen, idle nodes gone
	Fuse      string // "ort" or "onnx": attention, GELU and biased products in fused operators; "none": fused operators spelled out
	Opset     int64  // this version of the operator set
	FastNorms bool   // layer norms in the operators that ONNX Runtime is fastest at
	Stored    bool   // weights that came in 16 bits, behind a Cast, that way again
}

// Lower returns the passes that turn a model into what l wants, in order.
func Lower(l Lowering) []Pass {
	var list []Pass
	if !l.Clean && (l.Fold || l.Fuse != "" || l.FastNorms) {
		list = append(list, Cleaning...)
	}
	if l.Opset > 0 {
		list = append(list, Pass{Name: "opset", Doc: "move to another version of the operator set", Effect: Exact, Run: convertOpset(l.Opset)})
	}
	if l.FastNorms {
		list = append(list, Pass{Name: "norms", Doc: "spell layer norms in operators that ONNX Runtime is fastest at", Effect: Exact, Run: runFastNorms})
	}
	if form, ok := map[string]fuse.Form{"ort": fuse.ORT, "onnx": fuse.Standard}[l.Fuse]; ok {
		list = append(list,
			Pass{Name: "fuse-attention", Doc: "make one operator of each attention", Effect: Exact, Dispensable: true, Run: fuseAttention(form)},
			Pass{Name: "fuse-gelu", Doc: "make one operator of each GELU", Effect: Exact, Dispensable: true, Run: fuseGelu(form)})
		if form == fuse.ORT {
			list = append(list, Pass{Name: "fuse-linear", Doc: "make one operator of each product and its bias", Effect: Exact, Dispensable: true, Run: fuseLinears, After: []Order{
				{"fuse-gelu", "a bias in front of an activation goes into that"}}})
		}
	}
	if l.Stored {
		list = append(list, storing)
	}
	return list
}

// storing comes last: other passes look for constants, not for what is cast from
// one.
var storing = Pass{Name: "store", Doc: "put weights back into the 16-bit type that they were stored in", Effect: Approximate, Run: runStore}

func runStore(_ context.Context, s *State) (string, error) {
	n, err := cleanup.Store(s.Model)
	return counted(n, "weights"), err
}

func convertOpset(version int64) func(context.Context, *State) (string, error) {
	return func(ctx context.Context, s *State) (string, error) {
		from := s.Model.Opset("")
		if from == version {
			return "", nil
		}
		shapes, err := s.Engine.Shapes(ctx, s.Model)
		if err != nil {
			return "", err
		}
		if err := opset.Convert(s.Model, version, shapes); err != nil {
			return "", err
		}
		return fmt.Sprintf("opset %d to %d", from, version), nil
	}
}

func runFastNorms(ctx context.Context, s *State) (string, error) {
	shapes, err := s.Engine.Shapes(ctx, s.Model)
	if err != nil {
		return "", err
	}
	spelled := norms.Spell(s.Model, shapes)
	if spelled == 0 {
		return "", nil
	}
	if shapes, err = s.Engine.Shapes(ctx, s.Model); err != nil {
		return "", err
	}
	return listed(counted(spelled, "layer norms"), counted(norms.Centre(s.Model, shapes), "means spared")), nil
}

func fuseAttention(form fuse.Form) func(context.Context, *State) (string, error) {
	return func(ctx context.Context, s *State) (string, error) {
		vit, err := structure.Find(ctx, s.Engine, s.Model)
		if err != nil {
			return "", err
		}
		done, err := fuse.Attention(s.Model, vit, form)
		s.kept(done.Kept)
		s.ViT = nil
		return counted(done.Count, "attentions"), err
	}
}

func fuseGelu(form fuse.Form) func(context.Context, *State) (string, error) {
	return func(ctx context.Context, s *State) (string, error) {
		shapes, err := s.Engine.Shapes(ctx, s.Model)
		if err != nil {
			return "", err
		}
		return counted(fuse.Gelus(s.Model, shapes, form), "activations"), nil
	}
}

func fuseLinears(ctx context.Context, s *State) (string, error) {
	shapes, err := s.Engine.Shapes(ctx, s.Model)
	if err != nil {
		return "", err
	}
	return counted(fuse.Linears(s.Model, shapes), "products"), nil
}

// Folding are the passes that compute what is constant.
func Folding() []Pass {
	var list []Pass
	for _, p := range Cleaning {
		if p.Name != "structure" && p.Name != "expand" {
			list = append(list, p)
		}
	}
	for i := range list {
		list[i].After = nil
	}
	return append(list, storing)
}
