package linalg_test

import (
	"os"
	"testing"

	"nuwa/internal/ort"
)

// Large products are ONNX Runtime's, as in all that is built on this package.
func TestMain(m *testing.M) {
	if _, err := ort.Load(""); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}
