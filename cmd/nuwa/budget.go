package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/pflag"

	"nuwa"
	"nuwa/configs"
	"nuwa/internal/fault"
	"nuwa/internal/figures"
)

// budgetFlags are limits instead of a rate.
func budgetFlags(f *pflag.FlagSet) {
	f.String("max-macs", "", "multiply-accumulates per image, as in 1.2G, instead of a rate")
	f.String("max-params", "", "parameters, as in 8M, instead of a rate")
	f.String("max-bytes", "", "size of the file, as in 12MB, instead of a rate")
	f.String("max-memory", "", "weights and activations while running one image, as in 200MB, instead of a rate")
	f.Duration("max-latency", 0, "time of one image on this machine, as in 20ms, instead of a rate")
	f.Float64("min-accuracy", 0, "accuracy among the wanted classes that the smallest model keeps on images set apart, 0 to 1, instead of a rate")
}

func (a *app) budget() (b nuwa.Budget, err error) {
	v := a.config
	for _, x := range []struct {
		flag string
		to   *int64
		read func(text string) (int64, error)
	}{
		{"max-macs", &b.MaxMACs, count}, {"max-params", &b.MaxParams, count}, {"max-bytes", &b.MaxBytes, size}, {"max-memory", &b.MaxMemory, size},
	} {
		text := v.GetString(x.flag)
		if text == "" {
			continue
		}
		if *x.to, err = x.read(text); err == nil && *x.to == 0 {
			err = usageError("--"+x.flag, text, "more than 0")
		}
		if err != nil {
			return b, &fault.Error{Kind: fault.Usage, Where: "--" + x.flag, Err: err}
		}
	}
	b.MaxLatency, b.MinAccuracy = v.GetDuration("max-latency"), v.GetFloat64("min-accuracy")
	return b, nil
}

func count(text string) (int64, error) {
	var c configs.Count
	err := c.UnmarshalText([]byte(text))
	return int64(c), err
}

func size(text string) (int64, error) {
	var b configs.Bytes
	err := b.UnmarshalText([]byte(text))
	return int64(b), err
}

// writeFound tells how a rate was found.
func writeFound(w io.Writer, f *nuwa.Found) error {
	if f == nil {
		return nil
	}
	for _, l := range f.Limits {
		if _, err := fmt.Fprintf(w, "%s is %s, asked for %s; %s\n", l.What, l.Amount(l.Met), strings.TrimPrefix(l.Asked(), l.What+" "),
			figures.Plural(len(f.Trials), "model was tried", "models were tried")); err != nil {
			return err
		}
	}
	return nil
}
