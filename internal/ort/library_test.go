package ort

import "testing"

func TestLoad(t *testing.T) {
	lib, err := Load("")
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", lib)
}
