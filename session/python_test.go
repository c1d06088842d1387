//go:build linux || darwin

package session_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gokernel/gokernel/session"
	"github.com/gokernel/gokernel/session/runner"
)

// thePython is a Python of this machine that runs code, "" if there is none.
var thePython = sync.OnceValue(func() string {
	candidates := []string{"/usr/bin/python3", "python3", "python"}
	more, _ := filepath.Glob("/usr/local/bin/python3*")
	for _, path := range append(candidates, more...) {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		info, err := runner.Inspect(ctx, path)
		cancel()
		if err == nil {
			return info.Executable
		}
	}
	return ""
})

// python returns a manager whose runs are in Python.
func python(t testing.TB, state string) *session.Manager {
	t.Helper()
	if thePython() == "" {
		if os.Getenv("CI") == "true" {
			t.Fatal("this machine has no Python of 3.9 or newer")
		}
		t.Skip("this machine has no Python of 3.9 or newer")
	}
	m, err := session.NewManager(session.Options{
		StateDir: state, Driver: driver(state), Interpreters: map[string]string{"python": thePython()},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		closeAll(t, m)
		if err := m.Release(); err != nil {
			t.Errorf("Release: %v", err)
		}
	})
	return m
}

// What Python code gives comes back: value, text, errors with their traceback.
func TestPythonRun(t *testing.T) {
	state := t.TempDir()
	m := python(t, state)
	resp := run(t, m, session.Request{
		Code:  "import os, sys\nprint('out')\nprint('err', file=sys.stderr)\nopen('data.txt').read() + os.environ['WHO']",
		Files: map[string]session.File{"data.txt": {Bytes: []byte("content of ")}},
		Env:   map[string]string{"WHO": "me"},
	})
	if !resp.Success || resp.Text != "'content of me'" || resp.Stdout != "out\n" || resp.Stderr != "err\n" {
		t.Errorf("response %+v", resp)
	}
	if resp.Resources.CPU <= 0 || resp.Resources.PeakMemory == 0 { // peers D15
		t.Errorf("resources %+v, want what was measured", resp.Resources)
	}
	sums(t, &resp.Timing)
	gone(t, m, state, resp.SessionID, 0)

	resp = run(t, m, session.Request{Code: "x = 1\n1/0"})
	if e := resp.Error; resp.Success || e == nil || e.Name != "ZeroDivisionError" || e.Value != "division by zero" || len(e.Traceback) == 0 {
		t.Errorf("error %+v, want a ZeroDivisionError with its traceback", resp.Error)
	}
	// An exception with the name of one of ours is still the code's.
	resp = run(t, m, session.Request{Code: "class KernelDied(Exception): pass\nraise KernelDied('mine')"})
	if resp.Success || resp.Error == nil || resp.Error.Value != "mine" {
		t.Errorf("error %+v, want the code's own", resp.Error)
	}
}

// peers D23: input() works, refuses where nobody can answer, and ends.
func TestPythonInput(t *testing.T) {
	m := python(t, t.TempDir())
	r := session.Request{Code: "import getpass\n(input('name? '), getpass.getpass('secret? '))"}
	r.Input = func(prompt string, password bool) (string, error) {
		if want := prompt == "secret? "; password != want {
			t.Errorf("%q asks for a password: %v, want %v", prompt, password, want)
		}
		return "to " + prompt, nil
	}
	if resp := run(t, m, r); resp.Text != "('to name? ', 'to secret? ')" {
		t.Errorf("text %s", resp.Text)
	}
	r.Code = "print('before')\ninput()"
	r.Input = func(string, bool) (string, error) { return "", session.ErrNoAnswer }
	if resp := run(t, m, r); resp.Error == nil || resp.Error.Name != "EOFError" || resp.Stdout != "before\n" {
		t.Errorf("error %+v, want EOFError", resp.Error)
	}
	r.Input = nil
	if resp := run(t, m, r); resp.Error == nil || resp.Error.Name != "StdinNotImplementedError" {
		t.Errorf("error %+v, want StdinNotImplementedError", resp.Error)
	}
}

// Run returns when its context ends although Input does not.
func TestPythonInputHangs(t *testing.T) {
	m := python(t, t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	hang := make(chan struct{})
	defer close(hang)
	resp, err := m.Run(ctx, session.Request{
		Code:  "print('before')\ninput()",
		Input: func(string, bool) (string, error) { cancel(); <-hang; return "", nil },
	})
	if !errors.Is(err, context.Canceled) || resp.Stdout != "before\n" {
		t.Errorf("Run = %+v, %v; want what was printed and the end of the context", resp, err)
	}
}

// peers D16: an interrupt reaches the code, which may still have its say.
func TestPythonCancelled(t *testing.T) {
	m := python(t, t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r := session.Request{
		Code:    "import time\ntry:\n    print('before', flush=True)\n    time.sleep(600)\nfinally:\n    print('after')",
		Session: "work", KeepAlive: true,
		Stdout: writer(func(s string) {
			if strings.Contains(s, "before") {
				cancel()
			}
		}),
	}
	resp, err := m.Run(ctx, r)
	if !errors.Is(err, context.Canceled) || resp.Stdout != "before\nafter\n" {
		t.Errorf("Run = %+v, %v; want all that was printed and the end of the context", resp, err)
	}
	if resp.Error == nil || resp.Error.Name != "KeyboardInterrupt" {
		t.Errorf("error %+v, want KeyboardInterrupt", resp.Error)
	}
	if resp := run(t, m, session.Request{Code: "1 + 1", Session: "work"}); resp.Text != "2" {
		t.Errorf("the next run gave %q", resp.Text)
	}
}

// peers D4: what ran before a time limit is there; the kept session has its
// variables.
func TestPythonTimeLimit(t *testing.T) {
	m := python(t, t.TempDir())
	r := session.Request{Code: "x = 5", Session: "work", KeepAlive: true}
	run(t, m, r)
	resp, err := m.Run(t.Context(), session.Request{
		Code: "import time\nprint('before')\nx = 6\ntime.sleep(600)", Session: "work", TimeLimit: 2 * time.Second,
	})
	if !errors.Is(err, session.ErrTimeLimit) || resp.Stdout != "before\n" {
		t.Errorf("Run = %+v, %v; want ErrTimeLimit and what was printed", resp, err)
	}
	if resp := run(t, m, session.Request{Code: "x", Session: "work"}); resp.Text != "6" {
		t.Errorf("x is %q", resp.Text)
	}
}

// The language process ends under a run: why is said, what it printed is there.
func TestPythonDies(t *testing.T) {
	state := t.TempDir()
	m := python(t, state)
	resp, err := m.Run(t.Context(), session.Request{Code: "import os\nprint('before', flush=True)\nos._exit(7)"})
	if !errors.Is(err, session.ErrDead) || !strings.Contains(err.Error(), "status 7") || resp.Stdout != "before\n" {
		t.Errorf("Run = %+v, %v; want ErrDead, the exit status, and what was printed", resp, err)
	}
	gone(t, m, state, resp.SessionID, 0)
}

// A download comes back also when the code raises. peers D18: one that fails
// spoils nothing.
func TestPythonDownloads(t *testing.T) {
	m := python(t, t.TempDir())
	target := filepath.Join(t.TempDir(), "out.bin")
	resp := run(t, m, session.Request{
		Code:      "open('a.bin', 'wb').write(bytes(range(256)))\n1/0",
		Downloads: []session.Download{{Path: "a.bin"}, {Path: "none.txt"}},
	})
	if resp.Success || resp.Error == nil || resp.Timing.Failed != session.StageExecuting {
		t.Errorf("error %+v in %q, want one in executing", resp.Error, resp.Timing.Failed)
	}
	if d := resp.Files["a.bin"]; d.Err != nil || len(d.Bytes) != 256 || d.Size != 256 {
		t.Errorf("a.bin is %+v", d)
	}
	if d := resp.Files["none.txt"]; !errors.Is(d.Err, os.ErrNotExist) {
		t.Errorf("none.txt is %+v, want that there is none", d)
	}
	resp = run(t, m, session.Request{
		Code: "open('a.bin', 'wb').write(b'x' * 10)", Downloads: []session.Download{{Path: "a.bin", Target: target}},
	})
	if b, err := os.ReadFile(target); err != nil || string(b) != "xxxxxxxxxx" || resp.Files["a.bin"].Target != target {
		t.Errorf("the target has %q (%v), the response says %+v", b, err, resp.Files["a.bin"])
	}
	// Of a run that did not come so far it is said of each.
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	resp, err := m.Run(cancelled, session.Request{Code: "1", Downloads: []session.Download{{Path: "a.bin"}}})
	if err == nil || resp.Files["a.bin"].Err == nil {
		t.Errorf("Run = %+v, %v; want an error for the file", resp, err)
	}
}
