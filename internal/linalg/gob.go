package linalg

import (
	"encoding/binary"
	"errors"
	"math"
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
		for j := i; j < e; j++ {
			put(math.Float64bits(m.Gram.At(i, j)))
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
		for j := i; j < int(e); j++ {
			m.Gram.SetSym(i, j, math.Float64frombits(next()))
		}
	}
	return nil
}
