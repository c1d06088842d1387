package tests

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/gokernel/gokernel/session/agent/install/installtest"
)

// TestSessionExamples builds and runs the programs of examples/session as a user
// does and compares what they print with the output.txt beside them. Nothing of
// their sessions may be left.
func TestSessionExamples(t *testing.T) {
	if testing.Short() {
		t.Skip("the examples are left out with -short")
	}
	if runtime.GOOS == "windows" {
		t.Skip("there are no sessions on Windows yet")
	}
	dirs, err := filepath.Glob("../examples/session/*/main.go")
	if err != nil || len(dirs) != 9 {
		t.Fatalf("found %d examples, %v; want 9", len(dirs), err)
	}
	index := installtest.NewIndex(t, installtest.Wheel{
		Name: "humanize", Version: "4.0",
		Files: map[string]string{"humanize/__init__.py": "def intcomma(n):\n    return f'{n:,}'\n"},
	})
	for _, main := range dirs {
		dir := filepath.Dir(main)
		name := filepath.Base(dir)
		t.Run(name, func(t *testing.T) {
			e := newEnvironment(t)
			if name == "plots" {
				if err := exec.Command(e.python, "-c", "import matplotlib, IPython").Run(); err != nil {
					missing(t, fmt.Errorf("this example needs matplotlib and IPython: %w", err))
				}
			}
			want, err := os.ReadFile(filepath.Join(dir, "output.txt"))
			if err != nil {
				t.Fatal(err)
			}
			got := runExample(t, e, dir, index.Env())
			if got := normal(got); got != string(want) {
				t.Errorf("it printed:\n%s\nwant:\n%s", got, want)
			}
			expectNothingLeft(t, e)
		})
	}
}

// runExample runs the program in dir and returns its standard output.
func runExample(t *testing.T, e *environment, dir string, env map[string]string) []byte {
	t.Helper()
	program := filepath.Join(t.TempDir(), "example")
	build := exec.Command("go", "build", "-o", program, ".")
	build.Dir = dir
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building it: %v\n%s", err, out)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program)
	cmd.Dir = t.TempDir()
	cmd.Env = append(append(os.Environ(), e.vars...), "GOKERNEL_AGENT="+e.binary,
		"PATH="+filepath.Dir(e.python)+string(os.PathListSeparator)+os.Getenv("PATH"))
	for name, value := range env {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("running it: %v\nstdout:\n%s\nstderr:\n%s", err, out, &stderr)
	}
	return out
}

var varying = []struct {
	pattern *regexp.Regexp
	by      string
}{
	{regexp.MustCompile(`\d+(\.\d+)? (ms|s|min|h)\b`), "TIME"},
	{regexp.MustCompile(`\d+(\.\d+)? %`), "N %"},
	{regexp.MustCompile(`\d+(\.\d+)? times`), "N times"},
}

// normal returns out without what differs from run to run.
func normal(out []byte) string {
	text := string(out)
	for _, v := range varying {
		text = v.pattern.ReplaceAllString(text, v.by)
	}
	return text
}

// expectNothingLeft fails the test when a session, or on Linux a process, of the
// environment is left, and its directories, unless they end in a moment.
func expectNothingLeft(t *testing.T, e *environment) {
	t.Helper()
	cmd := exec.Command(e.binary, "sessions", "list", "--json")
	cmd.Env = append(os.Environ(), e.vars...)
	out, err := cmd.Output()
	var sessions []json.RawMessage
	if err == nil {
		err = json.Unmarshal(out, &sessions)
	}
	if err != nil || len(sessions) > 0 {
		t.Errorf("sessions that are left: %s, %v; want none", out, err)
	}
	if left, err := os.ReadDir(filepath.Join(e.state, "gokernel", "sessions")); err == nil && len(left) > 0 {
		t.Errorf("directories of sessions that are left: %v; want none", left)
	}
	if runtime.GOOS != "linux" {
		return
	}
	var left []string
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); {
		if left = processesOf(t, e); len(left) == 0 {
			return
		}
		// An unrelated process's end cannot be waited for.
		time.Sleep(20 * time.Millisecond)
	}
	t.Errorf("processes that are left: %q; want none", left)
}

// processesOf returns the command lines of the processes whose environment has
// the state directory of e.
func processesOf(t *testing.T, e *environment) []string {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, file := range files {
		env, err := os.ReadFile(file)
		if err != nil || !bytes.Contains(env, []byte("XDG_STATE_HOME="+e.state+"\x00")) {
			continue // another user's, or it has ended
		}
		line, _ := os.ReadFile(filepath.Join(filepath.Dir(file), "cmdline")) // it may have ended
		found = append(found, strings.ReplaceAll(string(line), "\x00", " "))
	}
	return found
}
