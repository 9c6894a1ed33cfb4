package configs

import (
	"embed"
	"fmt"
	"slices"
	"strings"

	"nuwa/internal/fault"
)

//go:embed presets/*.yaml
var presets embed.FS

// Presets returns the names of the files to start from that Preset knows.
func Presets() []string {
	entries, err := presets.ReadDir("presets")
	if err != nil { // of a folder that is embedded
		panic(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, strings.TrimSuffix(e.Name(), ".yaml"))
	}
	return names
}

// Preset returns a file to start from.
func Preset(name string) ([]byte, error) {
	if names := Presets(); !slices.Contains(names, name) {
		return nil, &fault.Error{Kind: fault.Usage, Where: "preset", Got: fmt.Sprintf("%q", name), Want: strings.Join(names, " or "),
			Remedy: "did you mean " + fault.Nearest(name, names, 1)[0] + "?"}
	}
	return presets.ReadFile("presets/" + name + ".yaml")
}
