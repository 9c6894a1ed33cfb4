package exporter

import (
	"bufio"
	"strconv"

	"nuwa/graph"
)

const (
	dataSuffix = ".data"
	pageSize   = 4096 // data starts at multiples of it, so that it can be mapped into memory
)

// dataFile is the layout of the tensors outside the model file.
type dataFile struct {
	name    string
	weights Weights
	from    int64                  // External moves initializers of so many bytes
	initial map[*graph.Tensor]bool // the initializers of the model

	at      map[*graph.Tensor]int64 // the offset of each tensor placed so far
	tensors []*graph.Tensor         // in the order of their offsets
	size    int64
}

func newDataFile(name string, m *graph.Model, weights Weights, threshold int64) *dataFile {
	if threshold == 0 {
		threshold = 1024
	}
	f := &dataFile{name: name, weights: weights, from: threshold, initial: map[*graph.Tensor]bool{}, at: map[*graph.Tensor]int64{}}
	for g := range m.Graphs {
		for _, v := range g.Consts() {
			if t := v.Default(); t != nil {
				f.initial[t] = true
			}
		}
	}
	return f
}

// place gives t a place in f if it is to be outside the model file.
func (f *dataFile) place(t *graph.Tensor) []graph.Entry {
	switch {
	case f.weights == Embedded || t.Type == graph.String || len(t.Data) == 0:
		return nil
	case t.Storage == graph.StoreExternal:
	case f.weights == Keep, !f.initial[t], int64(len(t.Data)) < f.from:
		return nil
	}
	offset, ok := f.at[t]
	if !ok {
		offset = (f.size + pageSize - 1) / pageSize * pageSize
		f.at[t] = offset
		f.tensors = append(f.tensors, t)
		f.size = offset + int64(len(t.Data))
	}
	return []graph.Entry{
		{Key: "location", Value: f.name},
		{Key: "offset", Value: strconv.FormatInt(offset, 10)},
		{Key: "length", Value: strconv.Itoa(len(t.Data))},
	}
}

// write writes the tensors, with zero bytes up to each offset.
func (f *dataFile) write(w *bufio.Writer) error {
	pos := int64(0)
	var gap [pageSize]byte
	for _, t := range f.tensors {
		if _, err := w.Write(gap[:f.at[t]-pos]); err != nil {
			return err
		}
		if _, err := w.Write(t.Data); err != nil {
			return err
		}
		pos = f.at[t] + int64(len(t.Data))
	}
	return nil
}
