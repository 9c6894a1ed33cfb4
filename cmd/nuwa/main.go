// Command nuwa derives class-specific Vision Transformers from ONNX models.
//
// Results go to standard output, as text or, with --json, as JSON; progress
// and logs go to standard error. The exit code tells the kind of an error:
// see `nuwa help exit-codes`.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/viper"

	"nuwa"
	"nuwa/internal/fault"
	"nuwa/internal/files"
)

func main() {
	if os.Getenv("GOGC") == "" {
		collectSeldom()
	}
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

// run executes one command line and returns the exit code.
func run(args []string, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)   // a second Ctrl-C ends the process at once; one that comes after the work is done, nothing
	signal.Ignore(syscall.SIGXFSZ) // writing past a limit on file sizes is an error like others
	a := &app{out: stdout, err: stderr, config: newConfig()}
	root := a.root()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := execute(ctx, root)
	if err == nil {
		return 0
	}
	var known *fault.Error
	switch {
	case ctx.Err() != nil:
		stopped := &fault.Error{Kind: fault.Interrupted, Got: "interrupted; no output was written"}
		if errors.As(err, &known) && known.Kind == fault.Interrupted {
			stopped.Remedy = known.Remedy
			if strings.HasPrefix(known.Got, "interrupted;") { // and what was written
				stopped.Got = known.Got
			}
		}
		err = stopped
	case !a.started && !errors.As(err, &known):
		err = &fault.Error{Kind: fault.Usage, Err: err, Remedy: "see nuwa help"}
	}
	if a.told {
		return fault.ExitCode(err)
	}
	if a.config.GetBool("json") || slices.Contains(args, "--json") { // flags that do not parse are not in the configuration
		_ = writeJSON(stdout, map[string]any{"error": err.Error(), "kind": fault.KindOf(err).String()}) // what is lost is in the exit code
	} else {
		fmt.Fprintln(stderr, "nuwa:", err)
	}
	return fault.ExitCode(err)
}

// execute runs a command. A panic is a defect of nuwa, and must not look like
// an error of another kind.
func execute(ctx context.Context, root *cobra.Command) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &fault.Error{Kind: fault.Internal, Got: fmt.Sprintf("a panic: %v", p), Remedy: "please report this:\n" + string(debug.Stack())}
		}
	}()
	return root.ExecuteContext(ctx)
}

// app is what all commands share.
type app struct {
	out, err io.Writer
	config   *viper.Viper
	started  bool // the command line is sound and its command runs
	told     bool // the JSON on standard output tells of the error already
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "nuwa",
		Short: "Derive smaller, faster Vision Transformers that serve the classes you need",
		Example: `  nuwa inspect vit.onnx
  nuwa derive vit.onnx -o slim.onnx --data photos/train --classes cat,dog,ship --rate 0.4
  nuwa compare vit.onnx slim.onnx --data photos/test`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Version:       nuwa.Version,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			if err := a.load(cmd); err != nil {
				return err
			}
			a.started = true
			return nil
		},
		Args: func(cmd *cobra.Command, got []string) error {
			if len(got) > 0 {
				return unknownCommand(cmd, got[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(flagError)
	root.SetHelpCommand(&cobra.Command{
		Use:   "help [command or topic]",
		Short: "Explain a command or a topic",
		RunE: func(_ *cobra.Command, args []string) error {
			c, rest, err := root.Find(args)
			if err == nil && len(rest) > 0 {
				err = unknownCommand(root, rest[0])
			}
			if err != nil {
				return err
			}
			c.InitDefaultHelpFlag()
			return c.Help()
		},
	})
	f := root.PersistentFlags()
	f.Bool("json", false, "print results as JSON, errors too")
	f.BoolP("quiet", "q", false, "no progress and no log")
	f.BoolP("verbose", "v", false, "log what is being done")
	f.String("config", "", "file of flag values (YAML, TOML or JSON)")
	f.String("onnxruntime", "", "ONNX Runtime's shared library, or its folder")
	f.Int("threads", 0, "threads for ONNX Runtime; 0 means all cores")
	f.StringSlice("provider", nil, "execution providers, best first")
	root.AddCommand(a.doctor(), a.inspect(), a.derive(), a.purify(), a.eval(), a.compare(), a.bench(), a.export(), a.report(), a.batch(), a.demo(), a.configCommand(), a.cache())
	root.AddCommand(topics()...)
	return root
}

func unknownCommand(root *cobra.Command, name string) error {
	var names []string
	for _, c := range root.Commands() {
		names = append(names, c.Name())
	}
	return &fault.Error{Kind: fault.Usage, Got: fmt.Sprintf("the command %q", name), Want: "a command of nuwa", Remedy: nearest(name, names)}
}

// args reports a wrong number of arguments as a fault.
func args(n, most int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, got []string) error {
		if len(got) < n || len(got) > most {
			return &fault.Error{Kind: fault.Usage, Got: fmt.Sprintf("the arguments %q", got), Want: what, Remedy: "see " + cmd.CommandPath() + " --help"}
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
		text = func(w io.Writer) error { return writeJSON(w, result) }
	}
	if err := text(a.out); err != nil {
		return files.Failed("standard output", err)
	}
	return nil
}

func writeJSON(w io.Writer, result any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(result)
}
