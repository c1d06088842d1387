package tests

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// shared holds what is made once for all tests of the binary; TestMain removes it.
type shared struct {
	dir    string
	binary func() (string, error)
	python func() (string, error)
}

var built = newShared()

func newShared() *shared {
	s := &shared{}
	s.binary = sync.OnceValues(s.build)
	s.python = sync.OnceValues(findPython)
	return s
}

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "gokernel-tests-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "making a directory for the tests:", err)
		os.Exit(1)
	}
	built.dir = dir
	code := m.Run()
	if err := os.RemoveAll(dir); err != nil {
		fmt.Fprintln(os.Stderr, "removing the tests' directory:", err)
		code = 1
	}
	os.Exit(code)
}

// build builds gokernel as it is shipped, without cgo and the race detector.
func (s *shared) build() (string, error) {
	binary := filepath.Join(s.dir, "bin", "gokernel")
	if runtime.GOOS == "windows" {
		binary += ".exe"
	}
	cmd := exec.Command("go", "build", "-trimpath", "-o", binary, "./cmd/gokernel")
	cmd.Dir = ".."
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building gokernel: %w\n%s", err, out)
	}
	return binary, nil
}

// findPython returns the first python3 on PATH that has the Jupyter clients.
func findPython() (string, error) {
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		python := filepath.Join(dir, "python3")
		if _, err := os.Stat(python); err != nil {
			continue
		}
		const script = "import jupyter_client, zmq, sys; print(sys.executable)"
		out, err := exec.Command(python, "-c", script).Output()
		if executable := strings.TrimSpace(string(out)); err == nil && executable != "" {
			return executable, nil
		}
	}
	return "", fmt.Errorf("no python3 on PATH has jupyter_client; see scripts/install-deps.sh")
}

// missing skips the test because a peer is missing, but fails it under CI.
func missing(t *testing.T, err error) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(err)
	}
	t.Skip(err)
}

// An environment is a place for kernels of one test: state, specs, and the
// variables that say where they are.
type environment struct {
	binary, python string
	state          string
	vars           []string
}

// newEnvironment installs our kernel specs, with and without IPython and for the
// Node.js that may be there, into a new environment. All gokernel processes in it are ended with the test.
func newEnvironment(t *testing.T) *environment {
	t.Helper()
	if testing.Short() {
		t.Skip("real Jupyter clients are left out with -short")
	}
	if runtime.GOOS == "windows" {
		t.Skip("the suites look for processes as Unix has them")
	}
	python, err := built.python()
	if err != nil {
		missing(t, err)
	}
	binary, err := built.binary()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp(built.dir, "env-") // short: it holds sockets
	if err != nil {
		t.Fatal(err)
	}
	e := &environment{binary: binary, python: python, state: filepath.Join(dir, "state")}
	set := func(key, value string) { e.vars = append(e.vars, key+"="+value) }
	set("GOKERNEL", binary)
	set("GOKERNEL_TEST_PYTHON", python)
	set("KERNEL_LOG", filepath.Join(dir, "kernels.log"))
	set("XDG_STATE_HOME", e.state)
	set("JUPYTER_PATH", filepath.Join(dir, "prefix", "share", "jupyter"))
	for _, key := range []string{"IPYTHONDIR", "MPLCONFIGDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR"} {
		path := filepath.Join(dir, strings.ToLower(key))
		if err := os.Mkdir(path, 0o700); err != nil {
			t.Fatal(err)
		}
		set(key, path)
	}
	for _, name := range []string{"gokernel", "gokernel-plain"} {
		cmd := exec.Command(binary, "install", "--prefix", filepath.Join(dir, "prefix"), "--name", name, "--python", python)
		cmd.Env = append(os.Environ(), e.vars...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("installing %s: %v\n%s", name, err, out)
		}
	}
	if _, err := exec.LookPath("node"); err == nil {
		cmd := exec.Command(binary, "install", "--prefix", filepath.Join(dir, "prefix"), "--language", "javascript")
		cmd.Env = append(os.Environ(), e.vars...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("installing the JavaScript kernel: %v\n%s", err, out)
		}
	}
	plain := filepath.Join(dir, "prefix", "share", "jupyter", "kernels", "gokernel-plain", "kernel.json")
	if err := editSpec(plain, func(spec map[string]any) { spec["env"] = map[string]string{"GOKERNEL_PLAIN_SHELL": "1"} }); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			log, _ := os.ReadFile(filepath.Join(dir, "kernels.log")) // there is none when no kernel has spoken
			t.Logf("the kernels said:\n%s", log[max(0, len(log)-4000):])
		}
		cmd := exec.Command(binary, "sessions", "close", "--all")
		cmd.Env = append(os.Environ(), e.vars...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("closing the sessions that are left: %v\n%s", err, out)
		}
	})
	return e
}

// editSpec changes a kernel.json in place.
func editSpec(path string, edit func(map[string]any)) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var spec map[string]any
	if err := json.Unmarshal(data, &spec); err != nil {
		return err
	}
	edit(spec)
	if data, err = json.MarshalIndent(spec, "", " "); err != nil {
		return err
	}
	return os.WriteFile(path, data, 0o644)
}

// runPython runs a module of this directory, with its output as the test's log.
func (e *environment) runPython(t *testing.T, timeout time.Duration, kernel string, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, e.python, append([]string{"-m"}, args...)...)
	cmd.Env = append(append(os.Environ(), e.vars...), "KERNEL_NAME="+kernel, "PYTHONDONTWRITEBYTECODE=1")
	cmd.WaitDelay = 10 * time.Second
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%s: %v\n%s", strings.Join(args, " "), err, out)
	} else {
		t.Logf("%s", out)
	}
}

// TestJupyter runs the suites of e2e with real Jupyter clients, each against
// the kernel with IPython and, where that makes a difference, without.
func TestJupyter(t *testing.T) {
	suites := []struct {
		name    string
		plain   bool
		timeout time.Duration
	}{
		{"conformance", true, 2 * time.Minute},
		{"protocol", true, 3 * time.Minute},
		{"running", true, 3 * time.Minute},
		{"runs", true, 4 * time.Minute},
		{"lifecycle", true, 4 * time.Minute},
		{"hostile", true, 6 * time.Minute},
		{"console", false, 2 * time.Minute},
		{"notebooks", true, 8 * time.Minute},
		{"vscode", false, 3 * time.Minute},
		{"leftovers", false, 6 * time.Minute},
		{"persistence", false, 4 * time.Minute},
		{"disk", false, 2 * time.Minute},
		{"exec", false, 5 * time.Minute},
	}
	for _, suite := range suites {
		kernels := []string{"gokernel"}
		if suite.plain {
			kernels = append(kernels, "gokernel-plain")
		}
		for _, kernel := range kernels {
			t.Run(suite.name+"/"+kernel, func(t *testing.T) {
				newEnvironment(t).runPython(t, suite.timeout, kernel, "e2e", suite.name)
			})
		}
	}
}

// TestJupyterJavaScript runs the suite of the JavaScript kernel.
func TestJupyterJavaScript(t *testing.T) {
	if _, err := exec.LookPath("node"); err != nil {
		missing(t, err)
	}
	newEnvironment(t).runPython(t, 4*time.Minute, "gokernel-javascript", "e2e", "javascript")
}
