package report

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"nuwa/internal/fault"
)

// Schema is the version of the documents. It grows when a field changes its
// meaning or goes; a field more leaves it as it is. docs/report.schema.json says
// what a Result looks like.
const Schema = 2

// Read reads a file with a Result or with a Batch, whose results are read too;
// the other one is nil.
func Read(path string) (*Result, *Batch, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		var at *fs.PathError
		if errors.As(err, &at) {
			err = at.Err
		}
		return nil, nil, &fault.Error{Kind: fault.IO, File: path, Err: err}
	}
	var kind struct {
		Schema int             `json:"schema"`
		Models json.RawMessage `json:"models"`
	}
	r, b := &Result{}, &Batch{}
	if err = json.Unmarshal(text, &kind); err == nil && kind.Schema == Schema {
		if kind.Models == nil {
			err = json.Unmarshal(text, r)
		} else {
			err = json.Unmarshal(text, b)
		}
	}
	switch {
	case err != nil || kind.Schema == 0:
		return nil, nil, &fault.Error{Kind: fault.Usage, File: path, Got: "a file that is no report", Want: "the JSON that --report writes", Err: err}
	case kind.Schema < Schema:
		return nil, nil, &fault.Error{Kind: fault.Usage, File: path, Where: "schema", Got: fmt.Sprint(kind.Schema), Want: fmt.Sprint(Schema),
			Remedy: "it was written by an older nuwa; make the model again"}
	case kind.Schema > Schema:
		return nil, nil, &fault.Error{Kind: fault.Usage, File: path, Where: "schema", Got: fmt.Sprint(kind.Schema), Want: fmt.Sprintf("at most %d", Schema),
			Remedy: "it was written by a newer nuwa; use that one"}
	case kind.Models == nil:
		return r, nil, nil
	}
	for i := range b.Models {
		e := &b.Models[i]
		if e.Report == "" {
			continue
		}
		name := filepath.Join(filepath.Dir(path), filepath.FromSlash(e.Report))
		if e.Result, _, err = Read(name); err == nil && e.Result == nil {
			err = &fault.Error{Kind: fault.Usage, File: name, Got: "the index of a batch", Want: "the result of one model"}
		}
		if err != nil {
			return nil, nil, err
		}
	}
	return nil, b, nil
}
