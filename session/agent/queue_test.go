package agent

import (
	"testing"

	"github.com/gokernel/gokernel/session/wire"
)

// AGENT 3: started, outputs, reply, done: busy, input, reply and idle are frames.
func TestExecuteOrder(t *testing.T) {
	h := hold(t, t.TempDir(), nil)
	p := h.attach("a", wire.KernelOwner, wire.Cursor{})
	p.until("- status starting")
	p.execute("r1", "print hello", "fail Oops")
	equal(t, p.until("r1 status idle"),
		"r1 status busy", "r1 execute_input", "r1 stream hello", "r1 error Oops", "r1 execute_reply error Oops", "r1 status idle")
	f := p.frame("r1 execute_reply error Oops")
	if got, want := string(f.Parent), `{"msg_id":"r1","extra":1}`; got != want {
		t.Errorf("parent = %s, want the request's header verbatim, %s", got, want)
	}
	if len(f.Identities) != 1 || string(f.Identities[0]) != "client of r1" {
		t.Errorf("identities = %q, want the request's", f.Identities)
	}
}

// AGENT 3: stop_on_error aborts what was sent before the error could be known,
// and runs what was sent after.
func TestStopOnErrorByNumber(t *testing.T) {
	h := hold(t, t.TempDir(), nil)
	p := h.attach("a", wire.KernelOwner, wire.Cursor{})
	p.until("- status starting")
	p.execute("r1", "fail Oops")
	p.execute("r2", "print no")
	p.request("c1", "complete_request", map[string]any{"code": "x", "cursor_pos": 1})
	p.until("r1 status idle")
	p.execute("r3", "print yes")
	equal(t, p.until("r3 status idle"),
		"r2 status busy", "r2 execute_reply aborted", "r2 status idle",
		"c1 status busy", "c1 complete_reply ok", "c1 status idle",
		"r3 status busy", "r3 execute_input", "r3 stream yes", "r3 execute_reply ok", "r3 status idle")
}
