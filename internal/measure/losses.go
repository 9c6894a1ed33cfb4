package measure

import (
	"context"
	"slices"

	"nuwa/internal/data"
	"nuwa/internal/fault"
)

// Losses returns the cross-entropy of every image whose class has a logit,
// deciding among all logits, in the order of images. classOf holds, for each
// class of images, the number of its logit, or −1. Where images may have
// several classes, it is the binary cross-entropy of every image, averaged over
// the classes that have a logit.
func Losses(ctx context.Context, m *Model, images Images, classOf []int) ([]float64, error) {
	var idx []int
	truth := images.Truth()
	for i, c := range images.Labels() {
		if truth != nil || c >= 0 && classOf[c] >= 0 {
			idx = append(idx, i)
		}
	}
	var t *tally
	var losses []float64
	err := m.each(ctx, images, idx, 0, func(b data.Batch, x rows) (err error) {
		if t == nil {
			if t, err = newTally(m.Name, x.cols, classOf, nil); err != nil {
				return err
			}
		}
		for i, c := range b.Labels {
			row := x.row(i)
			switch {
			case truth != nil:
				losses = append(losses, binaryLoss(row, classOf, truth[b.Indices[i]], between01(x.data)))
			case isDistribution(row):
				losses = append(losses, probabilityLoss(row, t.all, classOf[c]))
			default:
				losses = append(losses, logitLoss(row, t.all, classOf[c]))
			}
		}
		return nil
	})
	if err == nil && len(losses) == 0 {
		err = &fault.Error{Kind: fault.Data, File: m.Name, Got: "no image of a class that the model knows", Want: "at least one"}
	}
	return losses, err
}

// binaryLoss is the mean of binary cross-entropies of one image that has the
// given classes.
func binaryLoss(row []float64, classOf, has []int, probabilities bool) float64 {
	sum, n := 0.0, 0
	for c, l := range classOf {
		if l >= 0 {
			sum += elementLoss(row[l], slices.Contains(has, c), probabilities)
			n++
		}
	}
	return sum / float64(max(1, n))
}
