//go:build unix

package agent

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/gokernel/gokernel/session/agent/agenttest"
	"github.com/gokernel/gokernel/session/wire"
)

// AGENT 7: the language process dies: error and reply with the cause in the
// running cell, queued executes aborted, restarting, a new process, starting.
func TestLanguageProcessDies(t *testing.T) {
	for _, test := range []struct{ code, cause string }{
		{"die 3", "exit status 3"},
		{"kill", "SIGKILL"},
		{"garbage", "SIGKILL"},
	} {
		t.Run(test.code, func(t *testing.T) {
			h := hold(t, t.TempDir(), nil)
			p := h.attach("a", wire.KernelOwner, wire.Cursor{})
			p.until("- status starting")
			p.execute("r1", "set x 1", "raw last words", test.code)
			p.execute("r2", "print no")
			p.request("c1", "complete_request", map[string]any{"code": "x"})
			equal(t, p.until("- status starting"),
				"r1 status busy", "r1 execute_input", "r1 stream last words", "r1 error KernelDied", "r1 execute_reply error KernelDied",
				"- status restarting", "- status starting")
			if got := string(p.frame("r1 error KernelDied").Content); !strings.Contains(got, test.cause) {
				t.Errorf("error = %s, want the cause %q in it", got, test.cause)
			}
			equal(t, p.until("c1 status idle"), "r1 status idle", "r2 status busy", "r2 execute_reply aborted", "r2 status idle",
				"c1 status busy", "c1 complete_reply ok", "c1 status idle")
			p.execute("r3", "get x", "print alive")
			p.until("r3 stream alive")
			p.until("r3 status idle")
			if got := string(p.frame("r3 execute_reply ok").Content); !strings.Contains(got, `"execution_count":1`) {
				t.Errorf("reply = %s, want the count to begin again", got)
			}
		})
	}
}

// AGENT 7: a death while nothing runs is told too.
func TestLanguageProcessDiesIdle(t *testing.T) {
	h := hold(t, t.TempDir(), nil)
	p := h.attach("a", wire.KernelOwner, wire.Cursor{})
	p.until("- status starting")
	p.execute("r1", "pid")
	p.until("r1 status idle")
	kill(t, strings.Fields(p.log[3])[2])
	equal(t, p.until("- status starting"), "- status restarting", "- status starting")
	p.execute("r2", "print alive")
	p.until("r2 stream alive")
}

// A restart aborts what runs and waits; files stay and the count begins again.
func TestRestart(t *testing.T) {
	dir := t.TempDir()
	h := hold(t, t.TempDir(), nil)
	p := h.attach("a", wire.KernelOwner, wire.Cursor{})
	p.until("- status starting")
	p.execute("r1", "set x 1", "wait "+dir+"/never")
	p.execute("r2", "print no")
	p.until("r1 execute_input")
	p.pump("r2")
	if _, err := h.call("a", wire.KernelOwner, wire.CallRestart, nil); err != nil {
		t.Fatal(err)
	}
	p.execute("r3", "get x", "print fresh")
	got := strings.Join(p.until("r3 status idle"), "\n")
	for _, want := range []string{"r1 status idle", "r2 execute_reply aborted", "- status restarting\n- status starting", "r3 stream fresh"} {
		if !strings.Contains(got, want) {
			t.Errorf("transcript:\n%s\nwant %q in it", got, want)
		}
	}
	if strings.Contains(got, "r2 stream") || strings.Contains(got, "KernelDied") {
		t.Errorf("transcript:\n%s\nwant r2 not run and no accident told", got)
	}
}

// AGENT 7: the agent dies: the running request gets AgentDied, queued ones are
// aborted, the journal stays and variables are gone.
func TestAgentDies(t *testing.T) {
	dir := t.TempDir()
	state := t.TempDir()
	died := holdChild(t, state, dir)
	p := died.attach("a", wire.KernelOwner, wire.Cursor{})
	p.until("- status starting")
	p.execute("r0", "print kept")
	p.until("r0 status idle")
	p.ack()
	p.pumpCall()
	p.execute("r1", "print before", "wait "+dir+"/never")
	p.execute("r2", "print no")
	p.request("c1", "complete_request", map[string]any{"code": "x"})
	p.until("r1 stream before")
	p.pump("c1")
	died.kill()

	h := hold(t, state, nil)
	q := h.attach("b", wire.KernelOwner, wire.Cursor{}) // the front died too
	equal(t, q.until("- status starting"),
		"r1 status busy", "r1 execute_input", "r1 stream before",
		"r1 error AgentDied", "r1 execute_reply error AgentDied", "r1 status idle",
		"r2 status busy", "r2 execute_reply aborted", "r2 status idle",
		"c1 status busy", "c1 complete_reply aborted", "c1 status idle",
		"- status restarting", "- status starting")
	if q.frame("r1 status busy").Epoch != 1 || q.frame("r1 status idle").Epoch != 2 {
		t.Errorf("epochs %d and %d, want 1 and 2", q.frame("r1 status busy").Epoch, q.frame("r1 status idle").Epoch)
	}
	// AGENT 4: the runs of before are remembered.
	raw, err := h.call("", "", wire.CallRuns, nil)
	if err != nil {
		t.Fatal(err)
	}
	var runs []wire.RunRecord
	if err := json.Unmarshal(raw, &runs); err != nil {
		t.Fatal(err)
	}
	if len(runs) != 3 || runs[0].ID != "r0" || runs[0].Stage != wire.StageCompleted || runs[0].Timing == nil ||
		runs[1].ID != "r1" || runs[1].Stage != wire.StageFailed || runs[1].State != wire.RunDone || runs[2].ID != "r2" {
		t.Errorf("got runs %+v, want r0 completed with its timing, r1 and r2 failed", runs)
	}
	// One first sent in the older epoch is never run.
	q.requestAt("r9", "execute_request", map[string]any{"code": "print no"}, q.last, 1)
	equal(t, q.until("r9 status idle"), "r9 status busy", "r9 execute_reply aborted", "r9 status idle")
	q.requestAt("r1", "execute_request", map[string]any{"code": "print no"}, q.last, 1)
	q.execute("r10", "print yes")
	equal(t, q.until("r10 status idle"), "r10 status busy", "r10 execute_input", "r10 stream yes", "r10 execute_reply ok", "r10 status idle")
}

// A language process that cannot be started is reported by each cell, with
// what it wrote; the agent lives.
func TestLanguageCannotStart(t *testing.T) {
	h := hold(t, t.TempDir(), func(c *wire.Config) { c.Env = append(c.Env, agenttest.FailStart+"=no module named life") })
	p := h.attach("a", wire.KernelOwner, wire.Cursor{})
	for _, id := range []string{"r1", "r2"} {
		p.execute(id, "print no")
		p.until(id + " status idle")
		got := string(p.frame(id + " error KernelNotStarted").Content)
		for _, want := range []string{"exit status 4", "no module named life"} {
			if !strings.Contains(got, want) {
				t.Errorf("error = %s, want %q in it", got, want)
			}
		}
	}
	if info := h.info(); info.State != wire.StateFailed || !strings.Contains(info.Failure, "no module named life") {
		t.Errorf("state %s with failure %q, want failed and why", info.State, info.Failure)
	}
}

// An interrupt while the language starts ends the cell, not the process.
func TestInterruptWhileStarting(t *testing.T) {
	dir := t.TempDir()
	h := hold(t, t.TempDir(), func(c *wire.Config) { c.Env = append(c.Env, agenttest.SlowStart+"="+dir+"/go") })
	p := h.attach("a", wire.KernelOwner, wire.Cursor{})
	p.execute("r1", "print no")
	p.until("r1 status busy")
	if _, err := h.call("a", wire.KernelOwner, wire.CallInterrupt, nil); err != nil {
		t.Fatal(err)
	}
	p.until("r1 execute_reply error KeyboardInterrupt")
	touch(t, dir+"/go")
	p.execute("r2", "print yes")
	p.until("r2 stream yes")
}

// A pipe that nobody reads is emptied by the agent: a library may write with
// the interpreter's lock held.
func TestFullPipeIsEmptied(t *testing.T) {
	h := hold(t, t.TempDir(), nil)
	p := h.attach("a", wire.KernelOwner, wire.Cursor{})
	p.until("- status starting")
	p.execute("r1", "flood 5000000", "print end")
	p.until("r1 stream end")
	n := 0
	for _, f := range p.seen {
		if f.MsgType == "stream" {
			n += strings.Count(string(f.Content), "x") // the content has no other x
		}
	}
	if n < 5_000_000-(2<<20) { // the pipe, and a buffer on its way
		t.Errorf("%d bytes came before the code went on, want all but what fits in the pipe", n)
	}
}
