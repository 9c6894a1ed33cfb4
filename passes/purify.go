package passes

import (
	"context"
	"fmt"

	"nuwa/internal/engine"
	"nuwa/internal/fault"
	"nuwa/passes/purify"
	"nuwa/passes/structure"
)

// runPurify learns which hidden neurons hurt, removes them, and finds the
// structure of what is left.
func runPurify(ctx context.Context, s *State) (string, error) {
	s.Widths = widths(s.ViT)
	if s.Options.Purify == nil {
		return "", nil
	}
	err := s.remember("purification", &s.Purified, func() (err error) {
		s.Purified, err = purify.Learn(ctx, s.Engine, s.Model, s.ViT, *s.Options.Purify)
		return err
	})
	if s.Options.Lenient && fault.KindOf(err) == fault.Unsupported {
		s.note("nothing was purified: %v", err)
		return "", nil
	}
	if err != nil {
		return "", err
	}
	gone := s.Purified.Removed()
	if gone == 0 {
		s.note("purification removed nothing: on the validation images no mask was as accurate as all neurons together")
		return "", nil
	}
	if err := purify.Remove(s.Model, s.ViT, s.Purified); err != nil {
		return "", err
	}
	engine.Trim(s.Model.Graph) // what neurons left behind does not fit what reads it any more
	vit, err := structure.Find(ctx, s.Engine, s.Model)
	if err != nil {
		return "", err
	}
	if len(vit.Blocks) != len(s.Base) {
		return "", &fault.Error{Kind: fault.Internal, Got: fmt.Sprintf("%d blocks after neurons went", len(vit.Blocks)), Want: fmt.Sprint(len(s.Base)),
			Remedy: "please report this model"}
	}
	s.ViT, s.Before, s.Widths = vit, widths(vit), widths(vit)
	return counted(gone, "neurons removed"), nil
}
