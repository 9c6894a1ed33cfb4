package report

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write docs/report.schema.json and docs/batch.schema.json")

// TestSchema holds the documented schemas to the types that are written.
func TestSchema(t *testing.T) {
	batch := farm()
	for i := range batch.Models {
		batch.Models[i].Target = "cpu"
	}
	for _, x := range []struct {
		file, title string
		typ         reflect.Type
		examples    []any
		required    string // of an example
	}{
		{"report", "A result of nuwa", reflect.TypeFor[Result](), []any{
			orNone(sample("slim.onnx", 0.5, "cat", "dog")), several("cat", "dog"), onDevice(sample("slim.onnx", 0.5, "cat", "dog")), &Result{Schema: Schema}}, "rate"},
		{"batch", "The index of a batch of nuwa", reflect.TypeFor[Batch](), []any{batch, &Batch{Schema: Schema, Models: []Entry{}}}, "models"},
	} {
		file := filepath.Join("..", "..", "docs", x.file+".schema.json")
		s := schemas{defs: map[string]any{}, docs: map[string]map[string]string{}}
		doc := s.object(t, x.typ)
		doc["$schema"], doc["title"], doc["$defs"] = "https://json-schema.org/draft/2020-12/schema", fmt.Sprintf("%s, version %d", x.title, Schema), s.defs
		doc["properties"].(map[string]any)["schema"].(map[string]any)["const"] = Schema
		var want bytes.Buffer
		enc := json.NewEncoder(&want)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		if err := enc.Encode(doc); err != nil {
			t.Fatal(err)
		}
		if *update {
			if err := os.WriteFile(file, want.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want.Bytes()) {
			t.Fatalf("%s is not what the types say; run go test ./internal/report -run Schema -update, and raise Schema where a field changed its meaning", file)
		}
		var schema map[string]any
		if err := json.Unmarshal(got, &schema); err != nil {
			t.Fatal(err)
		}
		for _, example := range x.examples {
			text, err := json.Marshal(example)
			if err != nil {
				t.Fatal(err)
			}
			var value map[string]any
			if err := json.Unmarshal(text, &value); err != nil {
				t.Fatal(err)
			}
			if err := fits(value, schema, schema, x.file); err != nil {
				t.Error(err)
			}
			delete(value, x.required)
			if err := fits(value, schema, schema, x.file); err == nil {
				t.Errorf("%s: a document without %s fits the schema", x.file, x.required)
			}
		}
	}
}

// schemas makes JSON Schemas of Go types, described by their comments.
type schemas struct {
	defs map[string]any
	docs map[string]map[string]string // by package: of Type and Type.Field
}

func (s schemas) of(t *testing.T, typ reflect.Type) map[string]any {
	kind := func(name string) map[string]any { return map[string]any{"type": name} }
	switch typ.Kind() {
	case reflect.Pointer:
		return s.of(t, typ.Elem())
	case reflect.Struct:
		name := path.Base(typ.PkgPath()) + "." + typ.Name()
		if s.defs[name] == nil {
			s.defs[name] = true // for types that hold themselves
			s.defs[name] = s.object(t, typ)
		}
		return map[string]any{"$ref": "#/$defs/" + name}
	case reflect.Slice:
		return map[string]any{"type": "array", "items": s.of(t, typ.Elem())}
	case reflect.Array:
		return map[string]any{"type": "array", "items": s.of(t, typ.Elem()), "minItems": typ.Len(), "maxItems": typ.Len()}
	case reflect.Map:
		return map[string]any{"type": "object", "additionalProperties": s.of(t, typ.Elem())}
	case reflect.String:
		return kind("string")
	case reflect.Bool:
		return kind("boolean")
	case reflect.Float64, reflect.Float32:
		return kind("number")
	case reflect.Int, reflect.Int64, reflect.Uint64:
		return kind("integer")
	}
	t.Fatalf("no schema for %v", typ)
	return nil
}

func (s schemas) object(t *testing.T, typ reflect.Type) map[string]any {
	properties, required := map[string]any{}, []string{}
	for f := range typ.Fields() {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "-" {
			continue
		}
		if f.Anonymous && name == "" {
			inner := s.object(t, f.Type)
			maps.Copy(properties, inner["properties"].(map[string]any))
			required = append(required, inner["required"].([]string)...)
			continue
		}
		if name == "" {
			t.Fatalf("%v.%s has no name in JSON", typ, f.Name)
		}
		p := s.of(t, f.Type)
		optional := strings.Contains(options, "omitempty")
		if !optional {
			required = append(required, name)
			switch f.Type.Kind() {
			case reflect.Slice, reflect.Map:
				p["type"] = []string{fmt.Sprint(p["type"]), "null"}
			case reflect.Pointer:
				p = map[string]any{"anyOf": []any{p, map[string]any{"type": "null"}}}
			}
		}
		doc := s.doc(t, typ, f.Name)
		if f.Type == reflect.TypeFor[time.Duration]() {
			doc = strings.TrimSpace(doc + " (nanoseconds)")
		}
		if doc != "" {
			p["description"] = doc
		}
		properties[name] = p
	}
	out := map[string]any{"type": "object", "properties": properties, "required": required}
	if doc := s.doc(t, typ, ""); doc != "" {
		out["description"] = doc
	}
	return out
}

// doc returns the comment of a type, or of one of its fields.
func (s schemas) doc(t *testing.T, typ reflect.Type, field string) string {
	pkg := typ.PkgPath()
	if s.docs[pkg] == nil {
		s.docs[pkg] = comments(t, filepath.Join("../..", strings.TrimPrefix(pkg, "nuwa/")))
	}
	return s.docs[pkg][strings.TrimSuffix(typ.Name()+"."+field, ".")]
}

func comments(t *testing.T, dir string) map[string]string {
	out := map[string]string{}
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			g, ok := d.(*ast.GenDecl)
			if !ok || g.Tok != token.TYPE {
				continue
			}
			for _, x := range g.Specs {
				spec := x.(*ast.TypeSpec)
				out[spec.Name.Name] = words(g.Doc)
				st, ok := spec.Type.(*ast.StructType)
				if !ok {
					continue
				}
				for _, f := range st.Fields.List {
					for _, n := range f.Names {
						out[spec.Name.Name+"."+n.Name] = words(f.Doc) + words(f.Comment)
					}
				}
			}
		}
	}
	return out
}

func words(c *ast.CommentGroup) string { return strings.Join(strings.Fields(c.Text()), " ") }

// fits reports where a value has another type than the schema says, lacks a key
// or has one that is not there.
func fits(value any, schema, root map[string]any, where string) error {
	if either, ok := schema["anyOf"].([]any); ok {
		if schema = either[0].(map[string]any); value == nil {
			return nil
		}
	}
	if ref, ok := schema["$ref"].(string); ok {
		schema = root["$defs"].(map[string]any)[strings.TrimPrefix(ref, "#/$defs/")].(map[string]any)
	}
	var got string
	switch v := value.(type) {
	case nil:
		got = "null"
	case bool:
		got = "boolean"
	case string:
		got = "string"
	case float64:
		if got = "number"; v == float64(int64(v)) && schema["type"] == "integer" {
			got = "integer"
		}
	case []any:
		got = "array"
		for i, x := range v {
			if err := fits(x, schema["items"].(map[string]any), root, fmt.Sprintf("%s[%d]", where, i)); err != nil {
				return err
			}
		}
	case map[string]any:
		got = "object"
		if each, ok := schema["additionalProperties"].(map[string]any); ok { // a map
			for k, x := range v {
				if err := fits(x, each, root, where+"."+k); err != nil {
					return err
				}
			}
			break
		}
		properties := schema["properties"].(map[string]any)
		for k, x := range v {
			p, ok := properties[k].(map[string]any)
			if !ok {
				return fmt.Errorf("%s.%s is not in the schema", where, k)
			}
			if err := fits(x, p, root, where+"."+k); err != nil {
				return err
			}
		}
		for _, k := range schema["required"].([]any) {
			if _, ok := v[k.(string)]; !ok {
				return fmt.Errorf("%s lacks %s", where, k)
			}
		}
	}
	if want := fmt.Sprint(schema["type"]); want != got && want != fmt.Sprintf("[%s null]", got) && (got != "null" || !strings.Contains(want, " null]")) {
		return fmt.Errorf("%s is %s, want %s", where, got, want)
	}
	return nil
}
