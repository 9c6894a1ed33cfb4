// Command nuwa derives class-specific Vision Transformers from ONNX models.
//
// Results go to standard output, as text or, with --json, as JSON; progress
// and logs go to standard error. The exit code tells the kind of an error:
// see the README.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/viper"

	"nuwa"
	"nuwa/internal/fault"
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// run executes one command line and returns the exit code.
func run(args []string, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	a := &app{out: stdout, err: stderr, config: viper.New()}
	root := a.root()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	if ctx.Err() != nil {
		err = &fault.Error{Kind: fault.Interrupted, Got: "interrupted; nothing was written"}
	}
	if a.config.GetBool("json") {
		a.printJSON(map[string]any{"error": err.Error(), "kind": fault.KindOf(err).String()})
	} else {
		fmt.Fprintln(stderr, "nuwa:", err)
	}
	return fault.ExitCode(err)
}

// app is what all commands share.
type app struct {
	out, err io.Writer
	config   *viper.Viper
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:           "nuwa",
		Short:         "Derive smaller, faster Vision Transformers that serve the classes you need",
		SilenceUsage:  true,
		SilenceErrors: true,
		Version:       nuwa.Version,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			return a.load(cmd)
		},
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error {
		return &fault.Error{Kind: fault.Usage, Err: err, Remedy: "see nuwa help"}
	})
	f := root.PersistentFlags()
	f.Bool("json", false, "print results as JSON")
	f.BoolP("quiet", "q", false, "no progress and no log")
	f.BoolP("verbose", "v", false, "log what is being done")
	f.String("config", "", "file of flag values (YAML, TOML or JSON)")
	f.String("onnxruntime", "", "ONNX Runtime's shared library")
	f.Int("threads", 0, "threads for ONNX Runtime; 0 means all cores")
	f.StringSlice("provider", nil, "execution providers, best first")
	root.AddCommand(a.doctor(), a.inspect(), a.derive(), a.eval(), a.compare(), a.bench(), a.export(), a.demo())
	return root
}

// load gives every flag that was not set the value of NUWA_FLAG in the
// environment or of the config file.
func (a *app) load(cmd *cobra.Command) error {
	v := a.config
	v.SetEnvPrefix("NUWA")
	v.SetEnvKeyReplacer(envNames)
	v.AutomaticEnv()
	if err := v.BindPFlags(cmd.Flags()); err != nil {
		return err
	}
	if file := v.GetString("config"); file != "" {
		v.SetConfigFile(file)
		if err := v.ReadInConfig(); err != nil {
			return &fault.Error{Kind: fault.Usage, File: file, Err: err, Remedy: "see nuwa help for the names of flags"}
		}
		for _, key := range v.AllKeys() {
			if cmd.Flags().Lookup(key) == nil {
				return &fault.Error{Kind: fault.Usage, File: file, Got: fmt.Sprintf("the key %q", key), Want: "the name of a flag of " + cmd.Name()}
			}
		}
	}
	return nil
}

// args reports a wrong number of arguments as a fault.
func args(n, most int, what string) cobra.PositionalArgs {
	return func(_ *cobra.Command, got []string) error {
		if len(got) < n || len(got) > most {
			return &fault.Error{Kind: fault.Usage, Got: fmt.Sprintf("%d arguments", len(got)), Want: what}
		}
		return nil
	}
}

func (a *app) logger() *slog.Logger {
	level := slog.LevelWarn
	switch {
	case a.config.GetBool("quiet"):
		level = slog.LevelError
	case a.config.GetBool("verbose"):
		level = slog.LevelDebug
	}
	return slog.New(slog.NewTextHandler(a.err, &slog.HandlerOptions{Level: level}))
}

func (a *app) runtime() nuwa.Runtime {
	v := a.config
	return nuwa.Runtime{Library: v.GetString("onnxruntime"), Threads: v.GetInt("threads"), Providers: v.GetStringSlice("provider")}
}

// print shows a result: as JSON when asked, else with text.
func (a *app) print(result any, text func(io.Writer) error) error {
	if a.config.GetBool("json") {
		return a.printJSON(result)
	}
	return text(a.out)
}

func (a *app) printJSON(result any) error {
	enc := json.NewEncoder(a.out)
	enc.SetIndent("", "  ")
	return enc.Encode(result)
}
