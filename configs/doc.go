// Package configs reads what a batch shall make: one schema, in YAML, TOML or
// JSON, with overrides from the environment and from flags.
//
//	c, err := configs.Load("batch.yaml", map[string]any{"output.dir": "elsewhere"})
//	for _, task := range c.Tasks { ... }
//
// A key that the schema does not have is an error that names the line and the
// nearest key that it has. Names of classes, files and layers are values of
// lists and never keys, because keys do not tell capitals apart. Paths in a
// file are taken from the folder that nuwa runs in, as on the command line.
//
// The package may import exporter/target and internal/fault.
package configs
