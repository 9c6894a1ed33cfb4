package measure

import (
	"context"

	"nuwa/internal/fault"
)

// Losses returns the cross-entropy of every image whose class has a logit,
// deciding among all logits, in the order of images. classOf holds, for each
// class of images, the number of its logit, or −1.
func Losses(ctx context.Context, m *Model, images Images, classOf []int) ([]float64, error) {
	var idx []int
	for i, c := range images.Labels() {
		if c >= 0 && classOf[c] >= 0 {
			idx = append(idx, i)
		}
	}
	size, err := m.batchSize(0)
	if err != nil {
		return nil, err
	}
	var t *tally
	var losses []float64
	for b, err := range images.Batches(ctx, idx, size) {
		if err != nil {
			return nil, err
		}
		x, err := m.run(ctx, b.X)
		if err != nil {
			return nil, err
		}
		if t == nil {
			if t, err = newTally(m.Name, x.cols, classOf, nil); err != nil {
				return nil, err
			}
		}
		for i, c := range b.Labels {
			row, y := x.row(i), classOf[c]
			if isDistribution(row) {
				losses = append(losses, probabilityLoss(row, t.all, y))
			} else {
				losses = append(losses, logitLoss(row, t.all, y))
			}
		}
	}
	if len(losses) == 0 {
		return nil, &fault.Error{Kind: fault.Data, File: m.Name, Got: "no image of a class that the model knows", Want: "at least one"}
	}
	return losses, nil
}
