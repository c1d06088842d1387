//go:build unix

package python_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/gokernel/gokernel/session/runner/runnertest"
)

var aSession = map[string]any{
	"id": "0f0e", "name": "work", "language": "python", "languages": []string{"python", "javascript"}, "state": "busy",
	"kept": true, "expires": "2026-03-04T05:06:07.123456789Z", "isolation": "process", "dir": "/srv/work", "queued": 2,
	"memory": 84_250_000, "cpu_seconds": 12.345, "packages": []string{"six==1.16", "numpy==2.1.0"},
}

// called runs a cell that makes one call, which is answered.
func called(t *testing.T, r *runnertest.Runner, code, method, failure string, content any) (runnertest.Message, runnertest.Result) {
	t.Helper()
	id := r.BeginExecute(code)
	call := r.Called()
	if call.Method != method || call.ID != id {
		t.Errorf("%s: got %v for %q, want %s for %q", code, call.Method, call.ID, method, id)
	}
	r.Result(call, failure, content)
	return call, r.Finish(id)
}

func TestMagicsOfTheSession(t *testing.T) {
	each(t, func(t *testing.T, s shell) {
		r := runnertest.Start(t, s.cmd)
		_, got := called(t, r, "%session", "session", "", aSession)
		for _, want := range []string{
			`0f0e "work"`, "busy, 2 waiting, kept, closed at 2026-03-0", "python (and javascript)", "/srv/work",
			"12.3 s of processor time, 84.2 MB of memory", "numpy 2.1.0, six 1.16", "process",
		} {
			if text := got.Text("stdout"); !strings.Contains(text, want) {
				t.Errorf("got %q, want %q in it", text, want)
			}
		}
		_, got = called(t, r, "%session", "session", "", map[string]any{"id": "x", "language": "python", "state": "idle", "kept": false})
		if text := got.Text("stdout"); !strings.Contains(text, "idle, ends with its kernel") || !strings.Contains(text, "none of its own") {
			t.Errorf("got %q", text)
		}
		if _, got = called(t, r, "%session", "session", "out of order", nil); got.Reply["ename"] != "SessionError" || got.Reply["evalue"] != "out of order" {
			t.Errorf("got %v, want the agent's reason", got.Reply)
		}
		if got := r.Execute("%session close"); got.Reply["ename"] != "SessionError" || !strings.Contains(fmt.Sprint(got.Reply["evalue"]), "restart only") {
			t.Errorf("got %v, want what it knows", got.Reply)
		}
		if text := r.Must("1").Value(); text != "1" {
			t.Errorf("got %q from the next cell, want 1", text)
		}

		_, got = called(t, r, "%packages", "session", "", aSession)
		if text := got.Text("stdout"); text != "numpy 2.1.0\nsix 1.16\n" {
			t.Errorf("got %q, want the packages in order", text)
		}
		_, got = called(t, r, "%packages", "session", "", map[string]any{"packages": nil})
		if text := got.Text("stdout"); !strings.Contains(text, "no packages") {
			t.Errorf("got %q, want that there are none", text)
		}

		runs := map[string]any{"runs": []any{
			map[string]any{"id": "a", "owner": "kernel", "state": "done", "created": "2026-03-04T05:06:07+01:00", "timing": map[string]any{
				"total_ms": 4000.5, "stages": map[string]any{"executing": 1000.125, "installing": 3000.375},
				"share": map[string]any{"executing": 0.25, "installing": 0.75},
			}},
			map[string]any{"id": "b", "owner": "b", "state": "done", "created": "2026-03-04T05:06:07.5Z", "timing": map[string]any{
				"total_ms": 125000, "stages": map[string]any{"uploading": 125000}, "share": map[string]any{"uploading": 1}, "failed_stage": "uploading",
			}},
			map[string]any{"id": "c", "owner": "kernel", "state": "running", "created": "2026-03-04T05:06:08Z"},
		}}
		_, got = called(t, r, "%timing", "timing", "", runs)
		text := got.Text("stdout")
		for _, want := range []string{"cell     4.00 s  installing 3.00 s (75 %), executing 1.00 s (25 %)\n", "run   2 min 5 s  uploading 2 min 5 s (100 %), failed while uploading\n"} {
			if !strings.Contains(text, want) {
				t.Errorf("got %q, want %q in it", text, want)
			}
		}
		if strings.Count(text, "\n") != 3 {
			t.Errorf("got %q, want a title and those that are done", text)
		}
		_, got = called(t, r, "%timing 1", "timing", "", runs)
		if text := got.Text("stdout"); strings.Count(text, "\n") != 2 || !strings.Contains(text, "uploading") {
			t.Errorf("got %q, want the last one", text)
		}
		_, got = called(t, r, "%timing", "timing", "", map[string]any{})
		if text := got.Text("stdout"); !strings.Contains(text, "No cell") {
			t.Errorf("got %q", text)
		}
		for _, bad := range []string{"%timing 0", "%timing 21", "%timing last"} {
			if got := r.Execute(bad); got.Reply["ename"] != "SessionError" {
				t.Errorf("%s: got %v, want an error", bad, got.Reply)
			}
		}
	})
}

func TestPackagesMagicInstalls(t *testing.T) {
	each(t, func(t *testing.T, s shell) {
		r := runnertest.Start(t, s.cmd)
		call, got := called(t, r, "%packages numpy 'pandas>=2,<3'", "install", "", map[string]any{"installed": []string{"numpy==2.1.0", "json==1"}})
		if want := "map[packages:[numpy pandas>=2,<3]]"; fmt.Sprint(call.Content) != want {
			t.Errorf("got arguments %v, want %s", call.Content, want)
		}
		if text := got.Text("stdout"); text != "Installed numpy 2.1.0, json 1.\n" {
			t.Errorf("got %q, want what was installed", text)
		}
		_, got = called(t, r, "%packages six", "install", "", map[string]any{"installed": nil})
		if text := got.Text("stdout"); !strings.Contains(text, "there already") {
			t.Errorf("got %q, want that it is there", text)
		}
		_, got = called(t, r, "%packages nosuch", "install", "pip: no matching distribution\nfor nosuch", nil)
		trace := plainText(fmt.Sprint(got.Find("error")["traceback"]))
		if got.Reply["ename"] != "InstallError" || !strings.Contains(trace, "for nosuch") || strings.Contains(trace, "gokernel_runner") {
			t.Errorf("got %v with %s, want the installer's output and nothing of ours", got.Reply, trace)
		}
		for _, bad := range []string{"%packages --upgrade six", "%packages six -r x"} {
			if got := r.Execute(bad); got.Reply["ename"] != "InstallError" {
				t.Errorf("%s: got %v, want an error", bad, got.Reply)
			}
		}
		if got := r.Execute("%packages 'six"); got.Reply["ename"] != "ValueError" {
			t.Errorf("got %v, want an error for an open quote", got.Reply)
		}
	})
}

// TestCallIsInterrupted: a cell that waits for the agent can be interrupted, and what
// the agent answers later disturbs nothing.
func TestCallIsInterrupted(t *testing.T) {
	each(t, func(t *testing.T, s shell) {
		r := runnertest.Start(t, s.cmd)
		id := r.BeginExecute("%packages slow")
		first := r.Called()
		r.Interrupt(id)
		if got := r.Finish(id); got.Reply["ename"] != "KeyboardInterrupt" {
			t.Fatalf("got %v, want KeyboardInterrupt", got.Reply)
		}
		r.Result(first, "given up", nil)
		id = r.BeginExecute("%session")
		second := r.Called()
		if second.Call == first.Call {
			t.Errorf("got call %d twice", first.Call)
		}
		r.Result(first, "", map[string]any{"id": "stale"})
		r.Result(second, "", aSession)
		if got := r.Finish(id).Text("stdout"); !strings.Contains(got, "0f0e") || strings.Contains(got, "stale") {
			t.Errorf("got %q, want the answer to the second call", got)
		}
	})
}

// TestWhoMayCall: a thread of the cell that runs, one at a time; nobody else.
func TestWhoMayCall(t *testing.T) {
	each(t, func(t *testing.T, s shell) {
		r := runnertest.Start(t, s.cmd)
		r.Must(`import gc, os, threading
from gokernel_runner.calls import Calls, Refused
calls = next(o for o in gc.get_objects() if isinstance(o, Calls))
def ask(out):
    try: out.append(calls.call('session', {})['id'])
    except Refused as err: out.append(str(err))`)
		id := r.BeginExecute("a, b = [], []\nts = [threading.Thread(target=ask, args=(x,)) for x in (a, b)]\nfor t in ts: t.start()\nfor t in ts: t.join()\na + b")
		for i := range 2 {
			call := r.Called()
			r.Result(call, "", map[string]any{"id": fmt.Sprint("answer ", i)})
		}
		if got := r.Finish(id).Value(); !strings.Contains(got, "answer 0") || !strings.Contains(got, "answer 1") {
			t.Errorf("got %s, want both answers", got)
		}
		r.Must("go, out = threading.Event(), []\ndef late(): go.wait(); ask(out)\nt = threading.Thread(target=late); t.start()")
		if got := r.Must("go.set(); t.join(); out").Value(); !strings.Contains(got, "only a cell that runs") {
			t.Errorf("got %s from a thread of an earlier cell, want it refused", got)
		}
		if got := r.Must("r, w = os.pipe()\nif not os.fork():\n    out = []; ask(out); os.write(w, out[0].encode()); os._exit(0)\nos.wait(); os.read(r, 100)").Value(); !strings.Contains(got, "forked child") {
			t.Errorf("got %s from a forked child, want it refused", got)
		}
	})
}

func TestMagicsAreExplained(t *testing.T) {
	each(t, func(t *testing.T, s shell) {
		r := runnertest.Start(t, s.cmd)
		for name, want := range map[string]string{
			"session": "what this session is", "packages": "the session's own folder", "timing": "where the time", "pip": "Run pip",
		} {
			asked := []string{"%" + name + "?", "?%" + name}
			if s.plain { // IPython shows the source
				asked = append(asked, "%"+name+"??")
			}
			for _, code := range asked {
				payload := fmt.Sprint(r.Must(code).Reply["payload"])
				if !strings.Contains(strings.ToLower(plainText(payload)), strings.ToLower(want)) {
					t.Errorf("%s: got %s, want %q in it", code, payload, want)
				}
			}
			got := r.Request("inspect_request", map[string]any{"code": "%" + name + " x", "cursor_pos": 3, "detail_level": 0}).Reply
			if got["found"] != true || !strings.Contains(strings.ToLower(plainText(fmt.Sprint(got["data"]))), strings.ToLower(want)) {
				t.Errorf("inspect of %%%s: got %v, want %q in it", name, got, want)
			}
			completes(name, "%"+name[:3], "%"+name, "%"+name[:3]).run(t, r)
		}
		if !s.plain {
			return
		}
		if got := fmt.Sprint(r.Must("session = 5\nsession?").Reply["payload"]); !strings.Contains(got, "int") {
			t.Errorf("got %s, want what the variable is", got)
		}
		if got := fmt.Sprint(r.Must("%session?").Reply["payload"]); !strings.Contains(got, "what this session is") {
			t.Errorf("got %s, want what the magic is", got)
		}
		for _, code := range []string{"%%time?", "%cd?", "%%bash?", "timing?"} {
			if got := fmt.Sprint(r.Must(code).Reply["payload"]); !strings.Contains(got, "page") {
				t.Errorf("%s: got %s, want a page", code, got)
			}
		}
		completes("cell magic", "%%ti", "%%timeit", "%%ti").run(t, r)
		if got := r.Must("x = 7\nx %5\n").Value(); got != "2" {
			t.Errorf("got %s, want 2", got)
		}
		completes("what is no magic", "y = (x\n%isins", "isinstance", "isins").run(t, r)
	})
}
