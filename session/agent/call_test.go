//go:build unix

package agent

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/gokernel/gokernel/session/agent/agenttest"
	"github.com/gokernel/gokernel/session/wire"
)

// printed returns what the request with this id has printed.
func (p *peer) printed(id string) string {
	p.t.Helper()
	var b strings.Builder
	for _, f := range p.seen {
		if f.Request != id || f.MsgType != "stream" {
			continue
		}
		var c struct {
			Text string `json:"text"`
		}
		if err := json.Unmarshal(f.Content, &c); err != nil {
			p.t.Fatal(err)
		}
		b.WriteString(c.Text)
	}
	return b.String()
}

// asks runs a cell that calls its agent and returns what it prints.
func (p *peer) asks(id, call string) string {
	p.t.Helper()
	p.execute(id, "call "+call)
	p.until(id + " status idle")
	return p.printed(id)
}

func TestCodeAsksWhatItsSessionIs(t *testing.T) {
	h := hold(t, t.TempDir(), func(c *wire.Config) { c.Name = "work" })
	k := h.attach("k", wire.KernelOwner, wire.Cursor{})
	k.until("- status starting")
	var info wire.Info
	if err := json.Unmarshal([]byte(k.asks("r1", "- session {}")), &info); err != nil {
		t.Fatal(err)
	}
	if info.ID != testID || info.Name != "work" || info.State != wire.StateBusy || !info.Kept || info.Dir == "" {
		t.Errorf("got %+v, want what the session is", info)
	}
	var timing struct{ Runs []wire.RunRecord }
	if err := json.Unmarshal([]byte(k.asks("r2", "- timing {}")), &timing); err != nil {
		t.Fatal(err)
	}
	if n := len(timing.Runs); n != 2 || timing.Runs[0].ID != "r1" || timing.Runs[0].State != wire.RunDone || timing.Runs[1].State != wire.RunRunning {
		t.Fatalf("got runs %+v, want the one before and the one that runs", timing.Runs)
	}
	checkTiming(t, timing.Runs[0].Timing, wire.StageExecuting)
	for i := range 2 * maxTimed {
		k.execute(fmt.Sprintf("more%d", i), "print x")
	}
	if err := json.Unmarshal([]byte(k.asks("r3", "- timing {}")), &timing); err != nil {
		t.Fatal(err)
	}
	if n := len(timing.Runs); n != maxTimed || timing.Runs[n-1].ID != "r3" {
		t.Errorf("got %d runs, want the last %d", n, maxTimed)
	}
}

// AGENT 2: a runner's calls are taken for hostile.
func TestCallsAreRefused(t *testing.T) {
	h := hold(t, t.TempDir(), nil)
	k := h.attach("k", wire.KernelOwner, wire.Cursor{})
	k.until("- status starting")
	k.execute("done", "print x")
	k.until("done status idle")
	for i, test := range []struct{ call, want string }{
		{"done session {}", "only a request that runs"},
		{"nobody session {}", "only a request that runs"},
		{"- close {}", `"close" cannot be asked`},
		{"- session [", "no JSON object"},
		{"- session []", "no JSON object"},
		{"- session \xff", "no JSON object"},
		{"- install {}", "there are none"},
		{"- install {\"packages\":5}", "packages"},
		{"- install {\"packages\":[\"--help\"]}", "packages are not supported"},
		{"- install {\"packages\":[\"" + strings.Repeat("x", maxCallArgs) + "\"]}", "are too many"},
	} {
		got := k.asks(fmt.Sprintf("r%d", i), test.call)
		if !strings.HasPrefix(got, "refused: ") || !strings.Contains(got, test.want) {
			t.Errorf("%.40s: got %q, want it refused with %q", test.call, got, test.want)
		}
	}
	if len(k.reports) != 0 {
		t.Errorf("got %d reports of stages, want none", len(k.reports))
	}
	k.execute("some", "calls 20 session") // and the request ends before they are answered
	k.until("some execute_reply ok")
	k.execute("flood", "calls 100000 session", "wait "+t.TempDir()+"/never")
	k.until("flood execute_reply error KernelDied")
	k.until("flood status idle")
	if got := k.asks("last", "- session {}"); !strings.Contains(got, testID) {
		t.Errorf("got %q after a flood of calls, want what the session is", got)
	}
}

// AGENT 2: a runner that does not read what it has asked for holds nothing up.
func TestCallsOfADeafRunner(t *testing.T) {
	dir := t.TempDir()
	h := hold(t, t.TempDir(), nil)
	k := h.attach("k", wire.KernelOwner, wire.Cursor{})
	k.until("- status starting")
	k.execute("r1", "calls 20 timing", "deaf "+dir+"/deaf")
	agenttest.WaitFile(dir + "/deaf")
	if _, err := h.call("k", wire.KernelOwner, wire.CallRestart, nil); err != nil {
		t.Fatal(err)
	}
	k.until("r1 execute_reply aborted")
	if got := k.asks("r2", "- session {}"); !strings.Contains(got, testID) {
		t.Errorf("got %q from the next process, want what the session is", got)
	}
}
