package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gokernel/gokernel/session"
)

// A script is a performer that does what a test says.
type script func(ctx context.Context, r session.Request) (*session.Response, error)

func (f script) Run(ctx context.Context, r session.Request) (*session.Response, error) {
	return f(ctx, r)
}

// performed runs p as exec does with f, and returns what came of it.
func performed(ctx context.Context, t *testing.T, f *execFlags, p performer) (stdout, stderr string, status int, err error) {
	t.Helper()
	var out, errs bytes.Buffer
	if f.progress == "" {
		f.progress = "auto"
	}
	a := &app{stdout: &out, stderr: &errs}
	e := &execution{app: a, flags: f, screen: newScreen(&out, &errs), request: &session.Request{}}
	err = e.perform(ctx, p)
	if err != nil {
		status = exitStatus(err)
	}
	return out.String(), errs.String(), status, err
}

func TestExecStreams(t *testing.T) {
	stdout, stderr, status, err := performed(t.Context(), t, &execFlags{}, script(func(_ context.Context, r session.Request) (*session.Response, error) {
		fmt.Fprint(r.Stdout, "a")
		fmt.Fprintln(r.Stderr, "warning")
		r.OnDisplay(session.Result{Data: map[string]any{"text/plain": "<Figure>", "image/png": "iVBO"}})
		r.OnDisplay(session.Result{Data: map[string]any{"image/png": "iVBO"}})
		fmt.Fprintln(r.Stdout, "b")
		r.OnDisplay(session.Result{Data: map[string]any{"text/plain": "42"}})
		return &session.Response{Success: true, Text: "42", Stdout: "ab\n", SessionID: "s"}, nil
	}))
	if want := "a\n<Figure>\nb\n42\n"; stdout != want || stderr != "warning\n" || status != exitOK || err != nil {
		t.Errorf("got %q, %q, %d, %v, want %q, %q, 0", stdout, stderr, status, err, want, "warning\n")
	}
}

func TestExecStatus(t *testing.T) {
	interrupted, cancel := context.WithCancelCause(t.Context())
	cancel(fmt.Errorf("%w by interrupt", errSignal))
	raised := &session.Response{SessionID: "s", Error: &session.CodeError{Name: "ValueError", Value: "no", Traceback: []string{"\x1b[31mTrace\x1b[0m", "ValueError: no"}}}
	for _, c := range []struct {
		name   string
		ctx    context.Context
		r      *session.Response
		err    error
		status int
		says   string
	}{
		{"done", nil, &session.Response{Success: true}, nil, 0, ""},
		{"raised", nil, raised, nil, 1, "Trace\nValueError: no\n"},
		{"raised without a traceback", nil, &session.Response{Error: &session.CodeError{Name: "E", Value: "v"}}, nil, 1, "E: v\n"},
		{"refused", nil, nil, &session.InvalidError{Field: "packages[1]", Reason: "no specifier"}, 2, ""},
		{"not found", nil, nil, fmt.Errorf("x: %w", session.ErrNotFound), 3, ""},
		{"expired", nil, nil, session.ErrExpired, 3, ""},
		{"dead", nil, &session.Response{SessionID: "s"}, session.ErrDead, 3, ""},
		{"install failed", nil, &session.Response{Error: &session.CodeError{Name: "InstallFailed", Value: "pip says no"}}, errors.New("pip says no"), 3, ""},
		{"time limit", nil, &session.Response{Stdout: "x"}, fmt.Errorf("y: %w", session.ErrTimeLimit), 124, ""},
		{"interrupted", interrupted, raised, context.Canceled, 130, "Trace\nValueError: no\n"},
		{"interrupted at once", interrupted, nil, context.Canceled, 130, ""},
		{"a file is missing", nil, &session.Response{Success: true, Files: map[string]session.Downloaded{"a": {Err: errors.New("no such file")}}}, nil, 3, ""},
		{"raised and a file is missing", nil, &session.Response{Error: raised.Error, Files: map[string]session.Downloaded{"a": {Err: errors.New("no")}}}, nil, 1, "Trace\nValueError: no\ngokernel: --download a: no\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx := c.ctx
			if ctx == nil {
				ctx = t.Context()
			}
			run := script(func(context.Context, session.Request) (*session.Response, error) { return c.r, c.err })
			_, stderr, status, err := performed(ctx, t, &execFlags{}, run)
			if status != c.status || stderr != c.says {
				t.Errorf("got status %d, %q on stderr (%v), want %d, %q", status, stderr, err, c.status, c.says)
			}
			out, stderr, status, _ := performed(ctx, t, &execFlags{json: true}, run)
			if status != c.status || stderr != "" {
				t.Errorf("with --json: got status %d, %q on stderr, want %d and nothing", status, stderr, c.status)
			}
			if c.status == exitUsage {
				if out != "" {
					t.Errorf("with --json: got %q after bad use, want nothing", out)
				}
				return
			}
			checkDocument(t, out, c.status)
		})
	}
}

// checkDocument checks that out is one document with all fields, and that its
// error is there when the code did not run to its end.
func checkDocument(t *testing.T, out string, status int) map[string]any {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(out))
	var document map[string]any
	if err := d.Decode(&document); err != nil {
		t.Fatalf("stdout is no document: %v\n%s", err, out)
	}
	if _, err := d.Token(); err != io.EOF {
		t.Fatalf("there is more than a document on stdout: %s", out)
	}
	want := strings.Fields("session_id success text stdout stderr results error files timing insights resources")
	for _, field := range want {
		if _, ok := document[field]; !ok {
			t.Errorf("the document has no %s: %s", field, out)
		}
	}
	if len(document) != len(want) {
		t.Errorf("got %d fields, want %d", len(document), len(want))
	}
	for _, list := range []string{"results", "insights"} {
		if _, ok := document[list].([]any); !ok {
			t.Errorf("%s is %v, want a list", list, document[list])
		}
	}
	if document["success"] == true && status == exitOK && document["error"] != nil {
		t.Errorf("got the error %v of what went well", document["error"])
	}
	if document["success"] == false {
		e, _ := document["error"].(map[string]any)
		if name, _ := e["name"].(string); name == "" {
			t.Errorf("got the error %v, want it to have a name", document["error"])
		}
		if _, ok := e["traceback"].([]any); !ok {
			t.Errorf("got the traceback %v, want a list", e["traceback"])
		}
	}
	return document
}

func TestExecDocument(t *testing.T) {
	out, stderr, status, err := performed(t.Context(), t, &execFlags{json: true, keep: true}, script(func(_ context.Context, r session.Request) (*session.Response, error) {
		if r.Stdout != nil || r.Stderr != nil || r.OnDisplay != nil {
			t.Error("output is to stream beside the document")
		}
		return &session.Response{
			SessionID: "s", Success: true, Text: "<b>", Stdout: "é\x00\n", Stderr: "w",
			Results: []session.Result{{Data: map[string]any{"text/plain": "<b>", "application/json": map[string]any{"a": 1}}, Metadata: map[string]any{}}},
			Files: map[string]session.Downloaded{
				"a": {Target: "/t/a", Size: 3}, "b": {Target: "/t/b", Err: errors.New("no such file")},
			},
			Timing:    session.Timing{Total: 2 * time.Millisecond, Stages: map[session.Stage]time.Duration{session.StageExecuting: 2 * time.Millisecond}},
			Insights:  []session.Insight{{Stage: session.StageExecuting, Finding: "f", Evidence: "e", Suggestion: "s"}},
			Resources: session.Resources{CPU: 1.5, PeakMemory: 7},
		}, nil
	}))
	if status != execNotRun || !strings.Contains(fmt.Sprint(err), "--download b: no such file") {
		t.Errorf("got status %d, %v, want it to name the file that is missing", status, err)
	}
	if stderr != "" {
		t.Errorf("got %q on stderr, want nothing", stderr)
	}
	checkDocument(t, out, status)
	var got, want any
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(`{"session_id": "s", "success": true, "text": "<b>", "stdout": "é\u0000\n", "stderr": "w",
		"results": [{"data": {"text/plain": "<b>", "application/json": {"a": 1}}, "metadata": {}}], "error": null,
		"files": {"a": {"target": "/t/a", "size": 3, "error": null}, "b": {"target": "/t/b", "size": 0, "error": "no such file"}},
		"timing": {"total_ms": 2, "stages": {"executing": 2}, "share": {"executing": 1}},
		"insights": [{"stage": "executing", "finding": "f", "evidence": "e", "suggestion": "s"}],
		"resources": {"cpu_seconds": 1.5, "peak_memory_bytes": 7}}`), &want); err != nil {
		t.Fatal(err)
	}
	if a, b := fmt.Sprint(got), fmt.Sprint(want); a != b {
		t.Errorf("got  %s\nwant %s", a, b)
	}
}

// The id of a session that stays is told, also when the code has raised.
func TestExecTellsSession(t *testing.T) {
	for _, c := range []struct {
		flags execFlags
		want  bool
	}{{execFlags{keep: true}, true}, {execFlags{}, false}, {execFlags{keep: true, session: "demo"}, false}} {
		_, stderr, _, _ := performed(t.Context(), t, &c.flags, script(func(context.Context, session.Request) (*session.Response, error) {
			return &session.Response{SessionID: "the-id", Error: &session.CodeError{Name: "E"}}, nil
		}))
		if got := slices.Contains(strings.Split(stderr, "\n"), "session the-id"); got != c.want {
			t.Errorf("%+v: stderr is %q, want the session in it: %v", c.flags, stderr, c.want)
		}
	}
}

func TestExecProgressModes(t *testing.T) {
	run := script(func(_ context.Context, r session.Request) (*session.Response, error) {
		if r.OnProgress != nil {
			r.OnProgress(session.Progress{RunID: "r", Stage: session.StageExecuting})
			fmt.Fprint(r.Stderr, "open")
			r.OnProgress(session.Progress{RunID: "r", Stage: session.StageCompleted, Elapsed: 5})
		}
		return &session.Response{Success: true}, nil
	})
	for mode, want := range map[string]string{
		"auto": "", "none": "", "plain": "executing  0.0s\nopen\ncompleted  0.0s\n",
		"json": `{"run_id":"r","stage":"executing","elapsed_ms":0}` + "\nopen\n" + `{"run_id":"r","stage":"completed","elapsed_ms":5}` + "\n",
	} {
		if _, stderr, _, _ := performed(t.Context(), t, &execFlags{progress: mode}, run); stderr != want {
			t.Errorf("%s: got %q, want %q", mode, stderr, want)
		}
	}
}

// The first signal ends the run's context, and what it returns then is shown;
// the second one does not wait for it.
func TestExecInterrupts(t *testing.T) {
	a := &app{signals: make(chan os.Signal, 4), stdout: io.Discard, stderr: io.Discard}
	screen := newScreen(io.Discard, io.Discard)
	ctx, again, stop := a.interrupts(t.Context(), screen)
	defer stop()
	e := &execution{app: a, flags: &execFlags{progress: "none"}, screen: screen, request: &session.Request{}, again: again}
	release, left := make(chan struct{}), make(chan struct{})
	err := e.perform(ctx, script(func(ctx context.Context, _ session.Request) (*session.Response, error) {
		defer close(left)
		a.signals <- os.Interrupt
		<-ctx.Done()
		a.signals <- os.Interrupt
		<-release // code that does not react
		return nil, ctx.Err()
	}))
	if got := exitStatus(err); got != exitSignal {
		t.Errorf("got status %d (%v), want %d", got, err, exitSignal)
	}
	close(release)
	<-left
}
