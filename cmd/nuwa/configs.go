package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"nuwa/configs"
	"nuwa/internal/fault"
	"nuwa/internal/files"
)

// configCommand is `nuwa config`, about the files that nuwa batch reads.
func (a *app) configCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "config",
		Short: "Write and check the files that nuwa batch reads",
		Args: func(cmd *cobra.Command, got []string) error {
			if len(got) > 0 {
				return unknownCommand(cmd, got[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	start := &cobra.Command{
		Use:     "init [FILE]",
		Short:   "Write a file to start from",
		Example: "  nuwa config init batch.yaml --preset budgets",
		Args:    args(0, 1, "at most one file"),
		RunE: func(_ *cobra.Command, args []string) error {
			text, err := configs.Preset(a.config.GetString("preset"))
			if err != nil {
				return err
			}
			if len(args) == 0 {
				_, err := a.out.Write(text)
				return err
			}
			return a.writeNew(args[0], text)
		},
	}
	start.Flags().String("preset", "rates", strings.Join(configs.Presets(), ", "))
	start.Flags().Bool("force", false, "replace an existing file")
	check := &cobra.Command{
		Use:   "check FILE",
		Short: "Check a file and tell what it makes",
		Args:  args(1, 1, "a file that nuwa batch reads"),
		RunE: func(_ *cobra.Command, args []string) error {
			c, err := configs.Load(args[0], nil)
			if err != nil {
				return err
			}
			return a.print(c, func(w io.Writer) error {
				_, err := fmt.Fprintf(w, "%s is sound: %d tasks × %d sizes × %d targets = %d models of %s\n", args[0],
					len(c.Tasks), len(c.Sizes), len(c.Targets), len(c.Tasks)*len(c.Sizes)*len(c.Targets), c.Base)
				return err
			})
		},
	}
	schema := &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON Schema, for editors",
		Long: `Schema prints the JSON Schema of the files that nuwa batch reads. Editors with
a YAML language server take it from a comment on the first line:

  # yaml-language-server: $schema=schema.json`,
		Args: args(0, 0, "none"),
		RunE: func(*cobra.Command, []string) error {
			_, err := a.out.Write(configs.Schema())
			return err
		},
	}
	c.AddCommand(start, check, schema)
	return c
}

// writeNew writes a small file that is not there yet, or any with --force.
func (a *app) writeNew(path string, text []byte) error {
	flags := os.O_WRONLY | os.O_CREATE | os.O_EXCL
	if a.config.GetBool("force") {
		flags = os.O_WRONLY | os.O_CREATE | os.O_TRUNC
	}
	f, err := os.OpenFile(path, flags, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return &fault.Error{Kind: fault.Exists, File: path, Got: "a file that is there already", Remedy: "give --force to replace it"}
	}
	if err != nil {
		return files.Failed(path, err)
	}
	_, err = f.Write(text)
	if e := f.Close(); err == nil {
		err = e
	}
	if err != nil {
		return files.Failed(path, err)
	}
	return nil
}
