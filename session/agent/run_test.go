//go:build unix

package agent

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/gokernel/gokernel/session/wire"
)

// result returns the result of a run, from the metadata of the reply whose
// transcript line is given.
func (p *peer) result(line string) *wire.RunResult {
	p.t.Helper()
	var metadata map[string]json.RawMessage
	f := p.frame(line)
	if err := json.Unmarshal(f.Metadata, &metadata); err != nil {
		p.t.Fatalf("metadata %s: %v", f.Metadata, err)
	}
	result := new(wire.RunResult)
	if err := json.Unmarshal(metadata[wire.RunKey], result); err != nil {
		p.t.Fatalf("metadata %s: %v", f.Metadata, err)
	}
	return result
}

// checkTiming checks that the stages add up to the whole.
func checkTiming(t *testing.T, got *wire.Timing, want ...wire.Stage) {
	t.Helper()
	var sum time.Duration
	for _, d := range got.Stages {
		sum += d
	}
	if diff := got.Total - sum; diff < -time.Millisecond || diff > time.Millisecond {
		t.Errorf("stages %v add up to %v, want %v", got.Stages, sum, got.Total)
	}
	for _, stage := range want {
		if got.Stages[stage] <= 0 {
			t.Errorf("got stages %v, want %s among them", got.Stages, stage)
		}
	}
}

// peers D12: every reply says where the time went, also one of code that fails,
// and a cell that asks for nothing gets nothing more than that.
func TestReplyCarriesTiming(t *testing.T) {
	h := hold(t, t.TempDir(), nil)
	k := h.attach("k", wire.KernelOwner, wire.Cursor{})
	k.until("- status starting")
	k.execute("r1", "print 1")
	equal(t, k.until("r1 status idle"),
		"r1 status busy", "r1 execute_input", "r1 stream 1", "r1 execute_reply ok", "r1 status idle")
	result := k.result("r1 execute_reply ok")
	checkTiming(t, &result.Timing, wire.StageExecuting)
	if result.SessionID != testID || result.Timing.Failed != "" || result.Resources != nil {
		t.Errorf("got %+v, want the session's id, no failed stage and no resources of a cell", result)
	}
	k.execute("r2", "fail ScriptError")
	k.until("r2 status idle")
	failed := k.result("r2 execute_reply error ScriptError")
	checkTiming(t, &failed.Timing, wire.StageExecuting)
	if failed.Timing.Failed != wire.StageExecuting {
		t.Errorf("got failed stage %q, want executing", failed.Timing.Failed)
	}
}

// What a run's caller spent before it sent the run is a part of the timing, and
// its stages are reported.
func TestRunTiming(t *testing.T) {
	h := hold(t, t.TempDir(), nil)
	run := h.attach("f", "run-1", wire.Cursor{})
	run.execute("warm", "print warm") // the language process is up then
	run.until("warm status idle")
	run.reports = nil
	run.run("run-1", wire.Run{Spent: map[wire.Stage]time.Duration{wire.StageInitializing: 7 * time.Second}}, "print 1")
	equal(t, run.until("run-1 status idle"),
		"run-1 status busy", "run-1 execute_input", "run-1 stream 1", "run-1 execute_reply ok", "run-1 status idle")
	result := run.result("run-1 execute_reply ok")
	checkTiming(t, &result.Timing, wire.StageInitializing, wire.StageConnecting, wire.StageExecuting)
	if got := result.Timing.Stages[wire.StageInitializing]; got != 7*time.Second || result.Resources == nil {
		t.Errorf("got %v and resources %v, want the 7 s that the caller said and what was used", got, result.Resources)
	}
	var stages []wire.Stage
	for _, f := range run.reports {
		var p wire.Progress
		if err := json.Unmarshal(f.Content, &p); err != nil {
			t.Fatal(err)
		}
		stages = append(stages, p.Stage)
		if p.Percent != nil || p.Remaining != nil || p.RunID != "run-1" || p.Elapsed < 7000 {
			t.Errorf("got %s, want no made-up numbers (peers D11) and the time since the caller began", f.Content)
		}
	}
	if len(stages) != 2 || stages[0] != wire.StageExecuting || stages[1] != wire.StageCompleted || run.reports[0].MsgType != wire.MsgProgressFirst {
		t.Errorf("got stages %v, want executing and completed", stages)
	}
}

func TestWithResult(t *testing.T) {
	a := &Agent{}
	for _, c := range []struct{ in, want string }{
		{"", `{"gokernel":`}, {"{}", `{"gokernel":`}, {" { } ", `{"gokernel":`}, {`{"a":{}}`, `{"a":{},"gokernel":`},
	} {
		got := a.withResult([]byte(c.in), &wire.RunResult{SessionID: "s"})
		if !strings.HasPrefix(string(got), c.want) || !json.Valid(got) {
			t.Errorf("%q: got %s, want it to begin with %s and be JSON", c.in, got, c.want)
		}
	}
}

func TestWrongRunIsRefused(t *testing.T) {
	h := hold(t, t.TempDir(), nil)
	k := h.attach("k", wire.KernelOwner, wire.Cursor{})
	k.until("- status starting")
	for id, c := range map[string]struct {
		spec any
		want string
	}{
		"a": {map[string]any{"files": map[string]any{"x": map[string]any{"path": "/etc/passwd"}}}, "base64"},
		"b": {map[string]any{"packages": "numpy"}, ".packages"},
		"c": {map[string]any{"nonsense": 1}, "nonsense"},
		"d": {map[string]any{"cwd": "/"}, ".cwd"},
		"e": {map[string]any{"limit": 1}, ".limit"},
		"f": {map[string]any{"manifest": []any{}}, ".manifest"},
		"g": {map[string]any{"progress": "loud"}, ".progress"},
		"h": {map[string]any{"env": map[string]string{"A=B": "c"}}, ".env"},
		"i": {"text", "gokernel"},
		"j": {map[string]any{"pull": true}, ".pull"},
		"k": {map[string]any{"files": map[string]any{"/etc/passwd": "x"}}, ".files: \\\"/etc/passwd\\\": it is absolute"},
		"l": {map[string]any{"files": map[string]any{"a/../../b": "x"}}, ".files: \\\"a/../../b\\\""},
		"m": {map[string]any{"files": map[string]any{"fine": "x", "bad": 5}}, ".files: \\\"bad\\\": the content"},
		"n": {map[string]any{"files": []string{"/etc/passwd"}}, ".files: a array is not what belongs there, an object"},
		"o": {map[string]any{"downloads": []string{"ok", "../x"}}, ".downloads[1]: \\\"../x\\\""},
		"p": {map[string]any{"downloads": "x"}, ".downloads: a string is not what belongs there, a list"},
		"q": {map[string]any{"env": map[string]string{"A": "b\x00c"}}, ".env"},
		"r": {map[string]any{"env": map[string]any{"A": 5}}, ".env"},
		"s": {map[string]any{"packages": []string{"--index-url=x"}}, ".packages[0]"},
		"t": {map[string]any{"files": map[string]any{"x": map[string]any{"base64": "%%"}}}, ".files: \\\"x\\\""},
	} {
		metadata, err := json.Marshal(map[string]any{"mine": 1, wire.RunKey: c.spec})
		if err != nil {
			t.Fatal(err)
		}
		k.requestWith(id, "execute_request", metadata, map[string]any{"code": "print never"}, k.last, k.epoch)
		out := k.until(id + " status idle")
		want := id + " execute_reply error InvalidRequest"
		if out[len(out)-2] != want {
			t.Errorf("got %q, want %q", out, want)
			continue
		}
		if content := string(k.frame(want).Content); !strings.Contains(content, c.want) {
			t.Errorf("got %s, want %q in it", content, c.want)
		}
	}
}

// peers D4, D16: a time limit ends a run wherever it stands, and nothing else.
func TestTimeLimit(t *testing.T) {
	dir := t.TempDir()
	h := hold(t, t.TempDir(), nil)
	run := h.attach("f", "run-1", wire.Cursor{})
	limited := wire.Run{Limit: 300 * time.Millisecond}
	run.execute("warm", "print warm") // the language process is up then
	run.until("warm status idle")

	run.run("x1", limited, "print before", "wait "+dir+"/never")
	run.until("x1 execute_reply error KeyboardInterrupt")
	if !run.result("x1 execute_reply error KeyboardInterrupt").TimeLimit {
		t.Error("got no time limit in the result of a run that was interrupted at its limit")
	}

	run.run("x2", wire.Run{}, "set x 1", "wait "+dir+"/go")
	run.until("x2 execute_input")
	run.run("x3", limited, "print never")
	run.until("x3 execute_reply error TimeLimit")
	touch(t, dir+"/go")
	run.until("x2 execute_reply ok")
	run.run("x4", limited, "get x")
	run.until("x4 stream 1")
	run.until("x4 execute_reply ok")

	run.run("x5", limited, "spin")
	run.until("x5 execute_reply error TimeLimit")
	if !run.result("x5 execute_reply error TimeLimit").TimeLimit {
		t.Error("got no time limit in the result of a run whose process was ended")
	}
	run.execute("x6", "print still here")
	run.until("x6 execute_reply ok")
}

// A run that is new begins at the end of the journal, one that is looked for
// again at what there is of it.
func TestFreshRun(t *testing.T) {
	h := hold(t, t.TempDir(), nil)
	run := h.attach("f", "run-1", wire.Cursor{})
	run.execute("x1", "print 1")
	run.until("x1 status idle")
	again := h.attach("g", "run-1", wire.Cursor{})
	again.until("x1 stream 1")
	conn, r, w, err := h.hello(wire.Hello{Link: "data", Front: "h", Owner: "run-1", Fresh: true})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if w.Start.Before(run.last) {
		t.Errorf("got a start at %v, want it at or after %v", w.Start, run.last)
	}
	run.execute("x2", "print 2")
	if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	packet, err := r.Read()
	if err != nil {
		t.Fatal(err)
	}
	if f, err := wire.ParseFrame(packet); err != nil || f.Request != "x2" {
		t.Errorf("got %+v and %v, want the first frame of x2", f, err)
	}
}

// AGENT 4: what was run is remembered: waiting, running and done.
func TestRuns(t *testing.T) {
	dir := t.TempDir()
	h := hold(t, t.TempDir(), nil)
	k := h.attach("k", wire.KernelOwner, wire.Cursor{})
	run := h.attach("f", "run-2", wire.Cursor{})
	k.execute("r1", "fail ScriptError")
	k.until("r1 status idle")
	run.run("run-2", wire.Run{}, "wait "+dir+"/go")
	run.until("run-2 execute_input")
	run.execute("x3", "print 3")
	run.pump("x3")
	raw, err := h.call("", "", wire.CallRuns, nil)
	if err != nil {
		t.Fatal(err)
	}
	touch(t, dir+"/go")
	run.until("x3 status idle")
	var got []wire.RunRecord
	if err := json.Unmarshal(raw, &got); err != nil {
		t.Fatal(err)
	}
	want := []struct {
		id    string
		owner string
		state wire.RunState
		stage wire.Stage
	}{
		{"r1", wire.KernelOwner, wire.RunDone, wire.StageFailed},
		{"run-2", "run-2", wire.RunRunning, wire.StageExecuting},
		{"x3", "run-2", wire.RunQueued, wire.StageConnecting},
	}
	if len(got) != len(want) {
		t.Fatalf("got %d runs, want %d", len(got), len(want))
	}
	for i, w := range want {
		if g := got[i]; g.ID != w.id || g.Owner != w.owner || g.State != w.state || g.Stage != w.stage {
			t.Errorf("got %+v, want %+v", g, w)
		}
	}
	if got[0].Timing == nil || got[0].Timing.Failed != wire.StageExecuting {
		t.Errorf("got timing %+v, want one that names the stage", got[0].Timing)
	}
}
