package examine_test

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"nuwa/internal/examine"
	"nuwa/internal/modelfile"
	"nuwa/testmodels"
)

var update = flag.Bool("update", false, "write docs/MODELS.md anew")

const modelsHead = `# Models

What nuwa finds in models of many exporters and architectures, and what it
leaves alone and why. The models are tiny and untrained; the folder
[zoo](../testmodels/zoo) holds them, [scripts](../testmodels/scripts) the
programs that wrote them. A test compares this table with what ` + "`nuwa inspect`" + `
says: ` + "`go test ./internal/examine -run TestModels -update`" + ` writes it anew.

`

// Every model of the zoo is understood, or left alone with a reason; the
// document says the same.
func TestModels(t *testing.T) {
	models, err := testmodels.Zoo()
	if err != nil {
		t.Fatal(err)
	}
	var rows strings.Builder
	whole, partly, declined, failed := 0, 0, 0, 0
	prunable, sites := 0, 0
	for _, m := range models {
		in, err := examine.Inspect(t.Context(), examine.InspectOptions{Model: m.Path(), Runtime: modelfile.Runtime{Threads: 1}})
		if err != nil {
			failed++
			t.Errorf("%s: %v", m.File, err)
			continue
		}
		can, all := in.Sites()
		prunable, sites = prunable+can, sites+all
		switch {
		case can == 0:
			declined++
		case len(in.Declined) > 0:
			partly++
		default:
			whole++
		}
		if can < all && len(in.Declined) == 0 {
			t.Errorf("%s: %d of %d sites can be pruned, and no reason is given", m.File, can, all)
		}
		name := strings.TrimSuffix(m.File, ".onnx")
		fmt.Fprintf(&rows, "| %s | %s | %s | %d | %s | %s | %s |\n", name, cell(m.Architecture), cell(m.Exporter), in.Opsets[""], cell(in.Found()), cell(in.Prunable()), cell(strings.Join(in.LeftAlone(), "; ")))
	}
	var doc strings.Builder
	doc.WriteString(modelsHead)
	fmt.Fprintf(&doc, "%d models: %d understood throughout, %d in part, %d declined, %d failed. Of %d sites (q/k, v/o, hidden layer), %d can be pruned.\n\n",
		len(models), whole, partly, declined, failed, sites, prunable)
	doc.WriteString("| model | architecture | exporter | opset | found | prunable | left alone, and why |\n|---|---|---|---|---|---|---|\n")
	doc.WriteString(rows.String())
	file := filepath.Join("..", "..", "docs", "MODELS.md")
	if *update {
		if err := os.WriteFile(file, []byte(doc.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	if string(have) != doc.String() {
		a, b := strings.Split(string(have), "\n"), strings.Split(doc.String(), "\n")
		for i := range b {
			if i >= len(a) || a[i] != b[i] {
				t.Errorf("%s, line %d, should say\n%s", file, i+1, b[i])
			}
		}
		t.Errorf("%s is out of date: go test ./internal/examine -run TestModels -update", file)
	}
}

// cell makes s fit into a cell of a table.
func cell(s string) string { return strings.ReplaceAll(s, "|", "\\|") }
