//go:build unix

package agent

import (
	"os"
	"strings"
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

// AGENT 3: requests of all types are performed strictly in order.
func TestQueueIsStrictlyInOrder(t *testing.T) {
	dir := t.TempDir()
	h := hold(t, t.TempDir(), nil)
	p := h.attach("a", wire.KernelOwner, wire.Cursor{})
	p.until("- status starting")
	p.execute("r1", "wait "+dir+"/go", "print one")
	p.request("c1", "complete_request", map[string]any{"code": "x"})
	p.request("m1", "comm_msg", map[string]any{"comm_id": "c"})
	p.execute("r2", "print two")
	p.until("r1 execute_input")
	touch(t, dir+"/go")
	equal(t, p.until("r2 status idle"),
		"r1 stream one", "r1 execute_reply ok", "r1 status idle",
		"c1 status busy", "c1 complete_reply ok", "c1 status idle",
		"m1 status busy", "m1 status idle",
		"r2 status busy", "r2 execute_input", "r2 stream two", "r2 execute_reply ok", "r2 status idle")
}

// AGENT 3: interrupt hits what runs; what waits behind it follows stop_on_error.
func TestInterruptOfKernel(t *testing.T) {
	dir := t.TempDir()
	h := hold(t, t.TempDir(), nil)
	p := h.attach("a", wire.KernelOwner, wire.Cursor{})
	p.until("- status starting")
	p.execute("r1", "wait "+dir+"/never")
	p.execute("r2", "print no")
	p.request("r3", "execute_request", map[string]any{"code": "print no", "stop_on_error": false})
	p.until("r1 execute_input")
	if _, err := h.call("a", wire.KernelOwner, wire.CallInterrupt, nil); err != nil {
		t.Fatal(err)
	}
	equal(t, p.until("r3 status idle"),
		"r1 error KeyboardInterrupt", "r1 execute_reply error KeyboardInterrupt", "r1 status idle",
		"r2 status busy", "r2 execute_reply aborted", "r2 status idle",
		"r3 status busy", "r3 execute_reply aborted", "r3 status idle")
	if _, err := h.call("a", wire.KernelOwner, wire.CallInterrupt, nil); err != nil {
		t.Errorf("interrupt of an idle session = %v, want nil", err)
	}
	p.execute("r4", "print yes")
	p.until("r4 execute_reply ok")
}

// AGENT 3: a run's interrupt hits only that run, or takes it out of the queue.
func TestInterruptOfRun(t *testing.T) {
	dir := t.TempDir()
	h := hold(t, t.TempDir(), nil)
	k := h.attach("k", wire.KernelOwner, wire.Cursor{})
	k.until("- status starting")
	run := h.attach("f", "run-1", wire.Cursor{})
	k.execute("r1", "wait "+dir+"/go")
	k.until("r1 execute_input")
	run.execute("x1", "print no")
	run.pump("x1")
	if _, err := h.call("f", "run-1", wire.CallInterrupt, nil); err != nil {
		t.Fatal(err)
	}
	equal(t, run.until("x1 status idle"), "x1 status busy", "x1 execute_reply aborted", "x1 status idle")
	touch(t, dir+"/go")
	k.until("r1 execute_reply ok")
	run.execute("x2", "wait "+dir+"/never")
	run.until("x2 execute_input")
	k.execute("r2", "print yes")
	if _, err := h.call("f", "run-1", wire.CallInterrupt, nil); err != nil {
		t.Fatal(err)
	}
	run.until("x2 execute_reply error KeyboardInterrupt")
	k.until("r2 execute_reply ok")
}

// AGENT 3: outputs of a run go to its issuer only; the kernel beside it shows
// busy and counts on.
func TestRunBesideKernel(t *testing.T) {
	h := hold(t, t.TempDir(), nil)
	k := h.attach("k", wire.KernelOwner, wire.Cursor{})
	k.until("- status starting")
	k.execute("r1", "set x 1")
	k.until("r1 status idle")
	run := h.attach("f", "run-1", wire.Cursor{})
	run.execute("x1", "get x")
	equal(t, run.until("x1 status idle"), "x1 status busy", "x1 execute_input", "x1 stream 1", "x1 execute_reply ok", "x1 status idle")
	equal(t, k.until("- status idle"), "- status busy", "- status idle")
	k.execute("r2", "get x")
	k.until("r2 status idle")
	if got, want := string(k.frame("r2 execute_reply ok").Content), `"execution_count":3`; !strings.Contains(got, want) {
		t.Errorf("reply = %s, want %s in it: the count is shared", got, want)
	}
}

// AGENT 3: a newer kernel fences off the older; what the older had queued
// belongs to the newer.
func TestNewerKernelFencesOlder(t *testing.T) {
	dir := t.TempDir()
	h := hold(t, t.TempDir(), nil)
	older := h.attach("older", wire.KernelOwner, wire.Cursor{})
	older.until("- status starting")
	older.execute("r1", "wait "+dir+"/go", "print one")
	older.execute("r2", "print two")
	older.request("c1", "complete_request", map[string]any{"code": "x"})
	older.until("r1 execute_input")
	older.pump("c1")
	older.ack()
	newer := h.attach("newer", wire.KernelOwner, wire.Cursor{})
	if got, want := older.untilEnd(), "fenced"; got != want {
		t.Errorf("the older kernel was told %q, want %q", got, want)
	}
	if _, err := h.tryAttach("older", wire.KernelOwner, older.last); err == nil || !strings.Contains(err.Error(), wire.CodeFenced) {
		t.Errorf("the older kernel attaching again = %v, want it refused as %s", err, wire.CodeFenced)
	}
	touch(t, dir+"/go")
	newer.until("r1 stream one")
	newer.until("r1 status idle")
	newer.until("r2 stream two")
	newer.until("r2 status idle")
}

// AGENT 4: a command sent again is recognised by its id and not run twice; one
// first sent in an older epoch is never run.
func TestRequestSentAgain(t *testing.T) {
	h := hold(t, t.TempDir(), nil)
	p := h.attach("a", wire.KernelOwner, wire.Cursor{})
	p.until("- status starting")
	p.execute("r1", "print once")
	p.execute("r1", "print once")
	p.execute("r2", "print end")
	got := p.until("r2 status idle")
	equal(t, got, "r1 status busy", "r1 execute_input", "r1 stream once", "r1 execute_reply ok", "r1 status idle",
		"r2 status busy", "r2 execute_input", "r2 stream end", "r2 execute_reply ok", "r2 status idle")
	p.pump("r1")
}

// AGENT 3: input goes to the asking origin, and the first answer wins.
func TestInput(t *testing.T) {
	h := hold(t, t.TempDir(), nil)
	p := h.attach("a", wire.KernelOwner, wire.Cursor{})
	p.until("- status starting")
	p.execute("r1", "input name?")
	p.until("r1 input_request")
	f := p.frame("r1 input_request")
	if f.Channel != "stdin" || len(f.Identities) != 1 || string(f.Identities[0]) != "client of r1" {
		t.Errorf("prompt on %s to %q, want stdin and the request's address", f.Channel, f.Identities)
	}
	p.send(wire.InputReply{Type: wire.TypeInputReply, Prompt: wire.Cursor{Epoch: 1, Number: 9999}}, []byte(`{"value":"of no prompt"}`))
	p.send(wire.InputReply{Type: wire.TypeInputReply, Prompt: f.Cursor}, []byte(`{"value":"first"}`))
	p.send(wire.InputReply{Type: wire.TypeInputReply, Prompt: f.Cursor}, []byte(`{"value":"second"}`))
	p.until("r1 stream got first")
	p.until("r1 status idle")
}

// AGENT 3: a prompt that nobody has answered is offered to the next front, the
// same frame.
func TestPromptIsOfferedAgain(t *testing.T) {
	h := hold(t, t.TempDir(), nil)
	p := h.attach("a", wire.KernelOwner, wire.Cursor{})
	p.until("- status starting")
	p.execute("r1", "input name?")
	p.until("r1 input_request")
	p.ack()
	p.pumpCall()
	p.drop()
	q := h.attach("b", wire.KernelOwner, wire.Cursor{})
	equal(t, q.until("r1 input_request"), "r1 status busy", "r1 input_request")
	f := q.frame("r1 input_request")
	if f.Cursor != p.frame("r1 input_request").Cursor {
		t.Errorf("the prompt came again as frame %v, want %v", f.Cursor, p.frame("r1 input_request").Cursor)
	}
	q.send(wire.InputReply{Type: wire.TypeInputReply, Prompt: f.Cursor}, []byte(`{"value":"late"}`))
	q.until("r1 stream got late")
}

// AGENT 3: late output belongs to the request that caused it; ids are not
// trusted.
func TestLateOutput(t *testing.T) {
	h := hold(t, t.TempDir(), nil)
	p := h.attach("a", wire.KernelOwner, wire.Cursor{})
	p.until("- status starting")
	p.execute("r1", "print one")
	p.until("r1 status idle")
	p.execute("r2", "late r1 of-one", "late nonsense of-whom", "bad")
	equal(t, p.until("r2 status idle"),
		"r2 status busy", "r2 execute_input", "r1 stream of-one", "r2 stream of-whom", "r2 execute_reply ok", "r2 status idle")
}

func touch(t *testing.T, file string) {
	t.Helper()
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
}
