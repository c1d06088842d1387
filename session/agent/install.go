package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/gokernel/gokernel/protocol"
	"github.com/gokernel/gokernel/sandbox"
	"github.com/gokernel/gokernel/session/agent/install"
	"github.com/gokernel/gokernel/session/wire"
)

const (
	// maxPackages is how many packages a run may ask for.
	maxPackages = 500
	// installerEnd is how long an installer that was interrupted may take to end
	// by itself, which removes its temporary files.
	installerEnd = 2 * time.Second
)

// packagesAsk asks which packages are missing. Changed are those that were
// installed just now.
type packagesAsk struct {
	Packages []string  `json:"packages"`
	Changed  *[]string `json:"changed,omitempty"`
}

type packagesAnswer struct {
	Missing  []string `json:"missing"`
	Imported []string `json:"imported"` // of Changed, those that are imported in what may be an older version
}

// install makes sure that packages can be imported by p. Whether they can is asked
// of p each time; only those that are missing are installed, into the session's
// folder for the language. The error has what the installer wrote, for users. An
// error that wraps errEnded means that p has ended meanwhile.
func (a *Agent) install(
	ctx context.Context, r *request, p *process, packages []string, env map[string]string, report report,
) error {
	language := p.lang.name
	if len(packages) > maxPackages {
		return fmt.Errorf("%d packages are too many at once, %d can be", len(packages), maxPackages)
	}
	for _, spec := range packages {
		if err := wire.CheckPackage(language, spec); err != nil {
			return err
		}
	}
	missing, err := p.missing(ctx, packagesAsk{Packages: packages})
	if err != nil || len(missing.Missing) == 0 {
		return err
	}
	select {
	case a.installing <- struct{}{}:
		defer func() { <-a.installing }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	job := &install.Job{
		Language: language, Interpreter: p.interpreter, Folder: a.packageDir(language),
		Env: addEnv(a.config.Env, env), Dir: a.config.Dir, Packages: missing.Missing,
	}
	changed, err := job.Run(ctx, a.startInstaller, install.Report(report))
	if err != nil {
		return err
	}
	after, err := p.missing(ctx, packagesAsk{Packages: missing.Missing, Changed: &changed})
	if err != nil {
		return err
	}
	if len(after.Missing) > 0 {
		return fmt.Errorf("the installer says that all went well, but the %s process does not find %s", language, strings.Join(after.Missing, ", "))
	}
	if len(after.Imported) > 0 {
		a.stream(r, protocol.Stderr, fmt.Appendf(nil,
			"Note: %s was imported before it was installed here: the %s process goes on with that version until %%session restart.\n",
			strings.Join(after.Imported, ", "), language))
	}
	return nil
}

// missing asks p which packages are missing, and believes it only of packages
// that were asked for.
func (p *process) missing(ctx context.Context, question packagesAsk) (*packagesAnswer, error) {
	raw, err := p.ask(ctx, "packages", question)
	if err != nil {
		return nil, err
	}
	answer := new(packagesAnswer)
	if err := json.Unmarshal(raw, answer); err != nil {
		return nil, fmt.Errorf("asking for packages: %w", err)
	}
	answer.Missing = intersect(question.Packages, answer.Missing)
	if question.Changed != nil {
		answer.Imported = intersect(*question.Changed, answer.Imported)
	}
	return answer, nil
}

// intersect returns what is in both lists, in the order of the first.
func intersect(list, other []string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(s string) bool { return !slices.Contains(other, s) })
}

// addEnv returns env with the variables of more, which win.
func addEnv(env []string, more map[string]string) []string {
	out := slices.DeleteFunc(slices.Clone(env), func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		_, ok := more[name]
		return ok
	})
	for _, name := range slices.Sorted(maps.Keys(more)) {
		out = append(out, name+"="+more[name])
	}
	return out
}

// startInstaller runs an installer in the sandbox and ends it, with all that it
// has started, when ctx ends.
func (a *Agent) startInstaller(ctx context.Context, c install.Command, output func([]byte)) (int, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return 0, fmt.Errorf("starting %s: %w", c.Argv[0], err)
	}
	defer r.Close()
	proc, err := a.sandbox.Start(ctx, sandbox.Command{Argv: c.Argv, Env: c.Env, Dir: c.Dir, Stdout: w, Stderr: w})
	_ = w.Close() // the installer has its own copy; nothing was written here
	if err != nil {
		return 0, fmt.Errorf("the installer cannot be started: %w", err)
	}
	read := make(chan error, 1)
	go func() { // ends when nobody has the pipe's other end
		buf := make([]byte, 32<<10)
		for {
			n, err := r.Read(buf)
			output(buf[:n])
			if err != nil {
				read <- err
				return
			}
		}
	}()
	exit, err := proc.Wait(ctx)
	if err != nil {
		a.interruptInstaller(proc)
	}
	// What it has started ends with it.
	killCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTime)
	killed := proc.Kill(killCtx)
	cancel()
	if killed != nil {
		_ = r.SetReadDeadline(time.Unix(1, 0)) // a pipe has them
	}
	if readErr := <-read; !errors.Is(readErr, io.EOF) && err == nil && killed == nil {
		err = fmt.Errorf("reading what the installer writes: %w", readErr)
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err = errors.Join(err, killed); err != nil {
		return 0, err
	}
	if exit.Signal != "" {
		return 0, fmt.Errorf("the installer %s: %s", c.Argv[0], describe(exit))
	}
	return exit.Code, nil
}

// interruptInstaller lets an installer remove what it has begun.
func (a *Agent) interruptInstaller(proc sandbox.Process) {
	if err := proc.Signal(syscall.SIGINT); err != nil {
		return // it has ended
	}
	ctx, cancel := context.WithTimeout(context.Background(), installerEnd)
	defer cancel()
	if _, err := proc.Wait(ctx); err != nil {
		a.log.Debug("an interrupted installer does not end by itself")
	}
}
