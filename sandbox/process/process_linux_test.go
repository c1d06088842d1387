package process_test

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gokernel/gokernel/internal/proc"
	"github.com/gokernel/gokernel/sandbox"
	"github.com/gokernel/gokernel/sandbox/process"
)

const limit = 20 * time.Second

func open(t testing.TB, id string) sandbox.Sandbox {
	t.Helper()
	box, err := process.New().Open(t.Context(), sandbox.SandboxSpec{ID: id, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := box.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return box
}

// run starts a script and returns it with the pid that it prints.
func run(t *testing.T, box sandbox.Sandbox, script string) (sandbox.Process, int) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	p, err := box.Start(t.Context(), sandbox.Command{
		Argv: []string{"sh", "-c", script}, Env: []string{"PATH=/usr/bin:/bin"}, Stdout: w,
	})
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(r).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatal(err)
	}
	return p, pid
}

func TestCommandLeadsASession(t *testing.T) {
	box := open(t, "leads")
	// No exec: while it is under way a process has no environment to look at.
	p, pid := run(t, box, "echo $$; sleep 1000; :")
	info, err := proc.Read(pid)
	if err != nil {
		t.Fatal(err)
	}
	if pid != p.PID() || info.SID != pid || info.PGID != pid || info.PPID != os.Getpid() {
		t.Errorf("got %+v, want process %d to lead a session and be our child", info, p.PID())
	}
	id, ok := proc.Getenv(pid, process.Marker)
	if !ok || id != "leads" {
		t.Errorf("marker: got %q, %v, want leads", id, ok)
	}
}

// An orphan that ends by itself must not stay a zombie, and one that has
// cleared its environment is known by its session.
func TestOrphansAreCollected(t *testing.T) {
	box := open(t, "orphans")
	for name, script := range map[string]string{
		"in the session":      "sh -c 'echo $$; exec sleep 1000 >/dev/null' & exit",
		"without environment": "env -i sh -c 'echo $$; exec /bin/sleep 1000 >/dev/null' & exit",
		"in one of its own":   "setsid sh -c 'echo $$; exec sleep 1000 >/dev/null' & exit",
	} {
		p, pid := run(t, box, script)
		if _, err := p.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		for deadline := time.Now().Add(limit); ; { // while it executes sleep it has no environment to be known by
			stats, err := box.Stats(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if stats.Processes == 1 {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s: %d processes are seen, want 1", name, stats.Processes)
			}
		}
		start, err := proc.StartTime(pid)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := proc.Kill(proc.Ident{PID: pid, Start: start}); err != nil {
			t.Fatal(err)
		}
		for deadline := time.Now().Add(limit); ; {
			if now, err := proc.Read(pid); err != nil || now.Start != start {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s: process %d stays a zombie", name, pid)
			}
		}
	}
}

func TestCloseEndsOrphansWithoutEnvironment(t *testing.T) {
	box := open(t, "bare")
	_, pid := run(t, box, "env -i sh -c 'echo $$; exec /bin/sleep 1000 >/dev/null' & exit")
	start, err := proc.StartTime(pid)
	if err != nil {
		t.Fatal(err)
	}
	if err := box.Close(); err != nil {
		t.Fatal(err)
	}
	if proc.Alive(proc.Ident{PID: pid, Start: start}) {
		t.Error("the orphan is alive after close")
	}
}

// The children of others in this process are theirs to wait for, also when they
// lead sessions.
func TestOthersChildrenAreLeftAlone(t *testing.T) {
	box := open(t, "others")
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 25 {
				cmd := exec.CommandContext(ctx, "sh", "-c", "exit 9")
				cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
				if err := cmd.Run(); cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != 9 {
					t.Errorf("a child of ours: got %v, want exit status 9", err)
				}
			}
		})
	}
	for range 25 {
		p, err := box.Start(ctx, sandbox.Command{Argv: []string{"/bin/sh", "-c", "(exit 0) & exit 0"}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.Wait(ctx); err != nil {
			t.Error(err)
		}
	}
	bystander := exec.CommandContext(ctx, "sleep", "1000")
	bystander.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := bystander.Start(); err != nil {
		t.Fatal(err)
	}
	all.Wait()
	if err := box.Close(); err != nil {
		t.Error(err)
	}
	if err := bystander.Process.Signal(syscall.Signal(0)); err != nil {
		t.Errorf("a child of ours after close: %v", err)
	}
	_ = bystander.Process.Kill()
	_ = bystander.Wait()
}

// A process that ignores SIGINT, as the background jobs of a shell do, must not
// make its commands ignore it.
func TestIgnoredSignalsAreNotInherited(t *testing.T) {
	signal.Ignore(unix.SIGINT)
	t.Cleanup(func() { signal.Reset(unix.SIGINT) })
	box := open(t, "ignored")
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	p, err := box.Start(t.Context(), sandbox.Command{
		Argv: []string{"/bin/sh", "-c", "echo up; exec /bin/sleep 1000"}, Stdout: w,
	})
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bufio.NewReader(r).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	if err := p.Signal(unix.SIGINT); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	if exit, err := p.Wait(ctx); err != nil || exit.Signal != "SIGINT" {
		t.Errorf("exit: got %+v, %v, want SIGINT", exit, err)
	}
}
