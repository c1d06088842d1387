//go:build unix

package agent

import (
	"fmt"
	"strings"
	"testing"

	"github.com/gokernel/gokernel/session/agent/agenttest"
	"github.com/gokernel/gokernel/session/wire"
)

// AGENT 6: acknowledgements move cursors: a new front begins after what was
// acknowledged, and with what was held back.
func TestCursorAndHeld(t *testing.T) {
	h := hold(t, t.TempDir(), nil)
	p := h.attach("a", wire.KernelOwner, wire.Cursor{})
	p.until("- status starting")
	p.execute("r1", "print one")
	p.until("r1 status idle")
	p.ack(p.frame("r1 execute_reply ok").Cursor)
	p.pumpCall()
	p.execute("r2", "print two")
	p.until("r2 status idle")
	p.drop()
	q := h.attach("b", wire.KernelOwner, wire.Cursor{})
	equal(t, q.until("r2 status idle"),
		"r1 execute_reply ok",
		"r2 status busy", "r2 execute_input", "r2 stream two", "r2 execute_reply ok", "r2 status idle")
	for i, f := range q.seen[1:] {
		if want := p.seen[len(p.seen)-len(q.seen)+1+i].MsgID(testID); f.MsgID(testID) != want {
			t.Errorf("frame %d came again as %s, want %s", i, f.MsgID(testID), want)
		}
	}
}

// AGENT 6: a front that re-dials goes on where it was, nothing twice.
func TestResume(t *testing.T) {
	h := hold(t, t.TempDir(), nil)
	p := h.attach("a", wire.KernelOwner, wire.Cursor{})
	p.until("- status starting")
	p.execute("r1", "print one")
	p.until("r1 stream one")
	p.drop()
	q := h.attach("a", wire.KernelOwner, p.frame("r1 stream one").Cursor)
	equal(t, q.until("r1 status idle"), "r1 execute_reply ok", "r1 status idle")
}

// AGENT 5: a front that does not read never blocks code, and misses nothing.
func TestSlowFrontNeverBlocksCode(t *testing.T) {
	dir := t.TempDir()
	h := hold(t, t.TempDir(), nil)
	p := h.attach("a", wire.KernelOwner, wire.Cursor{})
	p.until("- status starting")
	long := strings.Repeat("y", 100_000)
	var lines []string
	for i := range 60 {
		lines = append(lines, fmt.Sprintf("print %d%s", i, long))
	}
	p.execute("r1", append(lines, "touch "+dir+"/done")...)
	agenttest.WaitFile(dir + "/done") // 6 MB went out, nothing was read
	want := 0
	for _, l := range p.until("r1 status idle") {
		if strings.HasPrefix(l, "r1 stream") {
			if !strings.HasPrefix(l, fmt.Sprintf("r1 stream %dy", want)) {
				t.Fatalf("stream %d begins with %.30q", want, l)
			}
			want++
		}
	}
	if want != 60 {
		t.Errorf("%d lines came, want 60", want)
	}
}

// AGENT 2: the secret is checked; AGENT 5: hello negotiates.
func TestHelloIsChecked(t *testing.T) {
	h := hold(t, t.TempDir(), nil)
	if _, _, _, err := h.hello(wire.Hello{Link: "data", Front: "x", Owner: wire.KernelOwner, Secret: "wrong"}); err == nil || !strings.Contains(err.Error(), wire.CodeUnauthorized) {
		t.Errorf("hello with a wrong secret = %v, want it refused as %s", err, wire.CodeUnauthorized)
	}
	if _, _, _, err := h.hello(wire.Hello{Link: "sideways", Front: "x"}); err == nil || !strings.Contains(err.Error(), "sideways") {
		t.Errorf("hello on an unknown link = %v, want it refused by name", err)
	}
	if _, err := h.call("", "", "dance", nil); err == nil || !strings.Contains(err.Error(), "dance") {
		t.Errorf("call of an unknown method = %v, want an error that names it", err)
	}
}
