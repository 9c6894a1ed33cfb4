package configs

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"github.com/go-viper/mapstructure/v2"
	"github.com/spf13/viper"

	"nuwa/internal/fault"
)

// field is a field of a table.
type field struct {
	reflect.StructField
	name string // in files
	doc  string
	enum []string
}

// eachField yields the fields of a table.
func eachField(typ reflect.Type) iter.Seq[field] {
	return func(yield func(field) bool) {
		for i := range typ.NumField() {
			f := typ.Field(i)
			if !yield(field{f, f.Tag.Get("mapstructure"), f.Tag.Get("doc"), strings.Fields(f.Tag.Get("enum"))}) {
				return
			}
		}
	}
}

// Keys returns the keys of the single values that are not in a list, in the
// order of the schema: those that the environment and flags can override.
func Keys() []string {
	var keys []string
	var add func(typ reflect.Type, prefix string)
	add = func(typ reflect.Type, prefix string) {
		for f := range eachField(typ) {
			switch {
			case isTable(f.Type):
				add(f.Type, prefix+f.name+".")
			case f.Type.Kind() != reflect.Slice:
				keys = append(keys, prefix+f.name)
			}
		}
	}
	add(reflect.TypeFor[Config](), "")
	return keys
}

// Env is the name of the variable that overrides a key.
func Env(key string) string {
	return "NUWA_" + strings.ToUpper(strings.NewReplacer(".", "_", "-", "_").Replace(key))
}

// Load reads a file, lays over it the environment and then overrides, whose
// keys are those of Keys, and checks the whole.
func Load(file string, overrides map[string]any) (*Config, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, &fault.Error{Kind: fault.IO, File: file, Err: plain(err), Remedy: "`nuwa config init` writes one to start from"}
	}
	return Parse(file, text, overrides)
}

// Parse is Load for the text of a file, whose name tells its format.
func Parse(file string, text []byte, overrides map[string]any) (*Config, error) {
	bad := func(err error) error {
		return &fault.Error{Kind: fault.Usage, File: file, Err: err, Remedy: "see `nuwa help configuration`, and `nuwa config schema`"}
	}
	format := strings.TrimPrefix(strings.ToLower(filepath.Ext(file)), ".")
	if !slices.Contains([]string{"yaml", "yml", "toml", "json"}, format) {
		return nil, bad(fmt.Errorf("got a file that ends in %q, want .yaml, .toml or .json", filepath.Ext(file)))
	}
	where, err := locate(file, text)
	if err != nil {
		return nil, bad(err)
	}
	if err := where.known(file, reflect.TypeFor[Config](), ""); err != nil {
		return nil, err
	}
	v := viper.New()
	v.SetConfigType(format)
	if err := v.ReadConfig(bytes.NewReader(text)); err != nil {
		return nil, bad(err)
	}
	if data := v.GetStringMap("data"); data["preprocess"] == "auto" { // a word where there may be a table would hide what overrides a part of it
		delete(data, "preprocess")
		v.Set("data", data)
	}
	for _, key := range Keys() {
		if value, ok := os.LookupEnv(Env(key)); ok && value != "" {
			v.Set(key, value)
		}
	}
	for key, value := range overrides {
		v.Set(key, value)
	}
	c := &Config{Output: Output{Dir: "out", Name: "{task}-{size}-{target}.onnx"}}
	hooks := mapstructure.ComposeDecodeHookFunc(fromWord, whole, mapstructure.TextUnmarshallerHookFunc(), mapstructure.StringToTimeDurationHookFunc())
	if err := v.UnmarshalExact(c, viper.DecodeHook(hooks)); err != nil {
		return nil, where.misread(file, err)
	}
	if err := c.complete(); err != nil {
		return nil, where.name(file, err)
	}
	return c, nil
}

// fromWord reads a single word that stands for a table: the preset of a target,
// and auto for preprocessing.
func fromWord(from, to reflect.Type, value any) (any, error) {
	word, ok := value.(string)
	switch {
	case !ok:
		return value, nil
	case to == reflect.TypeFor[Target]():
		return map[string]any{"name": word}, nil
	case to == reflect.TypeFor[Preprocess]() && word == "auto":
		return map[string]any{}, nil
	case isTable(to):
		return nil, fmt.Errorf("got %q, want a table", word)
	}
	return value, nil
}

// whole refuses what mapstructure would cut off or take for a number.
func whole(from, to reflect.Type, value any) (any, error) {
	x, isFloat := value.(float64)
	switch isInt := to.Kind() >= reflect.Int && to.Kind() <= reflect.Uint64; {
	case isInt && isFloat && x != float64(int64(x)):
		return nil, fmt.Errorf("got %v, want a whole number", x)
	case to.Kind() == reflect.Uint64 && strings.HasPrefix(fmt.Sprint(value), "-"):
		return nil, fmt.Errorf("got %v, want 0 or more", value)
	case from.Kind() == reflect.Bool && to.Kind() != reflect.Bool:
		return nil, fmt.Errorf("got %v, want no truth value; names such as true are put in quotes", value)
	case to.String() == "time.Duration" && from.Kind() != reflect.String && from != to:
		return nil, fmt.Errorf("got %v, want a time with its unit, such as 20ms", value)
	}
	return value, nil
}

// misread words what mapstructure complains about.
func (p *place) misread(file string, err error) error {
	e := &fault.Error{Kind: fault.Usage, File: file, Err: err}
	var at *mapstructure.DecodeError
	if !errors.As(err, &at) {
		return e
	}
	path := strings.ToLower(at.Name())
	e.Where, e.Err = path, at.Unwrap()
	if line := p.find(path); line > 0 {
		e.Where = fmt.Sprintf("line %d: %s", line, path)
	}
	if name := strings.ToUpper(Env(path)); os.Getenv(name) != "" {
		e.File, e.Where = "", name
	}
	return e
}

// name adds file and line to an error that names a key.
func (p *place) name(file string, err error) error {
	var e *fault.Error
	if !errors.As(err, &e) || e.File != "" {
		return err
	}
	e.File = file
	if line := p.find(e.Where); line > 0 {
		e.Where = fmt.Sprintf("line %d: %s", line, e.Where)
	}
	return err
}

// plain drops the operation and the path that the error above it names.
func plain(err error) error {
	var at *os.PathError
	if errors.As(err, &at) {
		return at.Err
	}
	return err
}
