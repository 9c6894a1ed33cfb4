package report

import (
	"fmt"

	"nuwa/internal/measure"
)

// rejection says how well images of other classes are told from wanted ones.
type rejection struct {
	Asked          string
	Wanted, Others int
	Ways           []rejecting
}

type rejecting struct {
	Name                             string
	Ours                             bool
	Right, Accepted, Rejected, AUROC string
	Part                             float64 // rejected, in percent
}

func newRejection(o *Other) *rejection {
	if o == nil || o.Measured == nil {
		return nil
	}
	m := o.Measured
	r := &rejection{Asked: percent(o.Asked, 0), Wanted: m.Wanted, Others: m.Others}
	add := func(name string, ours bool, x measure.Rejects, auroc string) {
		r.Ways = append(r.Ways, rejecting{name, ours, percent(x.Accuracy, m.Wanted), percent(x.Accepted, m.Wanted), percent(x.Rejected, m.Others), auroc, 100 * x.Rejected})
	}
	add("the logit for all others", true, m.Logit, fmt.Sprintf("%.3f", m.Logit.AUROC))
	add("maximum softmax", false, m.Softmax, fmt.Sprintf("%.3f", m.Softmax.AUROC))
	add("nothing", false, measure.Rejects{Accuracy: m.Forced, Accepted: 1}, "")
	return r
}
