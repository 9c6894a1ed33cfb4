package passes

import (
	"context"

	"nuwa/internal/fault"
	"nuwa/passes/focus"
	"nuwa/passes/structure"
)

// runOthers takes the targets for the logit of all other classes from the
// model that has all of its logits still.
func runOthers(ctx context.Context, s *State) (string, error) {
	o := s.Options.Other
	switch {
	case o == nil:
		return "", nil
	case s.Options.Classes == nil || s.Options.Mask:
		return "", &fault.Error{Kind: fault.Usage, Where: "other", Got: "all logits kept", Want: "only those of wanted classes, beside which another stands for the rest",
			Remedy: "name the wanted classes, and keep the logits sliced"}
	}
	var err error
	s.Targets, err = focus.OtherTargets(ctx, s.Engine, s.Model, s.ViT.Classifiers, s.Options.Classes, o.Fit)
	return counted(len(s.Targets), "targets"), err
}

// runOther adds the logit for all other classes.
func runOther(ctx context.Context, s *State) (string, error) {
	o := s.Options.Other
	if o == nil {
		return "", nil
	}
	vit, err := structure.Find(ctx, s.Engine, s.Model)
	if err != nil {
		return "", err
	}
	s.Other, err = focus.AddOther(ctx, s.Engine, s.Model, vit.Classifiers, s.Targets, o.Fit, o.Held, o.Accept)
	return "a logit for all other classes", err
}
