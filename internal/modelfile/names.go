package modelfile

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"nuwa/internal/data"
	"nuwa/internal/fault"
)

// findNames takes class names from the label file, else the model's metadata,
// else a config.json beside the model.
func (f *File) findNames(labels string) error {
	var err error
	f.namedBy = f.Path
	if labels != "" {
		f.namedBy = labels
		f.Names, err = data.LoadLabels(labels)
		return err
	}
	if s, ok := f.Model.Meta(MetaClasses); ok {
		f.slim = true
		if err := json.Unmarshal([]byte(s), &f.Names); err != nil {
			return &fault.Error{Kind: fault.Model, File: f.Path, Where: "metadata " + MetaClasses, Err: err}
		}
		if s, ok := f.Model.Meta(MetaWanted); ok {
			if err := json.Unmarshal([]byte(s), &f.Wanted); err != nil {
				return &fault.Error{Kind: fault.Model, File: f.Path, Where: "metadata " + MetaWanted, Err: err}
			}
		}
		return nil
	}
	config := filepath.Join(filepath.Dir(f.Path), "config.json")
	if _, err := os.Stat(config); err == nil {
		if names, err := data.LoadLabels(config); err == nil {
			f.Names, f.namedBy = names, config
		}
	}
	return nil
}

// checkNames reports class names, or logits that are not masked, that do not
// belong to a model with so many logits.
func (f *File) checkNames(logits int) error {
	if n := len(f.Names); n > 0 && n != logits {
		return &fault.Error{Kind: fault.Data, File: f.namedBy, Got: fmt.Sprintf("%d class names", n), Want: fmt.Sprintf("%d, one for each logit", logits),
			Remedy: "give those that belong to this model with --labels"}
	}
	for _, w := range f.Wanted {
		if w < 0 || w >= logits {
			return &fault.Error{Kind: fault.Model, File: f.Path, Where: "metadata " + MetaWanted, Got: fmt.Sprintf("logit %d", w), Want: fmt.Sprintf("0 to %d", logits-1)}
		}
	}
	return nil
}

// WantsAll reports whether a list of wanted classes, empty or "all", means every
// one.
func WantsAll(classes []string) bool {
	return len(classes) == 0 || len(classes) == 1 && strings.EqualFold(classes[0], "all")
}

// Match gives every class of a set its logit. A slim model may know fewer
// classes than the set has; those it does not know get −1.
func (f *File) Match(setClasses []string, logits int) ([]int, error) {
	if err := f.checkNames(logits); err != nil {
		return nil, err
	}
	if !f.slim {
		return data.MatchClasses(setClasses, f.Names, logits)
	}
	out := make([]int, len(setClasses))
	for i, c := range setClasses {
		out[i] = slices.Index(f.Names, c)
		if _, err := strconv.Atoi(c); err != nil && out[i] < 0 {
			if ids, err := data.Resolve([]string{c}, f.Names, logits); err == nil && len(ids) == 1 {
				out[i] = ids[0]
			}
		}
	}
	return out, nil
}

// Resolve turns wanted classes into logits. Without class names of the model,
// folders stand for them.
func (f *File) Resolve(classes, setClasses []string, logits int) ([]int, error) {
	if err := f.checkNames(logits); err != nil {
		return nil, err
	}
	if WantsAll(classes) {
		return f.Wanted, nil
	}
	names := f.Names
	if len(names) == 0 && len(setClasses) == logits {
		names = setClasses
	}
	return data.Resolve(classes, names, logits)
}
