package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/gokernel/gokernel/kernel/provision"
	"github.com/gokernel/gokernel/notebook"
	"github.com/gokernel/gokernel/session"
)

// runFlags are the flags of gokernel run.
type runFlags struct {
	sessionFlags
	output      string
	timeout     string
	allowErrors bool
	parameters  []string
	quiet       bool
}

func (a *app) runCommand() *cobra.Command {
	var f runFlags
	cmd := &cobra.Command{
		Use:   "run NOTEBOOK",
		Short: "Execute a notebook and write its outputs",
		Long: `Execute the code cells of a notebook in order, in its own directory, and write the
notebook with its outputs: over itself, or to the file that -o names (- is stdout).
What was done is written also when a cell fails.

Exit status: 0 all cells ran, 3 a cell failed, 4 a cell took longer than --timeout.`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, names []string) error {
			a.endOnSignal(cmd.Context())
			return a.run(cmd.Context(), names[0], &f)
		},
	}
	flags := cmd.Flags()
	flags.StringVarP(&f.output, "output", "o", "", "file to write; - is stdout (default: the notebook itself)")
	flags.StringVar(&f.timeout, "timeout", "", "longest time for a cell: seconds, or a duration such as 10m; -1 is no limit (the default)")
	flags.BoolVar(&f.allowErrors, "allow-errors", false, "go on after a cell that fails")
	flags.StringArrayVarP(&f.parameters, "parameter", "p", nil, "name=value for the cell tagged parameters; may be repeated")
	flags.BoolVarP(&f.quiet, "quiet", "q", false, "no progress")
	f.add(cmd)
	return cmd
}

// parseTimeout reads seconds, as nbconvert does, or a duration; 0 is no limit.
func parseTimeout(s string) (time.Duration, error) {
	if s == "" || s == "-1" {
		return 0, nil
	}
	if n, err := strconv.ParseFloat(s, 64); err == nil && n > 0 {
		return time.Duration(n * float64(time.Second)), nil
	}
	if d, err := time.ParseDuration(s); err == nil && d > 0 {
		return d, nil
	}
	return 0, usageError("--timeout %q: give seconds, a duration such as 90s or 10m, or -1 for no limit", s)
}

func (a *app) run(ctx context.Context, file string, f *runFlags) error {
	log, err := a.logger()
	if err != nil {
		return err
	}
	opts := &notebook.Options{
		AllowErrors: f.allowErrors, Log: log,
		Kernelspec: notebook.Kernelspec{Name: "gokernel", DisplayName: "Python 3 (gokernel)", Language: "python"},
	}
	if opts.Timeout, err = parseTimeout(f.timeout); err != nil {
		return err
	}
	for _, p := range f.parameters {
		parameter, err := notebook.ParseParameter(p)
		if err != nil {
			return &exitError{exitUsage, err}
		}
		opts.Parameters = append(opts.Parameters, parameter)
	}
	nb, err := notebook.ReadFile(file)
	var invalid *notebook.InvalidError
	if errors.As(err, &invalid) && nb != nil {
		fmt.Fprintf(a.stderr, "gokernel: %s is run although it is not valid: %v\n", file, invalid)
		err = nil
	}
	if err != nil {
		return err
	}
	if l := nb.Language(); l != "" && l != "python" {
		return fmt.Errorf("%s is in the language %s: gokernel runs python so far", file, l)
	}
	request, err := f.request()
	if err != nil {
		return err
	}
	if request.Dir, err = filepath.Abs(filepath.Dir(file)); err != nil {
		return err
	}
	m, err := a.manager(log)
	if err != nil {
		return err
	}
	defer m.Release()
	if err := checkPython(ctx, m, &request); err != nil {
		return err
	}
	progress := a.newProgress(f.quiet)
	opts.Progress = progress.event
	err = runOn(ctx, m, request, nb, opts)
	progress.end()
	if werr := a.writeNotebook(nb, file, f.output); werr != nil {
		return errors.Join(err, werr)
	}
	return a.explain(err)
}

// checkPython says what is wrong with the interpreter of a session that is to be
// made when it cannot be started. It does not start it.
func checkPython(ctx context.Context, m *session.Manager, request *session.OpenRequest) error {
	if request.Session != "" {
		if _, err := m.Get(ctx, request.Session); err == nil {
			return nil // it has its own
		}
	}
	if _, err := exec.LookPath(request.Interpreter); err != nil {
		return &exitError{exitFailed, fmt.Errorf("the Python cannot be run: %w (name another one with --python)", err)}
	}
	return nil
}

// runOn runs nb on a kernel of its own.
func runOn(ctx context.Context, m *session.Manager, request session.OpenRequest, nb *notebook.Notebook, opts *notebook.Options) error {
	instance, err := provision.Native(ctx, m, request, kernelOptions(opts.Log, nil, request.Language))
	if err != nil {
		return err
	}
	opts.Interrupt = instance.Interrupt
	err = notebook.Run(ctx, instance.Conn, nb, opts)
	return errors.Join(err, instance.Close(ctx))
}

// writeNotebook writes nb over file, or to where output says.
func (a *app) writeNotebook(nb *notebook.Notebook, file, output string) error {
	switch output {
	case "-":
		b, err := nb.Bytes()
		if err != nil {
			return err
		}
		_, err = a.stdout.Write(b)
		return err
	case "":
		output = file
	}
	if err := notebook.WriteFile(output, nb); err != nil {
		return err
	}
	_, err := fmt.Fprintf(a.stderr, "wrote %s\n", output)
	return err
}

// explain gives err its exit status; what a cell has raised is shown as it is
// in a notebook.
func (a *app) explain(err error) error {
	var cell *notebook.CellError
	var timeout *notebook.TimeoutError
	switch {
	case errors.As(err, &cell):
		fmt.Fprintln(a.stderr, strings.Join(cell.Traceback, "\n"))
		return &exitError{exitCell, err}
	case errors.As(err, &timeout):
		return &exitError{exitTimeout, err}
	}
	return err
}

// runOne runs one piece of code in a session of its own and returns what it
// printed.
func runOne(ctx context.Context, m *session.Manager, python, code string) (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	nb := notebook.New()
	nb.Cells = append(nb.Cells, nb.NewCell("code", code))
	err = runOn(ctx, m, session.OpenRequest{
		Language: "python", Interpreter: python, Isolation: "process", Env: environment(), Dir: dir,
	}, nb, &notebook.Options{})
	if err != nil {
		return "", err
	}
	var text strings.Builder
	for _, o := range nb.Cells[0].Outputs {
		text.WriteString(string(o.Text))
	}
	return text.String(), nil
}
