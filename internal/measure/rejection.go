package measure

import (
	"context"
	"math"

	"nuwa/internal/data"
	"nuwa/internal/fault"
	"nuwa/internal/ranking"
)

// Rejection says how a model whose last logit stands for all other classes
// treats images of wanted and of other classes. Shares are in 0..1.
type Rejection struct {
	Wanted  int     `json:"wanted_images"`
	Others  int     `json:"other_images"`
	Logit   Rejects `json:"other_logit"`                // other where the last logit is the highest
	Softmax Rejects `json:"max_softmax"`                // other where the maximum softmax over the wanted logits is low
	Forced  float64 `json:"accuracy_without_rejection"` // deciding among the wanted logits only
}

// Rejects is what one way to say "none of these" achieves.
type Rejects struct {
	Accuracy float64 `json:"accuracy"` // of wanted images: accepted, and the right class
	Accepted float64 `json:"accepted"` // of wanted images
	Rejected float64 `json:"rejected"` // of other images
	AUROC    float64 `json:"auroc"`    // how well its score tells wanted from other images, at any threshold
}

// Reject measures m, whose last logit stands for all other classes, on images
// of wanted classes, those with a logit in classOf, and of other classes, those
// with −1. threshold is the maximum softmax over the wanted logits below which
// the usual baseline rejects.
func Reject(ctx context.Context, m *Model, images Images, classOf []int, threshold float64) (*Rejection, error) {
	r := &Rejection{}
	var margins, sureness []float64
	var accepted []bool // what should be
	err := m.each(ctx, images, nil, 0, func(b data.Batch, x rows) error {
		wanted := ranking.UpTo(x.cols - 1)
		for i, c := range b.Labels {
			if c < 0 {
				continue
			}
			row, y := x.row(i), classOf[c]
			choice := best(row, wanted)
			sure := math.Exp(-logitLoss(row, wanted, choice))
			margin := row[choice] - row[x.cols-1]
			margins, sureness, accepted = append(margins, margin), append(sureness, sure), append(accepted, y >= 0)
			for _, way := range []struct {
				to       *Rejects
				accepted bool
			}{{&r.Logit, margin >= 0}, {&r.Softmax, sure > threshold}} {
				switch {
				case y < 0 && !way.accepted:
					way.to.Rejected++
				case y >= 0 && way.accepted:
					way.to.Accepted++
					if choice == y {
						way.to.Accuracy++
					}
				}
			}
			if y < 0 {
				r.Others++
				continue
			}
			r.Wanted++
			if choice == y {
				r.Forced++
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if r.Wanted == 0 || r.Others == 0 {
		return nil, &fault.Error{Kind: fault.Data, File: m.Name, Got: "images of wanted classes only, or of others only", Want: "both, to measure rejection"}
	}
	r.Forced /= float64(r.Wanted)
	for _, way := range []*Rejects{&r.Logit, &r.Softmax} {
		way.Accuracy /= float64(r.Wanted)
		way.Accepted /= float64(r.Wanted)
		way.Rejected /= float64(r.Others)
	}
	r.Logit.AUROC, _ = ranking.AUROC(margins, accepted)
	r.Softmax.AUROC, _ = ranking.AUROC(sureness, accepted)
	return r, nil
}
