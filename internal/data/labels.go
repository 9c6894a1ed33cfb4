package data

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"nuwa/internal/fault"
)

// LoadLabels reads the class names of a model, one per logit and in their
// order, from one of
//
//	a text file with one name per line
//	a JSON list of names
//	a JSON object {"0": "cat", ...} or {"cat": 0, ...}; the value of a number may
//	be a list, of which ["n02123045", "tabby"] means "n02123045 tabby"
//	a config.json of Hugging Face or timm with id2label or label_names
func LoadLabels(path string) ([]string, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, &fault.Error{Kind: fault.Data, File: path, Where: "labels", Err: err}
	}
	b = bytes.TrimSpace(bytes.TrimPrefix(b, []byte("\ufeff")))
	var names []string
	if len(b) > 0 && (b[0] == '{' || b[0] == '[') {
		names, err = jsonLabels(b)
	} else {
		names, err = textLabels(b)
	}
	if err == nil && len(names) == 0 {
		err = errors.New("it holds no names")
	}
	if err != nil {
		return nil, &fault.Error{Kind: fault.Data, File: path, Where: "labels", Err: err,
			Remedy: "give one class name per line, a JSON list, or an object from logit number to name"}
	}
	return names, nil
}

func textLabels(b []byte) ([]string, error) {
	var names []string
	lines := bufio.NewScanner(bytes.NewReader(b))
	for lines.Scan() {
		name := strings.TrimSpace(lines.Text())
		if name == "" {
			return nil, fmt.Errorf("line %d is empty, so the names after it would belong to the wrong logits", len(names)+1)
		}
		if strings.ContainsRune(name, 0) {
			return nil, fmt.Errorf("line %d is not text", len(names)+1)
		}
		names = append(names, name)
	}
	return names, lines.Err()
}

func jsonLabels(b []byte) ([]string, error) {
	if b[0] == '[' {
		var names []string
		err := json.Unmarshal(b, &names)
		return names, err
	}
	var object map[string]json.RawMessage
	if err := json.Unmarshal(b, &object); err != nil {
		return nil, err
	}
	for _, key := range []string{"id2label", "label_names"} {
		if inner, ok := object[key]; ok {
			inner = bytes.TrimSpace(inner)
			if len(inner) == 0 || inner[0] != '{' && inner[0] != '[' {
				return nil, fmt.Errorf("%s is %s, want a list or an object", key, inner)
			}
			return jsonLabels(inner)
		}
	}
	names := make([]string, len(object))
	seen := make([]bool, len(object))
	for key, raw := range object {
		id, name, err := labelEntry(key, raw)
		if err != nil {
			return nil, err
		}
		if id < 0 || id >= len(names) || seen[id] {
			return nil, fmt.Errorf("logit %d of %q: %d names want the logits 0 to %d, each once", id, name, len(names), len(names)-1)
		}
		names[id], seen[id] = name, true
	}
	return names, nil
}

// labelEntry reads "3": "cat", "3": ["n02123045", "cat"] or "cat": 3.
func labelEntry(key string, raw json.RawMessage) (id int, name string, err error) {
	var parts []string
	switch {
	case json.Unmarshal(raw, &id) == nil:
		return id, key, nil
	case json.Unmarshal(raw, &name) == nil:
	case json.Unmarshal(raw, &parts) == nil:
		name = strings.Join(parts, " ")
	default:
		return 0, "", fmt.Errorf("key %q: want a class name or a logit number", key)
	}
	if id, err = strconv.Atoi(key); err != nil {
		return 0, "", fmt.Errorf("key %q: want a logit number", key)
	}
	return id, name, nil
}
