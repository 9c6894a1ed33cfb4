package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"github.com/spf13/viper"

	"nuwa/internal/fault"
)

const envPrefix = "NUWA"

var envNames = strings.NewReplacer("-", "_")

func envName(flag string) string { return envPrefix + "_" + strings.ToUpper(envNames.Replace(flag)) }

// newConfig reads the environment only, until flags are bound.
func newConfig() *viper.Viper {
	v := viper.New()
	v.SetEnvPrefix(envPrefix)
	v.SetEnvKeyReplacer(envNames)
	v.AutomaticEnv()
	return v
}

// load gives every flag that is not on the command line the value of NUWA_FLAG
// in the environment, or else of the config file. One file may serve all
// commands: a key is known when some command has a flag of that name.
func (a *app) load(cmd *cobra.Command) error {
	v := a.config
	if err := v.BindPFlags(cmd.Flags()); err != nil {
		return err
	}
	file := v.GetString("config")
	if file != "" {
		v.SetConfigFile(file)
		if err := v.ReadInConfig(); err != nil {
			return &fault.Error{Kind: fault.Usage, File: file, Where: "config", Err: err,
				Remedy: "write flags and their values as YAML, TOML or JSON, in a file that is named accordingly"}
		}
		if err := knownKeys(cmd.Root(), file, v.AllKeys(), v.InConfig); err != nil {
			return err
		}
	}
	var err error
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if err != nil || f.Changed || !v.IsSet(f.Name) {
			return
		}
		value := v.Get(f.Name)
		if assign(f, value) != nil {
			b := badValue(f, text(value))
			if b.Where = envName(f.Name); os.Getenv(b.Where) == "" {
				b.File, b.Where = file, f.Name
			}
			err = b
		}
	})
	return err
}

// assign sets a flag to a value of the environment, a string, or of a config
// file, which may be a list.
func assign(f *pflag.Flag, value any) error {
	f.Changed = true
	list, ok := value.([]any)
	slice, takesList := f.Value.(pflag.SliceValue)
	if !ok || !takesList {
		return f.Value.Set(text(value))
	}
	items := make([]string, len(list))
	for i, x := range list {
		items[i] = text(x)
	}
	return slice.Replace(items)
}

// text writes a value of a config file as one would on the command line.
func text(value any) string {
	list, ok := value.([]any)
	if !ok {
		return fmt.Sprint(value)
	}
	items := make([]string, len(list))
	for i, x := range list {
		items[i] = text(x)
	}
	return strings.Join(items, ",")
}

// knownKeys refuses a key of the config file that no command has as a flag.
func knownKeys(root *cobra.Command, file string, keys []string, inFile func(string) bool) error {
	flags := map[string]bool{}
	root.PersistentFlags().VisitAll(func(f *pflag.Flag) { flags[f.Name] = true })
	for _, c := range root.Commands() {
		c.Flags().VisitAll(func(f *pflag.Flag) { flags[f.Name] = true })
	}
	var names []string
	for name := range flags {
		names = append(names, name)
	}
	for _, key := range keys {
		if !flags[key] && inFile(key) {
			return &fault.Error{Kind: fault.Usage, File: file, Where: "config", Got: fmt.Sprintf("the key %q", key), Want: "the name of a flag",
				Remedy: nearest(key, names)}
		}
	}
	return nil
}

// nearest offers the names that name may have been meant to be.
func nearest(name string, names []string) string {
	return "the nearest are " + strings.Join(fault.Nearest(name, sorted(names), 3), ", ")
}

// flagError words what pflag complains about.
func flagError(cmd *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	var invalid *pflag.InvalidValueError
	switch {
	case errors.As(err, &invalid):
		e := badValue(invalid.GetFlag(), invalid.GetValue())
		e.Where = "--" + invalid.GetFlag().Name
		return e
	case errors.As(err, &unknown) && unknown.GetSpecifiedShortnames() == "":
		var names []string
		cmd.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, "--"+f.Name) })
		name := "--" + unknown.GetSpecifiedName()
		return &fault.Error{Kind: fault.Usage, Got: "the flag " + name, Want: "a flag of " + cmd.CommandPath(), Remedy: nearest(name, names)}
	}
	return &fault.Error{Kind: fault.Usage, Err: err, Remedy: "see " + cmd.CommandPath() + " --help"}
}

// badValue is the error for a value that a flag cannot hold.
func badValue(f *pflag.Flag, value string) *fault.Error {
	want, ok := map[string]string{
		"bool": "true or false", "int": "a whole number", "uint64": "a whole number that is not negative",
		"float64": "a number", "duration": "a duration, such as 2s or 500ms",
	}[f.Value.Type()]
	if !ok {
		want = "a value of type " + f.Value.Type()
	}
	return &fault.Error{Kind: fault.Usage, Got: fmt.Sprintf("%q", value), Want: want}
}
