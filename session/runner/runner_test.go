package runner_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/gokernel/gokernel/session/runner"
)

func TestInstallIsSharedAndRepaired(t *testing.T) {
	dir := t.TempDir()
	var wg sync.WaitGroup
	programs := make([]string, 8)
	for i := range programs {
		wg.Go(func() {
			program, err := runner.Python().Install(dir)
			if err != nil {
				t.Errorf("install %d: %v", i, err)
			}
			programs[i] = program
		})
	}
	wg.Wait()
	for _, p := range programs {
		if p != programs[0] {
			t.Errorf("got program %q, want %q", p, programs[0])
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Fatalf("got %d entries (%v), want 1: nothing temporary is left", len(entries), err)
	}
	whole, err := os.ReadFile(programs[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(programs[0], whole[:3], 0o644); err != nil {
		t.Fatal(err)
	}
	again, err := runner.Python().Install(dir)
	if err != nil || again != programs[0] {
		t.Fatalf("install over a damaged program: got %q, %v", again, err)
	}
	if got, _ := os.ReadFile(again); string(got) != string(whole) {
		t.Errorf("damaged program was kept: got %q", got)
	}
}

func TestInstallKeepsCompiledFiles(t *testing.T) {
	dir := t.TempDir()
	program, err := runner.Python().Install(dir)
	if err != nil {
		t.Fatal(err)
	}
	cache := filepath.Join(filepath.Dir(program), "gokernel_runner", "__pycache__")
	if err := os.Mkdir(cache, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := runner.Python().Install(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(cache); err != nil {
		t.Errorf("compiled files are gone: %v", err)
	}
}

func TestInstallSaysWhyNot(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := runner.Python().Install(file); err == nil || !strings.Contains(err.Error(), "install python runner") {
		t.Errorf("got %v, want an error that says what was done", err)
	}
}

func TestInspectSaysWhatIsWrong(t *testing.T) {
	dir := t.TempDir()
	script := func(name, body string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte("#!/bin/sh\n"+body+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for _, test := range []struct{ name, path, want string }{
		{"missing", filepath.Join(dir, "nowhere"), "not found"},
		{"fails", script("fails", "echo first >&2; echo no module named encodings >&2; exit 1"), "no module named encodings"},
		{"other program", script("other", "echo hello"), "answers as no python"},
		{"old", script("old", `echo '{"executable": "/x", "version": "3.8.18"}'`), "3.9 or newer"},
		{"two", script("two", `echo '{"executable": "/x", "version": "2.7.18"}'`), "it is Python 2.7.18"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := runner.Inspect(t.Context(), test.path)
			if !errors.Is(err, runner.ErrInterpreter) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want ErrInterpreter with %q", err, test.want)
			}
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := runner.Inspect(ctx, script("slow", "exec sleep 60")); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
}
