package linalg

import (
	"encoding/binary"
	"errors"
	"math"

	"gonum.org/v1/gonum/mat"
)

var errTruncated = errors.New("moments that are cut off")

// GobEncode writes the rows, the sums and the upper triangle of the Gram
// matrix, bit for bit.
func (m *Moments) GobEncode() ([]byte, error) {
	e := m.Dim()
	out := make([]byte, 0, 8*(2+e+e*(e+1)/2))
	put := func(x uint64) { out = binary.LittleEndian.AppendUint64(out, x) }
	put(uint64(m.Rows))
	put(uint64(e))
	for _, x := range m.Sum {
		put(math.Float64bits(x))
	}
	for i := range e {
		for _, x := range upper(m.Gram, i) {
			put(math.Float64bits(x))
		}
	}
	return out, nil
}

// GobDecode reads what GobEncode wrote.
func (m *Moments) GobDecode(text []byte) error {
	if len(text) < 16 {
		return errTruncated
	}
	next := func() uint64 {
		x := binary.LittleEndian.Uint64(text)
		text = text[8:]
		return x
	}
	rows, e := next(), next()
	if e < 1 || e > 1<<20 || uint64(len(text)) != 8*(e+e*(e+1)/2) {
		return errTruncated
	}
	*m = *NewMoments(int(e))
	m.Rows = int(rows)
	for j := range m.Sum {
		m.Sum[j] = math.Float64frombits(next())
	}
	for i := range int(e) {
		row := upper(m.Gram, i)
		for j := range row {
			row[j] = math.Float64frombits(binary.LittleEndian.Uint64(text[8*j:]))
		}
		text = text[8*len(row):]
	}
	return nil
}

// upper returns row i of s from its diagonal on.
func upper(s *mat.SymDense, i int) []float64 {
	raw := s.RawSymmetric()
	return raw.Data[i*raw.Stride+i : i*raw.Stride+raw.N]
}
