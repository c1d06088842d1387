// Package cli is the gokernel command: it reads flags and the environment, puts
// the other packages together and says what happened. Nothing outside it reads
// the environment or writes to the terminal.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/gokernel/gokernel/sandbox/local"
	"github.com/gokernel/gokernel/session"
)

// Exit statuses, for scripts. Those of exec are in exec.go.
const (
	exitOK       = 0
	exitFailed   = 1 // it did not work
	exitUsage    = 2 // the command line makes no sense
	exitCell     = 3 // run: a cell failed
	exitTimeout  = 4 // run: a cell took too long
	exitNotFound = 5 // a session, kernel spec or file that does not exist
	exitSignal   = 130
)

// An exitError is an error with a status of its own.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

// usageError says that the command line makes no sense.
func usageError(format string, args ...any) error {
	return &exitError{exitUsage, fmt.Errorf(format, args...)}
}

// An app is one invocation.
type app struct {
	stdin    io.Reader
	stdout   io.Writer
	stderr   io.Writer
	logLevel string
	signals  chan os.Signal
}

// Main runs the command line and returns its exit status.
func Main(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	if len(args) > 0 && args[0] == agentCommand { // started often, and not by people
		return agentMain(args[1:])
	}
	a := &app{stdin: stdin, stdout: stdout, stderr: stderr, signals: make(chan os.Signal, 4)}
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	signal.Notify(a.signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(a.signals)

	root := a.root()
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(context.WithValue(ctx, cancelKey{}, cancel))
	if err == nil {
		return exitOK
	}
	code := exitStatus(err)
	if !errors.Is(err, errShown) {
		fmt.Fprintf(stderr, "gokernel: %v\n", err)
	}
	if code == exitUsage {
		fmt.Fprintf(stderr, "See '%s --help'.\n", cmd.CommandPath())
	}
	return code
}

// cancelKey is the key of the function that cancels the command's context.
type cancelKey struct{}

// errSignal is the cause of a context that a signal has ended.
var errSignal = errors.New("interrupted")

// endOnSignal ends the context of cmd at the first signal. A second one ends the
// process as usual.
func (a *app) endOnSignal(ctx context.Context) {
	cancel, _ := ctx.Value(cancelKey{}).(context.CancelCauseFunc)
	if cancel == nil {
		return
	}
	go func() { // ends with the process: Main returns right after its command
		select {
		case s := <-a.signals:
			signal.Stop(a.signals)
			cancel(fmt.Errorf("%w by %v", errSignal, s))
		case <-ctx.Done():
		}
	}()
}

func exitStatus(err error) int {
	var e *exitError
	switch {
	case errors.As(err, &e):
		return e.code
	case errors.Is(err, errSignal), errors.Is(err, context.Canceled):
		return exitSignal
	case errors.Is(err, session.ErrNotFound), errors.Is(err, session.ErrExpired), errors.Is(err, os.ErrNotExist):
		return exitNotFound
	case strings.HasPrefix(err.Error(), "unknown command"): // cobra has no type for it
		return exitUsage
	}
	return exitFailed
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "gokernel",
		Short: "A Jupyter kernel whose code runs in a persistent session",
		Long: `gokernel runs the cells of Jupyter notebooks in sessions that outlive their clients.

Start with 'gokernel install', then choose the kernel in JupyterLab, VS Code or any
other Jupyter client; or run a notebook from the shell with 'gokernel run'.`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Version:       versionString(),
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			// Cobra does so too, later and without a status of its own.
			if err := errors.Join(cmd.ValidateRequiredFlags(), cmd.ValidateFlagGroups()); err != nil {
				return &exitError{exitUsage, err}
			}
			return nil
		},
	}
	root.SetIn(a.stdin)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	root.SetVersionTemplate("{{.Version}}\n")
	root.PersistentFlags().StringVar(&a.logLevel, "log-level", "warn", "what to log on stderr: debug, info, warn or error")
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &exitError{exitUsage, err} })
	root.CompletionOptions.HiddenDefaultCmd = true
	root.AddCommand(
		a.kernelCommand(), a.installCommand(), a.uninstallCommand(), a.listCommand(),
		a.runCommand(), a.execCommand(), a.sessionsCommand(), a.doctorCommand(), a.versionCommand(),
	)
	root.InitDefaultHelpCmd()
	for _, cmd := range root.Commands() {
		if cmd.Name() == "help" {
			cmd.Args = knownTopic
		}
	}
	return root
}

// knownTopic checks that the arguments of help name a command.
func knownTopic(cmd *cobra.Command, topic []string) error {
	found, rest, err := cmd.Root().Find(topic)
	if err != nil || len(rest) > 0 || found == nil {
		return usageError("unknown help topic %q", strings.Join(topic, " "))
	}
	return nil
}

// args wraps a check of positional arguments so that it ends with exitUsage.
func args(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return &exitError{exitUsage, err}
		}
		return nil
	}
}

// logger returns the logger that --log-level asks for.
func (a *app) logger() (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(a.logLevel)); err != nil {
		return nil, usageError("--log-level %q: use debug, info, warn or error", a.logLevel)
	}
	return slog.New(slog.NewTextHandler(a.stderr, &slog.HandlerOptions{Level: level})), nil
}

// manager opens the sessions of this user.
func (a *app) manager(log *slog.Logger) (*session.Manager, error) {
	dir, err := session.StateDir()
	if err != nil {
		return nil, err
	}
	return session.NewManager(session.Options{StateDir: dir, Driver: local.New(dir, &local.Options{Logger: log}), Logger: log})
}
