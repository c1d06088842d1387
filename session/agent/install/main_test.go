//go:build unix

package install

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// patience is how long an installer may take in a test.
const patience = 2 * time.Minute

// run starts a command as an agent does, without a sandbox.
func run(ctx context.Context, c Command, output func([]byte)) (int, error) {
	cmd := exec.CommandContext(ctx, c.Argv[0], c.Argv[1:]...)
	cmd.Env, cmd.Dir = c.Env, c.Dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 10 * time.Second
	w := &writer{output}
	cmd.Stdout, cmd.Stderr = w, w // the same: one goroutine writes
	err := cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) && ctx.Err() == nil {
		return exit.ExitCode(), nil
	}
	return 0, errors.Join(err, ctx.Err())
}

type writer struct{ output func([]byte) }

func (w *writer) Write(b []byte) (int, error) {
	w.output(b)
	return len(b), nil
}

// environ is the environment of the test with changes.
func environ(change map[string]string) []string {
	env := slices.DeleteFunc(os.Environ(), func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		_, ok := change[name]
		return ok || strings.HasPrefix(name, "npm_") || strings.HasPrefix(name, "PYTHON")
	})
	for _, name := range slices.Sorted(maps.Keys(change)) {
		env = append(env, name+"="+change[name])
	}
	return env
}

// python returns an interpreter that has pip, or ends the test.
func python(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"/usr/bin/python3", "python3", "python"} {
		path, err := exec.LookPath(name)
		if err != nil {
			continue
		}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		cmd := exec.CommandContext(ctx, path, "-c", "import pip, sys; print(sys.executable if sys.version_info >= (3, 9) else '')")
		cmd.Dir = t.TempDir() // not among this package's programs
		out, err := cmd.Output()
		cancel()
		if path := string(bytes.TrimSpace(out)); err == nil && path != "" {
			return path
		}
	}
	missing(t, "no Python of 3.9 or newer with pip")
	return ""
}

// missing ends a test for which the machine lacks something.
func missing(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(what)
	}
	t.Skip(what)
}

// A report is one of an installation.
type reported struct {
	message     string
	done, total int64
}

// A bench is a folder and what was reported while it was installed into.
type bench struct {
	t       *testing.T
	job     Job
	reports []reported
}

func newBench(t *testing.T, language, interpreter string, env map[string]string) *bench {
	return &bench{t: t, job: Job{
		Language: language, Interpreter: interpreter, Folder: filepath.Join(t.TempDir(), "packages", language),
		Env: environ(env), Dir: t.TempDir(),
	}}
}

// install installs and checks that the reports are true to their rules.
func (b *bench) install(specs ...string) ([]string, error) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), patience)
	defer cancel()
	return b.installIn(ctx, specs...)
}

func (b *bench) installIn(ctx context.Context, specs ...string) ([]string, error) {
	b.t.Helper()
	b.job.Packages, b.reports = specs, nil
	part := 0.0
	changed, err := b.job.Run(ctx, run, func(message string, done, total int64, unit string) {
		b.reports = append(b.reports, reported{message, done, total})
		if unit != "packages" || total > 0 && (done > total || float64(done)/float64(total) < part) {
			b.t.Errorf("got report %q of %d/%d %s after %.2f, want one that does not go back", message, done, total, unit, part)
		}
		if total > 0 {
			part = float64(done) / float64(total)
		}
	})
	entries, readErr := os.ReadDir(filepath.Dir(b.job.Folder))
	if readErr != nil || len(entries) != 1 {
		b.t.Errorf("got %v beside the folder (%v), want nothing left", entries, readErr)
	}
	return changed, err
}

func (b *bench) must(specs ...string) []string {
	b.t.Helper()
	changed, err := b.install(specs...)
	if err != nil {
		b.t.Fatalf("install %q: %v", specs, err)
	}
	return changed
}

// fails installs what must fail with an error that has want in it.
func (b *bench) fails(want string, specs ...string) {
	b.t.Helper()
	before := b.tree()
	_, err := b.install(specs...)
	if err == nil || !strings.Contains(err.Error(), want) {
		b.t.Fatalf("install %q: got %v, want an error with %q", specs, err, want)
	}
	if after := b.tree(); !slices.Equal(before, after) {
		b.t.Errorf("got the folder %q after a failure, want it as before: %q", after, before)
	}
}

// tree returns all files below the folder.
func (b *bench) tree() []string {
	var names []string
	_ = filepath.WalkDir(b.job.Folder, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() && !strings.HasSuffix(path, ".pyc") {
			name, _ := filepath.Rel(b.job.Folder, path)
			names = append(names, name)
		}
		return nil
	})
	return names
}

// eval returns what the interpreter prints, with the folder in view.
func (b *bench) eval(code string) string {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, b.job.Interpreter, "-c", code)
	cmd.Env = append(slices.Clone(b.job.Env), "PYTHONPATH="+b.job.Folder, "PYTHONDONTWRITEBYTECODE=1")
	cmd.Dir = b.job.Dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		b.t.Fatalf("%s: %v\n%s", code, err, out)
	}
	return strings.TrimSpace(string(out))
}
