package linalg_test

import (
	"bytes"
	"encoding/gob"
	"math"
	"reflect"
	"testing"

	"nuwa/internal/linalg"
)

// Moments come back bit for bit, and what is cut off is refused.
func TestMomentsGob(t *testing.T) {
	m := linalg.NewMoments(3)
	if err := m.Add(5, []float32{1, -2, 1.0 / 3}, []float32{1, 2, 3, 2, 7, 5, 3, 5, 0.1}); err != nil {
		t.Fatal(err)
	}
	m.Sum[1] = math.Nextafter(2, 3)
	var b bytes.Buffer
	if err := gob.NewEncoder(&b).Encode(m); err != nil {
		t.Fatal(err)
	}
	var got *linalg.Moments
	if err := gob.NewDecoder(&b).Decode(&got); err != nil || !reflect.DeepEqual(got, m) {
		t.Errorf("got %+v, %v", got, err)
	}
	text, _ := m.GobEncode()
	for n := range text {
		if err := new(linalg.Moments).GobDecode(text[:n]); err == nil {
			t.Errorf("%d of %d bytes are enough", n, len(text))
		}
	}
}
