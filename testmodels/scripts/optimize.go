//go:build ignore

// Optimize writes what ONNX Runtime makes of a model when it optimizes it.
//
//	go run testmodels/scripts/optimize.go extended vit.onnx optimized.onnx
//
// The levels are basic, extended and all.
package main

import (
	"fmt"
	"os"

	"nuwa/internal/ort"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string) error {
	levels := map[string]ort.Level{"basic": ort.Basic, "extended": ort.Extended, "all": ort.All}
	if len(args) != 3 {
		return fmt.Errorf("want a level (basic, extended, all), a model, and a file to write")
	}
	level, ok := levels[args[0]]
	if !ok {
		return fmt.Errorf("no level is called %q", args[0])
	}
	if _, err := ort.Load(""); err != nil {
		return err
	}
	s, err := ort.NewSessionFile(args[1], ort.Options{Threads: 1, Optimize: level, Rewritten: args[2]})
	if err != nil {
		return err
	}
	return s.Close()
}
