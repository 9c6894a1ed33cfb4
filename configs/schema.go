package configs

import (
	"encoding/json"
	"reflect"
	"time"
)

// Schema returns the JSON Schema of a Config, which editors complete and check
// by.
func Schema() []byte {
	s := schemaOf(reflect.TypeFor[Config]())
	s["$schema"], s["title"] = "https://json-schema.org/draft/2020-12/schema", "What nuwa batch makes"
	s["required"] = []string{"base", "tasks", "sizes"}
	text, err := json.MarshalIndent(s, "", "  ")
	if err != nil { // of maps, strings and numbers only
		panic(err)
	}
	return append(text, '\n')
}

func schemaOf(typ reflect.Type) map[string]any {
	text := func(pattern string) map[string]any { return map[string]any{"type": "string", "pattern": pattern} }
	any2 := func(a, b map[string]any) map[string]any { return map[string]any{"anyOf": []any{a, b}} }
	whole := map[string]any{"type": "integer", "minimum": 0}
	switch typ {
	case reflect.TypeFor[Count]():
		return any2(whole, text(`^[0-9.]+ *[kKmMgGtT]?$`))
	case reflect.TypeFor[Bytes]():
		return any2(whole, text(`^[0-9.]+ *([kKmMgGtT]i?)?B?$`))
	case reflect.TypeFor[time.Duration]():
		return text(`^([0-9.]+(ns|us|µs|ms|s|m|h))+$`)
	case reflect.TypeFor[Target]():
		return any2(map[string]any{"type": "string"}, table(typ))
	case reflect.TypeFor[Preprocess]():
		return any2(map[string]any{"const": "auto"}, table(typ))
	}
	switch typ.Kind() {
	case reflect.Struct:
		return table(typ)
	case reflect.Slice:
		item := schemaOf(typ.Elem())
		if typ.Elem().Kind() == reflect.String { // classes may be numbers
			item = map[string]any{"type": []string{"string", "integer"}}
		}
		return map[string]any{"type": "array", "items": item}
	case reflect.String:
		return map[string]any{"type": "string"}
	case reflect.Bool:
		return map[string]any{"type": "boolean"}
	case reflect.Float32, reflect.Float64:
		return map[string]any{"type": "number"}
	default:
		return whole
	}
}

func table(typ reflect.Type) map[string]any {
	fields := map[string]any{}
	for f := range eachField(typ) {
		s := schemaOf(f.Type)
		s["description"] = f.doc
		if len(f.enum) > 0 {
			s["enum"] = f.enum
		}
		fields[f.name] = s
	}
	return map[string]any{"type": "object", "additionalProperties": false, "properties": fields}
}
