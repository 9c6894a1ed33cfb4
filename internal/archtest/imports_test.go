// Package archtest holds the code to docs/ARCHITECTURE.md.
package archtest

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path"
	"regexp"
	"strings"
	"testing"
)

const module = "nuwa"

// row matches a line of the package table: package, what it owns, allowed imports.
var row = regexp.MustCompile("^\\| `?([./a-z]+)`? \\| [^|]+ \\| ?([^|]*)\\|$")

func TestImportsFollowTheArchitecture(t *testing.T) {
	text, err := os.ReadFile("../../docs/ARCHITECTURE.md")
	if err != nil {
		t.Fatal(err)
	}
	allowed := map[string][]string{}
	for line := range strings.Lines(string(text)) {
		if m := row.FindStringSubmatch(strings.TrimSpace(line)); m != nil && m[1] != "package" {
			for _, p := range strings.Split(m[2], ",") {
				allowed[m[1]] = append(allowed[m[1]], strings.TrimSpace(p))
			}
		}
	}
	if len(allowed) < 20 {
		t.Fatalf("only %d packages found in the table of ARCHITECTURE.md", len(allowed))
	}
	seen := map[string]bool{}
	for _, p := range list(t) {
		name := relative(p.ImportPath)
		seen[name] = true
		rules, ok := allowed[name]
		if !ok {
			t.Errorf("package %s is not in the table of ARCHITECTURE.md", name)
			continue
		}
		for _, imp := range p.Imports {
			if imp != module && !strings.HasPrefix(imp, module+"/") {
				continue
			}
			if !permitted(rules, relative(imp)) {
				t.Errorf("%s imports %s, which ARCHITECTURE.md does not allow", name, relative(imp))
			}
		}
	}
	for name := range allowed {
		if !seen[name] {
			t.Errorf("ARCHITECTURE.md lists %s, which does not exist", name)
		}
	}
}

func relative(importPath string) string {
	if importPath == module {
		return "."
	}
	return strings.TrimPrefix(importPath, module+"/")
}

func permitted(rules []string, imp string) bool {
	for _, r := range rules {
		if ok, _ := path.Match(r, imp); ok {
			return true
		}
	}
	return false
}

type pkg struct {
	ImportPath string
	Imports    []string
}

// list asks the go command for every package of the module.
func list(t *testing.T) []pkg {
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports", "./...")
	cmd.Dir = "../.."
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var all []pkg
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}
