package main

import (
	"fmt"
	"io"
	"text/tabwriter"

	"nuwa"
	"nuwa/internal/measure"
)

// writeOther tells how well the model says that an image shows none of the
// wanted classes, beside the usual threshold on the maximum softmax.
func writeOther(w io.Writer, o *nuwa.OtherResult) error {
	r := o.Measured
	fmt.Fprintf(w, "none of these: %d images of wanted and %d of other classes, threshold set for %.3g %% false accepts\n", r.Wanted, r.Others, 100*o.Asked)
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	fmt.Fprintln(t, "in %\taccuracy\taccepted\tothers rejected\tAUROC")
	for _, way := range []struct {
		name string
		r    measure.Rejects
	}{{"logit for other classes", r.Logit}, {"maximum softmax", r.Softmax}} {
		fmt.Fprintf(t, "%s\t%.2f\t%.2f\t%.2f\t%.2f\n", way.name, 100*way.r.Accuracy, 100*way.r.Accepted, 100*way.r.Rejected, 100*way.r.AUROC)
	}
	return t.Flush()
}
