//go:build linux || darwin

package session_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gokernel/gokernel/sandbox"
	"github.com/gokernel/gokernel/session"
	"github.com/gokernel/gokernel/session/agent/agenttest"
	"github.com/gokernel/gokernel/session/wire"
)

// A caller is a process of its own that runs something.
type caller struct {
	cmd *exec.Cmd
	out *bufio.Reader
	t   testing.TB
}

// callerSpec says what a caller runs.
type callerSpec struct {
	State, Code, Session string
	Keep                 bool
}

// startCaller starts a caller in the scripted language.
func startCaller(t testing.TB, spec callerSpec) *caller {
	t.Helper()
	raw, err := json.Marshal(spec)
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "caller", string(raw))
	cmd.Stderr = t.Output()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c := &caller{cmd, bufio.NewReader(out), t}
	t.Cleanup(c.kill)
	return c
}

// line returns the next line that the caller's code prints, or "end" and the
// error that Run returned.
func (c *caller) line() string {
	c.t.Helper()
	s, err := c.out.ReadString('\n')
	if err != nil {
		c.t.Fatalf("the caller has ended: %v", err)
	}
	return strings.TrimSuffix(s, "\n")
}

func (c *caller) kill() {
	_ = c.cmd.Process.Kill()
	_ = c.cmd.Wait()
}

func callerMain(raw string) int {
	var spec callerSpec
	program, err := os.Executable()
	if err = errors.Join(err, json.Unmarshal([]byte(raw), &spec)); err != nil {
		fmt.Fprintln(os.Stderr, "caller:", err)
		return 1
	}
	m, err := session.NewManager(session.Options{
		StateDir: spec.State, Driver: driver(spec.State), Interpreters: map[string]string{"script": program}, Env: agenttest.Env(),
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, "caller:", err)
		return 1
	}
	_, err = m.Run(context.Background(), session.Request{
		Code: spec.Code, Language: "script", Session: spec.Session, KeepAlive: spec.Keep, Stdout: os.Stdout,
	})
	fmt.Println("end", err)
	return 0
}

// peers D8: a caller is killed in the middle of a run; another process finds the
// session, its variables and the run's output.
func TestRunCallerKilled(t *testing.T) {
	state := t.TempDir()
	m := scripted(t, state)
	c := startCaller(t, callerSpec{
		State: state, Code: "set x 41\nprint before\nwait " + state + "/go\nprint after", Session: "found", Keep: true,
	})
	if got := c.line(); got != "before" {
		t.Fatalf("the run printed %q", got)
	}
	c.kill()
	s, err := m.Get(t.Context(), "found")
	if err != nil {
		t.Fatal(err)
	}
	runs, err := s.Runs(t.Context())
	if err != nil || len(runs) != 1 || runs[0].State != session.RunRunning || runs[0].Language != "script" {
		t.Fatalf("Runs = %+v, %v; want one that is running", runs, err)
	}
	touch(t, state+"/go")
	for range 2 { // while it is running, and when it is done
		resp, err := s.Wait(t.Context(), runs[0].ID)
		if err != nil || !resp.Success || resp.Stdout != "before\nafter\n" || resp.SessionID != s.ID() || resp.RunID != runs[0].ID {
			t.Errorf("Wait = %+v, %v; want all that the run has printed", resp, err)
		}
		sums(t, &resp.Timing)
	}
	if resp := run(t, m, session.Request{Code: "get x", Session: "found"}); resp.Stdout != "41\n" {
		t.Errorf("x is %q", resp.Stdout)
	}
	if _, err := s.Wait(t.Context(), "no-such-run"); !errors.Is(err, session.ErrNoRun) || !strings.Contains(err.Error(), "no-such-run") {
		t.Errorf("Wait for a run that never was = %v, want ErrNoRun", err)
	}
}

// peers D7: of an unkept run whose caller is killed nothing is left soon.
func TestUnkeptRunCallerKilled(t *testing.T) {
	state := t.TempDir()
	m := scripted(t, state)
	c := startCaller(t, callerSpec{State: state, Code: "print before\nchild\nspin " + state + "/never"})
	c.line()
	list, err := m.List(t.Context())
	if err != nil || len(list) != 1 || list[0].AttachedRuns != 1 || list[0].Kept {
		t.Fatalf("List = %+v, %v; want one session with a run", list, err)
	}
	c.kill()
	gone(t, m, state, list[0].ID, 30*time.Second)
}

// Wait ends with its context and leaves the run alone; InterruptRun ends it.
func TestWaitAndInterrupt(t *testing.T) {
	state := t.TempDir()
	m := scripted(t, state)
	c := startCaller(t, callerSpec{State: state, Code: "print before\nwait " + state + "/never", Session: "w", Keep: true})
	c.line()
	s, err := m.Get(t.Context(), "w")
	if err != nil {
		t.Fatal(err)
	}
	runs, err := s.Runs(t.Context())
	if err != nil || len(runs) != 1 {
		t.Fatalf("Runs = %v, %v", runs, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if resp, err := s.Wait(ctx, runs[0].ID); !errors.Is(err, context.DeadlineExceeded) || resp.Success {
		t.Errorf("Wait = %+v, %v; want the end of its context", resp, err)
	}
	if i := info(t, s); i.State != session.StateBusy {
		t.Errorf("the session is %s, want busy", i.State)
	}
	if err := s.InterruptRun(t.Context(), "another"); err != nil {
		t.Errorf("InterruptRun of a run that is not there = %v, want nil", err)
	}
	if err := s.InterruptRun(t.Context(), runs[0].ID); err != nil {
		t.Fatal(err)
	}
	resp, err := s.Wait(t.Context(), runs[0].ID)
	if err != nil || resp.Success || resp.Error == nil || resp.Error.Name != "KeyboardInterrupt" {
		t.Errorf("Wait = %+v, %v; want KeyboardInterrupt", resp, err)
	}
	if got := c.line(); got != "end <nil>" {
		t.Errorf("the caller got %q", got)
	}
}

// peers D19: runs of one session go one at a time, in order of arrival, also
// those of several processes and beside a kernel.
func TestRunsInOrder(t *testing.T) {
	state := t.TempDir()
	m := scripted(t, state)
	s := open(t, m, request("order", true))
	f := attach(t, s, wire.KernelOwner)
	f.execute("r1", "wait "+state+"/go", "set who kernel")
	f.until("r1 execute_input")
	queued := func(n int) {
		t.Helper()
		for deadline := time.Now().Add(patience); info(t, s).Queued != n; {
			if time.Now().After(deadline) {
				t.Fatalf("%d requests wait, want %d", info(t, s).Queued, n)
			}
		}
	}
	other := startCaller(t, callerSpec{State: state, Code: "get who\nset who other", Session: "order"})
	queued(1)
	var own sync.WaitGroup
	var stdout string
	own.Go(func() {
		resp, err := m.Run(t.Context(), session.Request{Code: "get who\nset who own", Session: "order"})
		if err != nil {
			t.Errorf("Run: %v", err)
		}
		stdout = resp.Stdout
	})
	queued(2)
	f.execute("r2", "get who")
	queued(3)
	touch(t, state+"/go")
	f.until("r2 stream own")
	own.Wait()
	if got := other.line(); got != "kernel" || stdout != "other\n" {
		t.Errorf("the other process saw %q and this one %q, want kernel and other", got, stdout)
	}
	if got := other.line(); got != "end <nil>" {
		t.Errorf("the other process got %q", got)
	}
	for _, l := range f.log {
		if strings.Contains(l, "stream kernel") || strings.Contains(l, "stream other") {
			t.Errorf("the kernel got a run's output: %s", l)
		}
	}
}

// peers D20: a session is ended once: the agent is told, and the driver stops it.
func TestCloseOnce(t *testing.T) {
	state := t.TempDir()
	d := &stopCounter{Driver: driver(state)}
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	m, err := session.NewManager(session.Options{
		StateDir: state, Driver: d, Interpreters: map[string]string{"script": program}, Env: agenttest.Env(),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Release()
	r := script("print one")
	r.Session, r.KeepAlive = "once", true
	run(t, m, r)
	if err := m.Close(t.Context(), "once"); err != nil {
		t.Fatal(err)
	}
	if got := d.stops(); got != 1 {
		t.Errorf("the agent was stopped %d times, want once", got)
	}
	if err := m.Close(t.Context(), "once"); !errors.Is(err, session.ErrExpired) {
		t.Errorf("Close again = %v, want ErrExpired", err)
	}
	if err := m.Close(t.Context(), "never"); !errors.Is(err, session.ErrNotFound) {
		t.Errorf("Close of what never was = %v, want ErrNotFound", err)
	}
	if got := d.stops(); got != 1 {
		t.Errorf("the agent was stopped %d times, want once", got)
	}
}

// A stopCounter counts the calls of Stop.
type stopCounter struct {
	sandbox.Driver
	mu sync.Mutex
	n  int
}

func (d *stopCounter) Stop(ctx context.Context, h sandbox.Handle) error {
	d.mu.Lock()
	d.n++
	d.mu.Unlock()
	return d.Driver.Stop(ctx, h)
}

func (d *stopCounter) stops() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.n
}

// peers D6: the lease is the agent's: it runs while the session is idle, is held
// while code runs and renewed by each run.
func TestRunLease(t *testing.T) {
	state := t.TempDir()
	m := scripted(t, state)
	r := script("print one")
	r.Session, r.KeepAlive, r.Lease = "lease", true, 2*time.Second
	resp := run(t, m, r)
	long := session.Request{Code: "wait " + state + "/go\nprint done", Session: "lease"}
	var running sync.WaitGroup
	running.Go(func() {
		if resp, err := m.Run(t.Context(), long); err != nil || resp.Stdout != "done\n" {
			t.Errorf("the run that outlasts the lease = %+v, %v", resp, err)
		}
	})
	s, err := m.Get(t.Context(), "lease")
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(patience); info(t, s).State != session.StateBusy; {
		if time.Now().After(deadline) {
			t.Fatal("the run does not begin")
		}
	}
	if i := info(t, s); !i.Expires.IsZero() {
		t.Errorf("a busy session expires at %v", i.Expires)
	}
	time.Sleep(3 * time.Second) // longer than the lease: nothing but time passes
	touch(t, state+"/go")
	running.Wait()
	gone(t, m, state, resp.SessionID, patience)
	if _, err := m.Run(t.Context(), session.Request{Code: "print two", Session: "lease"}); !errors.Is(err, session.ErrExpired) || !strings.Contains(err.Error(), "lease") {
		t.Errorf("Run after the lease = %v, want ErrExpired and why", err)
	}
}

// KeepAlive says when a session ends, and makes one stand by itself.
func TestKeepAlive(t *testing.T) {
	m := scripted(t, t.TempDir())
	s := open(t, m, request("", false))
	for _, lease := range []time.Duration{time.Hour, 0, 2 * time.Hour} {
		expires, err := m.KeepAlive(t.Context(), s.ID(), lease)
		if lease == 0 {
			lease = time.Hour // as it is
		}
		if left := time.Until(expires); err != nil || left > lease || left < lease-time.Minute {
			t.Errorf("KeepAlive(%v) = in %v, %v", lease, left, err)
		}
	}
	if i := info(t, s); !i.Kept {
		t.Error("the session is not kept")
	}
	var wrong *session.InvalidError
	if _, err := m.KeepAlive(t.Context(), s.ID(), -1); !errors.As(err, &wrong) || wrong.Field != "lease" {
		t.Errorf("KeepAlive of a negative lease = %v, want an InvalidError", err)
	}
	if _, err := m.KeepAlive(t.Context(), "nobody", time.Hour); !errors.Is(err, session.ErrNotFound) {
		t.Errorf("KeepAlive of what never was = %v, want ErrNotFound", err)
	}
	kill(t, info(t, s).AgentPID)
	for deadline := time.Now().Add(patience); ; {
		if _, err := m.KeepAlive(t.Context(), s.ID(), time.Hour); errors.Is(err, session.ErrDead) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("KeepAlive of a session without an agent does not fail with ErrDead")
		}
	}
}

// peers D10: language, cwd and env of a run in a session that exists mean what
// the call says, while it runs.
func TestRunInReusedSession(t *testing.T) {
	state := t.TempDir()
	m := scripted(t, state)
	r := script("dir", "env WHO")
	r.Session, r.KeepAlive, r.Env = "reused", true, map[string]string{"WHO": "session"}
	lines := func(r session.Request) []string {
		t.Helper()
		return strings.Fields(run(t, m, r).Stdout)
	}
	first := lines(r)
	if len(first) != 2 || !strings.HasPrefix(first[0], state) || first[1] != "session" {
		t.Fatalf("a new session has directory and variable %q", first)
	}
	again := session.Request{Code: "dir\nenv WHO", Session: "reused", Cwd: "sub/dir", Env: map[string]string{"WHO": "run"}}
	if got := lines(again); len(got) != 2 || got[0] != first[0]+"/sub/dir" || got[1] != "run" {
		t.Errorf("the run has %q, want its own directory and variable", got)
	}
	if got := lines(session.Request{Code: "dir\nenv WHO", Session: "reused"}); len(got) != 2 || got[0] != first[0] || got[1] != "session" {
		t.Errorf("the next run has %q, want %q", got, first)
	}
	other := t.TempDir()
	again.Cwd = other
	if got := lines(again); len(got) != 2 || got[0] != other {
		t.Errorf("the run in %s has %q", other, got)
	}
	var wrong *session.InvalidError
	if _, err := m.Run(t.Context(), session.Request{Code: "1", Language: "script", Cwd: other + "/none"}); !errors.As(err, &wrong) || wrong.Field != "cwd" {
		t.Errorf("Run in a directory that is not there = %v, want an InvalidError about cwd", err)
	}
}
