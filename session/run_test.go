//go:build linux || darwin

package session_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gokernel/gokernel/session"
	"github.com/gokernel/gokernel/session/agent/agenttest"
	"github.com/gokernel/gokernel/session/wire"
)

// scripted returns a manager whose runs are in the scripted language.
func scripted(t testing.TB, state string) *session.Manager {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	m, err := session.NewManager(session.Options{
		StateDir: state, Driver: driver(state), Interpreters: map[string]string{"script": program}, Env: agenttest.Env(),
		Logger: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn})),
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

// script returns a request that runs lines in the scripted language.
func script(lines ...string) session.Request {
	return session.Request{Code: strings.Join(lines, "\n"), Language: "script"}
}

// run runs r, which must return no error.
func run(t testing.TB, m *session.Manager, r session.Request) *session.Response {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	resp, err := m.Run(ctx, r)
	if err != nil {
		t.Fatalf("Run: %v; %+v", err, resp)
	}
	return resp
}

// sums checks that the stages of a timing add up to its total.
func sums(t *testing.T, timing *session.Timing) {
	t.Helper()
	var sum time.Duration
	for _, d := range timing.Stages {
		sum += d
	}
	if sum != timing.Total || timing.Total <= 0 {
		t.Errorf("stages %v add up to %v, want the total %v", timing.Stages, sum, timing.Total)
	}
}

// peers D14: every rich result comes back, in order and with all of its types.
func TestRunReturnsAll(t *testing.T) {
	state := t.TempDir()
	m := scripted(t, state)
	var streamed, errs strings.Builder
	var shown []session.Result
	r := script(
		"print one",
		"error two",
		`out display_data {"data":{"text/plain":"a","image/png":"iVBORw0K"},"metadata":{"image/png":{"width":3}}}`,
		`out display_data {"data":{"application/json":{"x":[1,2]}},"metadata":{}}`,
		`out execute_result {"data":{"text/plain":"42","text/html":"<b>42</b>"},"metadata":{},"execution_count":1}`,
		"print three",
	)
	r.Stdout, r.Stderr = &streamed, &errs
	r.OnDisplay = func(d session.Result) { shown = append(shown, d) }
	resp := run(t, m, r)
	want := []session.Result{
		{Data: map[string]any{"text/plain": "a", "image/png": "iVBORw0K"}, Metadata: map[string]any{"image/png": map[string]any{"width": 3.0}}},
		{Data: map[string]any{"application/json": map[string]any{"x": []any{1.0, 2.0}}}, Metadata: map[string]any{}},
		{Data: map[string]any{"text/plain": "42", "text/html": "<b>42</b>"}, Metadata: map[string]any{}},
	}
	if !resp.Success || resp.Text != "42" || resp.Stdout != "one\nthree\n" || resp.Stderr != "two\n" || resp.Error != nil {
		t.Errorf("response %+v", resp)
	}
	if !reflect.DeepEqual(resp.Results, want) || !reflect.DeepEqual(shown, want) {
		t.Errorf("results %v, shown %v; want %v", resp.Results, shown, want)
	}
	if streamed.String() != resp.Stdout || errs.String() != resp.Stderr {
		t.Errorf("streamed %q and %q", streamed.String(), errs.String())
	}
	sums(t, &resp.Timing)
	if resp.Timing.Failed != "" || resp.Timing.Stages[session.StageExecuting] <= 0 || resp.Timing.Stages[session.StageInitializing] <= 0 {
		t.Errorf("timing %+v", resp.Timing)
	}
	gone(t, m, state, resp.SessionID, 0) // peers D7
}

// A display that is updated has its last content where it first stood, and what
// is cleared is gone from the results.
func TestRunDisplays(t *testing.T) {
	m := scripted(t, t.TempDir())
	resp := run(t, m, script(
		`out display_data {"data":{"text/plain":"old"},"metadata":{},"transient":{"display_id":"d"}}`,
		`out clear_output {"wait":true}`,
		`out display_data {"data":{"text/plain":"1"},"metadata":{},"transient":{"display_id":"d"}}`,
		`out display_data {"data":{"text/plain":"2"},"metadata":{}}`,
		`out update_display_data {"data":{"text/plain":"3"},"metadata":{},"transient":{"display_id":"d"}}`,
		`out update_display_data {"data":{"text/plain":"4"},"metadata":{},"transient":{"display_id":"another run's"}}`,
	))
	var got []any
	for _, r := range resp.Results {
		got = append(got, r.Data["text/plain"])
	}
	if want := []any{"3", "2", "4"}; !reflect.DeepEqual(got, want) {
		t.Errorf("results %v, want %v", got, want)
	}
}

// Code that raises is no error of Run; its session is closed all the same.
func TestRunRaises(t *testing.T) {
	state := t.TempDir()
	m := scripted(t, state)
	resp, err := m.Run(t.Context(), script("print before", "fail ValueError", "print after"))
	if err != nil || resp.Success || resp.Stdout != "before\n" {
		t.Errorf("Run = %+v, %v; want what was printed and no error", resp, err)
	}
	if resp.Error == nil || resp.Error.Name != "ValueError" || resp.Timing.Failed != session.StageExecuting {
		t.Errorf("error %+v in stage %q, want ValueError in executing", resp.Error, resp.Timing.Failed)
	}
	sums(t, &resp.Timing)
	gone(t, m, state, resp.SessionID, 0)
}

// A kept session is found again by its name, with its variables; a run never
// closes it.
func TestRunKeepsSession(t *testing.T) {
	m := scripted(t, t.TempDir())
	r := script("set x 41")
	r.Session, r.KeepAlive, r.Lease = "work", true, time.Hour
	first := run(t, m, r)
	second := run(t, m, session.Request{Code: "get x", Session: "work"})
	third := run(t, m, session.Request{Code: "get x", Session: first.SessionID})
	if second.Stdout != "41\n" || third.Stdout != "41\n" || second.SessionID != first.SessionID {
		t.Errorf("the session gave %q and %q", second.Stdout, third.Stdout)
	}
	list, err := m.List(t.Context())
	if err != nil || len(list) != 1 {
		t.Fatalf("List = %v, %v", list, err)
	}
	i := list[0]
	if i.ID != first.SessionID || i.Name != "work" || i.Runs != 3 || !i.Kept || i.State != session.StateIdle || i.CPU <= 0 || i.Memory == 0 {
		t.Errorf("the session is %+v", i) // peers D15: measured
	}
	if err := m.Close(t.Context(), "work"); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Run(t.Context(), session.Request{Code: "get x", Session: "work"}); !errors.Is(err, session.ErrExpired) {
		t.Errorf("Run in a session that has ended = %v, want ErrExpired", err)
	}
	if _, err := m.Run(t.Context(), session.Request{Code: "get x", Session: "nobody"}); !errors.Is(err, session.ErrNotFound) {
		t.Errorf("Run in a session that never was = %v, want ErrNotFound", err)
	}
}

// peers D11, D12: stages are told in order, each once or more, with a last word.
func TestRunProgress(t *testing.T) {
	m := scripted(t, t.TempDir())
	for _, tc := range []struct {
		line string
		want []session.Stage
	}{
		{"print done", []session.Stage{session.StageInitializing, session.StageConnecting, session.StageExecuting, session.StageCompleted}},
		{"fail E", []session.Stage{session.StageInitializing, session.StageConnecting, session.StageExecuting, session.StageFailed}},
	} {
		var stages []session.Stage
		elapsed := int64(-1)
		r := script(tc.line)
		r.OnProgress = func(p session.Progress) {
			if n := len(stages); n == 0 || stages[n-1] != p.Stage {
				stages = append(stages, p.Stage)
			}
			if p.Percent != nil {
				t.Errorf("%s has %v percent, but there is nothing to count", p.Stage, *p.Percent)
			}
			if p.Elapsed < elapsed || p.RunID == "" {
				t.Errorf("progress %+v after %d ms", p, elapsed)
			}
			elapsed = p.Elapsed
		}
		run(t, m, r)
		if !reflect.DeepEqual(stages, tc.want) {
			t.Errorf("%s: stages %v, want %v", tc.line, stages, tc.want)
		}
	}
}

// Input is asked for what the code asks for; without it the code is refused.
func TestRunInput(t *testing.T) {
	m := scripted(t, t.TempDir())
	r := script("input name?", "input age?")
	var asked []string
	r.Input = func(prompt string, password bool) (string, error) {
		asked = append(asked, prompt)
		return "a" + prompt, nil
	}
	resp := run(t, m, r)
	if resp.Stdout != "got aname?\ngot aage?\n" || len(asked) != 2 {
		t.Errorf("stdout %q, asked %v", resp.Stdout, asked)
	}
	mine := errors.New("nobody is here")
	r.Input = func(string, bool) (string, error) { return "", mine }
	if _, err := m.Run(t.Context(), r); !errors.Is(err, mine) {
		t.Errorf("Run = %v, want what Input has returned", err)
	}
}

// peers D16: cancelling interrupts the code and returns what there is. peers D7:
// an unkept session is closed.
func TestRunCancelled(t *testing.T) {
	state := t.TempDir()
	m := scripted(t, state)
	mine := errors.New("enough")
	for _, verb := range []string{"wait", "spin"} {
		ctx, cancel := context.WithCancelCause(t.Context())
		r := script("print before", verb+" "+state+"/never", "print after")
		r.Stdout = writer(func(string) { cancel(mine) })
		resp, err := m.Run(ctx, r)
		if !errors.Is(err, mine) || resp.Success || resp.Stdout != "before\n" {
			t.Errorf("%s: Run = %+v, %v; want what was printed and the cause", verb, resp, err)
		}
		if resp.Timing.Failed != session.StageExecuting {
			t.Errorf("%s: failed in %q, want executing", verb, resp.Timing.Failed)
		}
		sums(t, &resp.Timing)
		gone(t, m, state, resp.SessionID, 0)
		cancel(nil)
	}
}

type writer func(string)

func (w writer) Write(b []byte) (int, error) { w(string(b)); return len(b), nil }

// peers D4, D5: there is no time limit but the caller's, and it keeps what was
// collected.
func TestRunTimeLimit(t *testing.T) {
	state := t.TempDir()
	m := scripted(t, state)
	for _, verb := range []string{"wait", "spin"} {
		r := script("print before", verb+" "+state+"/never")
		r.TimeLimit = 4 * time.Second
		resp, err := m.Run(t.Context(), r)
		if !errors.Is(err, session.ErrTimeLimit) || resp.Success || resp.Stdout != "before\n" || resp.Timing.Failed != session.StageExecuting {
			t.Errorf("%s: Run = %+v, %v; want ErrTimeLimit and what was printed", verb, resp, err)
		}
		sums(t, &resp.Timing)
		gone(t, m, state, resp.SessionID, 0)
	}
}

// A run whose time is over while it waits for its turn is not performed.
func TestRunTimeLimitInQueue(t *testing.T) {
	state := t.TempDir()
	m := scripted(t, state)
	s := open(t, m, request("queue", true))
	f := attach(t, s, wire.KernelOwner)
	f.execute("r1", "wait "+state+"/go")
	f.until("r1 execute_input")
	r := session.Request{Code: "touch " + state + "/ran", Session: "queue", TimeLimit: time.Second}
	if resp, err := m.Run(t.Context(), r); !errors.Is(err, session.ErrTimeLimit) || resp.Timing.Failed != session.StageConnecting {
		t.Errorf("Run = %+v, %v; want ErrTimeLimit in connecting", resp, err)
	}
	touch(t, state+"/go")
	f.until("r1 status idle")
	run(t, m, session.Request{Code: "print next", Session: "queue"})
	if _, err := os.Stat(state + "/ran"); err == nil {
		t.Error("the run was performed")
	}
}

// The language process dies: the error says so and the response has what came
// before.
func TestRunInterpreterDies(t *testing.T) {
	state := t.TempDir()
	m := scripted(t, state)
	resp, err := m.Run(t.Context(), script("print before", "kill"))
	if !errors.Is(err, session.ErrDead) || !strings.Contains(err.Error(), "SIGKILL") {
		t.Errorf("Run = %v, want ErrDead and why", err)
	}
	if resp.Error == nil || resp.Error.Name != "KernelDied" || resp.Stdout != "before\n" || resp.Timing.Failed != session.StageExecuting {
		t.Errorf("response %+v", resp)
	}
	gone(t, m, state, resp.SessionID, 0)
}

// The agent is killed: likewise; and the next run in the session says that its
// variables are gone.
func TestRunAgentDies(t *testing.T) {
	state := t.TempDir()
	m := scripted(t, state)
	for _, keep := range []bool{false, true} {
		r := script("print before", "wait "+state+"/never")
		r.KeepAlive = keep
		once := sync.OnceFunc(func() {
			list, err := m.List(t.Context())
			if err != nil || len(list) != 1 {
				t.Errorf("List = %v, %v", list, err)
				return
			}
			kill(t, list[0].AgentPID)
		})
		r.Stdout = writer(func(string) { once() })
		resp, err := m.Run(t.Context(), r)
		if !errors.Is(err, session.ErrDead) || resp.Error == nil || resp.Error.Name != "AgentDied" || resp.Stdout != "before\n" {
			t.Errorf("keep %v: Run = %+v, %v; want ErrDead and what was printed", keep, resp, err)
		}
		if !keep {
			gone(t, m, state, resp.SessionID, 0)
			continue
		}
		if next := run(t, m, session.Request{Code: "print alive", Session: resp.SessionID}); next.Stdout != "alive\n" {
			t.Errorf("the next run gave %q", next.Stdout)
		}
		s, err := m.Get(t.Context(), resp.SessionID)
		if err != nil {
			t.Fatal(err)
		}
		again, err := s.Wait(t.Context(), resp.RunID)
		if !errors.Is(err, session.ErrDead) || again.Stdout != "before\n" {
			t.Errorf("Wait = %+v, %v; want what the run had printed, also from the next agent", again, err)
		}
	}
}

// peers D8: a session that a manager knows from a run before, and that another
// manager has closed and made anew, is the new one for the next run.
func TestRunInRemadeSession(t *testing.T) {
	state := t.TempDir()
	m, other := scripted(t, state), scripted(t, state)
	use := func(m *session.Manager, code string) *session.Response {
		r := script(code)
		r.Session, r.KeepAlive = "again", true
		return run(t, m, r)
	}
	first := use(m, "set x old")
	use(m, "get x") // knows it by now
	if err := other.Close(t.Context(), "again"); err != nil {
		t.Fatal(err)
	}
	second := use(other, "set x new")
	got := use(m, "get x")
	if got.SessionID != second.SessionID || got.SessionID == first.SessionID || got.Stdout != "new\n" {
		t.Errorf("got %q from session %s, want the new one's variable from %s", got.Stdout, got.SessionID, second.SessionID)
	}
	if err := other.Close(t.Context(), "again"); err != nil {
		t.Fatal(err)
	}
	r := script("get x")
	r.Session = "again"
	if _, err := m.Run(t.Context(), r); !errors.Is(err, session.ErrExpired) {
		t.Errorf("got error %v, want ErrExpired", err)
	}
	made := use(m, "set x third")
	if made.SessionID == second.SessionID {
		t.Error("got the session that was closed")
	}
	if err := m.Close(t.Context(), "again"); err != nil {
		t.Fatal(err)
	}
}

// A session whose agent has died between runs is started again, and the run that
// does so says what is lost.
func TestRunInDeadSession(t *testing.T) {
	m := scripted(t, t.TempDir())
	s := open(t, m, request("dead", true))
	kill(t, info(t, s).AgentPID)
	for deadline := time.Now().Add(patience); ; {
		if i, err := s.Info(t.Context()); errors.Is(err, session.ErrDead) && i.State == session.StateDead && i.Name == "dead" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the agent is not dead")
		}
	}
	resp := run(t, m, session.Request{Code: "print alive", Session: "dead"})
	if len(resp.Insights) == 0 || !strings.Contains(resp.Insights[0].Finding, "variables are gone") {
		t.Errorf("insights %+v, want that the variables are gone", resp.Insights)
	}
	if resp.Timing.Stages[session.StageInitializing] <= 0 {
		t.Errorf("timing %+v, want some for initializing", resp.Timing)
	}
}

// An interpreter that cannot be started, or is not there, is an error in stage
// initializing that names it.
func TestRunWithoutInterpreter(t *testing.T) {
	state := t.TempDir()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		program, want string
		env           []string
	}{
		{filepath.Join(state, "no-such-interpreter"), "no-such-interpreter", agenttest.Env()},
		{program, "it is broken", agenttest.Env(agenttest.FailStart + "=it is broken")},
	} {
		m, err := session.NewManager(session.Options{
			StateDir: state, Driver: driver(state), Interpreters: map[string]string{"script": tc.program}, Env: tc.env,
		})
		if err != nil {
			t.Fatal(err)
		}
		resp, err := m.Run(t.Context(), script("print x"))
		var staged *session.StageError
		if !errors.As(err, &staged) || staged.Stage != session.StageInitializing || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("Run = %v, want an error in stage initializing about %q", err, tc.want)
		}
		if resp.Timing.Failed != session.StageInitializing {
			t.Errorf("failed in %q, want initializing", resp.Timing.Failed)
		}
		if list, err := m.List(t.Context()); err != nil || len(list) != 0 {
			t.Errorf("List = %v, %v; want nothing left", list, err)
		}
		if err := m.Release(); err != nil {
			t.Error(err)
		}
	}
}

// peers D7: a callback that panics does not leave the session.
func TestRunCallbackPanics(t *testing.T) {
	state := t.TempDir()
	m := scripted(t, state)
	for name, set := range map[string]func(*session.Request){
		"stdout":   func(r *session.Request) { r.Stdout = writer(func(string) { panic("mine") }) },
		"input":    func(r *session.Request) { r.Input = func(string, bool) (string, error) { panic("mine") } },
		"progress": func(r *session.Request) { r.OnProgress = func(session.Progress) { panic("mine") } },
	} {
		func() {
			defer func() {
				if got := recover(); got != "mine" {
					t.Errorf("%s: recovered %v, want what the callback panicked with", name, got)
				}
			}()
			r := script("print x", "input y")
			set(&r)
			resp, err := m.Run(t.Context(), r)
			t.Errorf("%s: Run = %+v, %v", name, resp, err)
		}()
		if list, err := m.List(t.Context()); err != nil || len(list) != 0 {
			t.Errorf("%s: List = %v, %v; want nothing left", name, list, err)
		}
	}
}

// A writer that fails does not stop the run.
func TestRunWriterFails(t *testing.T) {
	m := scripted(t, t.TempDir())
	r := script("print one", "print two")
	r.Stdout = failing{}
	resp, err := m.Run(t.Context(), r)
	if !errors.Is(err, errFull) || !resp.Success || resp.Stdout != "one\ntwo\n" {
		t.Errorf("Run = %+v, %v; want all of it and the writer's error", resp, err)
	}
}

var errFull = errors.New("full")

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, errFull }
