package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/gokernel/gokernel/session"
)

// Exit statuses of exec, beside exitOK, exitUsage and exitSignal.
const (
	execRaised  = 1   // the code raised
	execNotRun  = 3   // it could not be run, or not to its end
	execTimeout = 124 // the time limit ended it
)

// A performer performs runs. It is a session.Manager.
type performer interface {
	Run(ctx context.Context, r session.Request) (*session.Response, error)
}

func (a *app) execCommand() *cobra.Command {
	var f execFlags
	cmd := &cobra.Command{
		Use:   "exec [CODE | -f FILE | -]",
		Short: "Run code in a session, with files and packages, and bring results back",
		Long: `Run code: in a session of its own, which is closed when the code is done, or in one
that stays (--session, --keep). Files are sent and packages installed before, files are
brought back after.

The code is the argument CODE, the content of the file that -f names, or standard input
for "-" or when neither is given. What it prints goes to stdout and stderr as it comes,
displays and the last value follow as text. On a terminal, input() asks; elsewhere, and
when standard input is the code, it is refused.

Files. --file PATH=SOURCE sends the file SOURCE to PATH below the working directory of
the code, a directory with all files in it. PATH/=SOURCE keeps SOURCE's name. --file PATH
sends PATH to the same place; one that is absolute or goes up (..) arrives under its
base name. What the session has with the same content is not sent again.
--download PATH=TARGET brings PATH, below the working directory of the code, back as
TARGET, or into it when that is a directory. --download PATH writes it to the same place
below the directory that gokernel runs in, which it makes if need be. Files come back also
when the code has raised. An = in PATH cannot be written.

Sessions. --session takes the id or the name of a session that exists; with --keep too, a
name that is free makes one. 'gokernel sessions' lists and closes them. Without --cwd a new
session works in a fresh directory of its own, which ends with it.

Ctrl-C interrupts the code; what there is until then is still printed. A second one ends
gokernel at once.

Exit status: 0 done, 1 the code raised, 2 bad use, 3 it could not be run (or a file could
not be brought back), 124 the time limit ended it, 130 interrupted.`,
		Example: `  gokernel exec 'print(6 * 7)'
  gokernel exec -f plot.py --file data.csv --package matplotlib --download plot.png
  id=$(gokernel exec --keep --json 'x = 41' | jq -r .session_id)
  gokernel exec --session $id 'x + 1'
  generate | gokernel exec --session demo --keep --progress json -`,
		Args: args(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.check(cmd.Flags()); err != nil {
				return err
			}
			return a.exec(cmd.Context(), &f, args)
		},
	}
	f.add(cmd.Flags())
	return cmd
}

// exec reads what the flags ask for and runs it.
func (a *app) exec(ctx context.Context, f *execFlags, args []string) error {
	log, err := a.logger()
	if err != nil {
		return err
	}
	screen := newScreen(a.stdout, a.stderr)
	ctx, again, stop := a.interrupts(ctx, screen)
	defer stop()
	request, usesStdin, err := a.execRequest(ctx, f, args)
	if err != nil {
		return err
	}
	m, err := a.manager(log)
	if err != nil {
		return &exitError{execNotRun, err}
	}
	defer m.Release()
	e := &execution{app: a, flags: f, screen: screen, request: request, again: again}
	if terminal := terminalOf(a.stdin); terminal != nil && !usesStdin {
		asker := newAsker(terminal, screen)
		request.Input = func(prompt string, password bool) (string, error) { return asker.ask(ctx, prompt, password) }
	}
	return e.perform(ctx, m)
}

// interrupts returns a context that the first signal ends, and a channel that
// the second one closes, after which signals do what they usually do. stop ends
// the watching.
func (a *app) interrupts(parent context.Context, screen *screen) (ctx context.Context, again <-chan struct{}, stop func()) {
	ctx, cancel := context.WithCancelCause(parent)
	second, end, ended := make(chan struct{}), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		select {
		case s := <-a.signals:
			cancel(fmt.Errorf("%w by %v", errSignal, s))
		case <-end:
			return
		}
		screen.notice("interrupting; once more ends at once")
		select {
		case <-a.signals:
			signal.Stop(a.signals)
			close(second)
		case <-end:
		}
	}()
	return ctx, second, func() {
		close(end)
		<-ended
		cancel(nil)
	}
}

// An execution is one run of exec.
type execution struct {
	app     *app
	flags   *execFlags
	screen  *screen
	request *session.Request
	again   <-chan struct{}
}

// perform runs the request with p and shows what comes of it.
func (e *execution) perform(ctx context.Context, p performer) error {
	if err := e.makeTargets(); err != nil {
		return err
	}
	e.request.OnProgress = e.app.showProgress(e.flags.progress, e.screen)
	defer func() { e.screen.stop() }()
	if !e.flags.json {
		e.request.Stdout, e.request.Stderr = e.screen.stdout(), e.screen.stderr()
		e.request.OnDisplay = func(r session.Result) {
			if text, ok := r.Data["text/plain"].(string); ok {
				e.screen.result(text)
			}
		}
	}
	type outcome struct {
		response *session.Response
		err      error
	}
	done := make(chan outcome, 1)
	go func() { // left behind when a second signal ends this process
		response, err := p.Run(ctx, *e.request)
		done <- outcome{response, err}
	}()
	select {
	case o := <-done:
		e.screen.stop()
		return e.report(ctx, o.response, o.err)
	case <-e.again:
		return &exitError{exitSignal, fmt.Errorf("%w twice", errSignal)}
	}
}

// makeTargets makes the directories that downloads go to and that may be made.
func (e *execution) makeTargets() error {
	for _, d := range e.request.Downloads {
		if err := os.MkdirAll(filepath.Dir(d.Target), 0o777); err != nil {
			return usageError("--download %q: %w", d.Path, err)
		}
	}
	return nil
}

// report shows how the run ended and returns it as an error with its exit status.
func (e *execution) report(ctx context.Context, r *session.Response, err error) error {
	var invalid *session.InvalidError
	if errors.As(err, &invalid) {
		return usageError("%s: %s", flagOf(invalid.Field, e.request), invalid.Reason)
	}
	result := e.result(ctx, r, err)
	if e.flags.json {
		if err := writeDocument(e.app.stdout, r, result); err != nil {
			return &exitError{execNotRun, fmt.Errorf("writing to stdout: %w", err)}
		}
	}
	if r == nil || e.flags.json {
		return result
	}
	if own := err == nil || exitStatus(result) != execNotRun; own && r.Error != nil {
		e.screen.say(traceback(r.Error, wantsColour(e.app.stderr)))
	}
	if err == nil && r.Error != nil {
		for _, line := range missing(r) {
			e.screen.say("gokernel: " + line)
		}
	}
	if r.SessionID != "" && e.flags.keep && e.flags.session == "" {
		e.screen.say("session " + r.SessionID)
	}
	return result
}

// result returns what the exit status and the message of a run are, nil when all
// is well.
func (e *execution) result(ctx context.Context, r *session.Response, err error) error {
	switch {
	case errors.Is(context.Cause(ctx), errSignal):
		return &exitError{exitSignal, context.Cause(ctx)}
	case errors.Is(err, session.ErrTimeLimit):
		return &exitError{execTimeout, fmt.Errorf("--timeout: %w", err)}
	case err != nil:
		return &exitError{execNotRun, err}
	case r.Error != nil:
		return &exitError{execRaised, errShown}
	}
	if err := e.screen.failure(); err != nil {
		return &exitError{execNotRun, err}
	}
	if lines := missing(r); lines != nil {
		return &exitError{execNotRun, errors.New(strings.Join(lines, "\n"))}
	}
	return nil
}

// missing returns a line for each file that did not come back.
func missing(r *session.Response) []string {
	var lines []string
	for _, path := range slices.Sorted(maps.Keys(r.Files)) {
		if err := r.Files[path].Err; err != nil {
			lines = append(lines, fmt.Sprintf("--download %s: %v", path, err))
		}
	}
	return lines
}

// flagOf returns the flag that sets a field of a request, with its value where
// the field says which it is.
func flagOf(field string, r *session.Request) string {
	name, rest, _ := strings.Cut(field, "[")
	key, _, _ := strings.Cut(rest, "]")
	flags := map[string]string{
		"code": "CODE", "language": "--language", "session": "--session", "files": "--file", "packages": "--package", "env": "--env",
		"cwd": "--cwd", "lease": "--lease", "time limit": "--timeout", "downloads": "--download",
	}
	flag, ok := flags[name]
	switch {
	case !ok:
		return field
	case key == "":
		return flag
	case name == "packages":
		if i, err := strconv.Atoi(key); err == nil && i < len(r.Packages) {
			key = strconv.Quote(r.Packages[i])
		}
	}
	return flag + " " + key
}
