package configs

import (
	"encoding"
	"fmt"
	"path/filepath"
	"reflect"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
	"go.yaml.in/yaml/v3"

	"nuwa/internal/fault"
)

// place is where a value stands in a file.
type place struct {
	line  int
	keys  []key    // of a table
	items []*place // of a list
}

type key struct {
	name  string
	line  int
	value *place
}

// locate reads where in a file everything stands. JSON is read as the YAML
// that it also is.
func locate(file string, text []byte) (*place, error) {
	if strings.EqualFold(filepath.Ext(file), ".toml") {
		return locateTOML(text)
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		return nil, err
	}
	if len(doc.Content) == 0 {
		return &place{line: 1}, nil
	}
	return fromYAML(doc.Content[0]), nil
}

func fromYAML(n *yaml.Node) *place {
	p := &place{line: n.Line}
	switch n.Kind {
	case yaml.AliasNode:
		return fromYAML(n.Alias)
	case yaml.SequenceNode:
		for _, c := range n.Content {
			p.items = append(p.items, fromYAML(c))
		}
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			p.keys = append(p.keys, key{n.Content[i].Value, n.Content[i].Line, fromYAML(n.Content[i+1])})
		}
	}
	return p
}

func locateTOML(text []byte) (*place, error) {
	var p unstable.Parser
	p.Reset(text)
	line := func(n *unstable.Node) int { return p.Shape(n.Raw).Start.Line }
	root := &place{line: 1}
	at := root
	var put func(in *place, n *unstable.Node)
	var value func(n *unstable.Node, line int) *place
	put = func(in *place, n *unstable.Node) {
		last := 0
		it := n.Key()
		for it.Next() {
			k := it.Node()
			last = line(k)
			if it.IsLast() {
				in.keys = append(in.keys, key{string(k.Data), last, value(n.Value(), last)})
				return
			}
			in = in.table(string(k.Data), last)
		}
	}
	value = func(n *unstable.Node, line int) *place {
		v := &place{line: line}
		for it := n.Children(); it.Next(); {
			switch c := it.Node(); n.Kind {
			case unstable.Array:
				v.items = append(v.items, value(c, line))
			case unstable.InlineTable:
				put(v, c)
			}
		}
		return v
	}
	for p.NextExpression() {
		switch n := p.Expression(); n.Kind {
		case unstable.KeyValue:
			put(at, n)
		case unstable.Table, unstable.ArrayTable:
			at = root
			for it := n.Key(); it.Next(); {
				k := it.Node()
				at = at.table(string(k.Data), line(k))
				if it.IsLast() && n.Kind == unstable.ArrayTable {
					at.items = append(at.items, &place{line: line(k)})
				}
				if len(at.items) > 0 {
					at = at.items[len(at.items)-1]
				}
			}
		}
	}
	return root, p.Error()
}

// table returns the value of a key, made where there is none.
func (p *place) table(name string, line int) *place {
	for _, k := range p.keys {
		if k.name == name {
			return k.value
		}
	}
	p.keys = append(p.keys, key{name, line, &place{line: line}})
	return p.keys[len(p.keys)-1].value
}

// find returns the line of a value by its path, as in sizes[2].rate, or of the
// innermost one around it that is there; 0 for none.
func (p *place) find(path string) int {
	at := 0
	for _, step := range strings.FieldsFunc(path, func(r rune) bool { return r == '.' || r == '[' || r == ']' }) {
		var next *place
		for _, k := range p.keys {
			if strings.EqualFold(k.name, step) {
				next, at = k.value, k.line
			}
		}
		var i int
		if _, err := fmt.Sscanf(step, "%d", &i); err == nil && i < len(p.items) {
			next, at = p.items[i], p.items[i].line
		}
		if next == nil {
			return at
		}
		p = next
	}
	return at
}

// known refuses a key that typ does not have.
func (p *place) known(file string, typ reflect.Type, path string) error {
	if typ.Kind() == reflect.Slice {
		for i, item := range p.items {
			if err := item.known(file, typ.Elem(), fmt.Sprintf("%s[%d]", path, i)); err != nil {
				return err
			}
		}
		return nil
	}
	if !isTable(typ) {
		return nil
	}
	fields := map[string]reflect.Type{}
	var names []string
	for f := range eachField(typ) {
		fields[f.name] = f.Type
		names = append(names, f.name)
	}
	seen := map[string]int{}
	for _, k := range p.keys {
		name := strings.ToLower(k.name)
		inner, ok := fields[name]
		if !ok {
			of := "the file's top level"
			if path != "" {
				of = path
			}
			return &fault.Error{Kind: fault.Usage, File: file, Where: fmt.Sprintf("line %d", k.line), Got: fmt.Sprintf("the key %q", k.name),
				Want: "a key of " + of, Remedy: "the nearest is " + fault.Nearest(name, names, 1)[0]}
		}
		if first := seen[name]; first > 0 {
			return &fault.Error{Kind: fault.Usage, File: file, Where: fmt.Sprintf("line %d", k.line), Got: fmt.Sprintf("the key %q a second time", k.name),
				Want: fmt.Sprintf("one, as on line %d", first)}
		}
		seen[name] = k.line
		if err := k.value.known(file, inner, strings.TrimPrefix(path+"."+name, ".")); err != nil {
			return err
		}
	}
	return nil
}

var readsText = reflect.TypeFor[encoding.TextUnmarshaler]()

func isTable(typ reflect.Type) bool {
	return typ.Kind() == reflect.Struct && !reflect.PointerTo(typ).Implements(readsText)
}
