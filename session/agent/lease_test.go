//go:build unix

package agent

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/gokernel/gokernel/session/wire"
)

func owned(c *wire.Config) { c.Kept = false }

// AGENT 1: an owned session that nothing attaches to closes soon after its start.
func TestOwnedWithoutFrontEnds(t *testing.T) {
	dir := t.TempDir()
	h := hold(t, dir, owned)
	h.wait()
	if reason := <-h.ended; reason != "its front is gone" {
		t.Errorf("it ended because %q, want the front named", reason)
	}
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("stat of the session's directory = %v, want it gone", err)
	}
}

// AGENT 1: the owner is killed: interrupted, then closed, busy or not.
func TestOwnedEndsAfterLostLink(t *testing.T) {
	dir := t.TempDir()
	h := hold(t, t.TempDir(), owned)
	p := h.attach("a", wire.KernelOwner, wire.Cursor{})
	p.until("- status starting")
	p.execute("r1", "child", "wait "+dir+"/never", "touch "+dir+"/ran")
	p.until("r1 execute_input")
	_ = p.conn.SetReadDeadline(time.Now().Add(patience))
	for !strings.HasPrefix(p.log[len(p.log)-1], "r1 stream") {
		if err := p.read(); err != nil {
			t.Fatal(err)
		}
	}
	child := strings.Fields(p.log[len(p.log)-1])[2]
	p.drop()
	h.wait()
	if running(t, child) {
		t.Error("a process that code had started is still there")
	}
}

// An owner whose link breaks but who lives keeps the session.
func TestOwnerComesBack(t *testing.T) {
	h := hold(t, t.TempDir(), owned)
	p := h.attach("a", wire.KernelOwner, wire.Cursor{})
	p.until("- status starting")
	p.execute("r1", "set x 1")
	p.until("r1 status idle")
	p.drop()
	q := h.attach("a", wire.KernelOwner, p.last)
	q.execute("r2", "get x")
	equal(t, q.until("r2 status idle"), "r2 status busy", "r2 execute_input", "r2 stream 1", "r2 execute_reply ok", "r2 status idle")
	if _, err := h.call("a", wire.KernelOwner, wire.CallDetach, nil); err == nil {
		t.Error("leaving an owned session = nil, want an error: it can only be closed")
	}
	if _, err := h.call("a", wire.KernelOwner, wire.CallClose, nil); err != nil {
		t.Fatal(err)
	}
	if got, want := q.untilEnd(), "it was closed"; got != want {
		t.Errorf("the front was told %q, want %q", got, want)
	}
	h.wait()
}

// AGENT 1: a kept session ends when its lease has run out, not before; busy code
// is never ended by a lease.
func TestLease(t *testing.T) {
	dir := t.TempDir()
	h := hold(t, t.TempDir(), func(c *wire.Config) { c.Lease = 300 * time.Millisecond })
	p := h.attach("a", wire.KernelOwner, wire.Cursor{})
	p.until("- status starting")
	p.execute("r1", "wait "+dir+"/go", "touch "+dir+"/ran")
	p.until("r1 execute_input")
	p.drop()
	select {
	case err := <-h.done:
		t.Fatalf("the session ended with %v while it was busy", err)
	case <-time.After(900 * time.Millisecond): // three leases
	}
	touch(t, dir+"/go")
	h.wait()
	if reason := <-h.ended; reason != "its lease ran out" {
		t.Errorf("it ended because %q, want its lease", reason)
	}
	if _, err := os.Stat(dir + "/ran"); err != nil {
		t.Errorf("the cell did not run to its end: %v", err)
	}
}

// AGENT 1: waiting for input with nobody attached counts as idle.
func TestLeaseWhileWaitingForInput(t *testing.T) {
	h := hold(t, t.TempDir(), func(c *wire.Config) { c.Lease = 200 * time.Millisecond })
	p := h.attach("a", wire.KernelOwner, wire.Cursor{})
	p.until("- status starting")
	p.execute("r1", "input name?")
	p.until("r1 input_request")
	p.drop()
	h.wait()
}

// AGENT 1: detached from, a kept session lives, its code and its queue go on;
// what is only for the front that went is dropped.
func TestDetach(t *testing.T) {
	dir := t.TempDir()
	h := hold(t, t.TempDir(), nil)
	p := h.attach("a", wire.KernelOwner, wire.Cursor{})
	p.until("- status starting")
	p.execute("r1", "wait "+dir+"/go", "print one")
	p.request("c1", "complete_request", map[string]any{"code": "x"})
	p.execute("r2", "print two")
	p.until("r1 execute_input")
	p.pump("r2")
	p.ack()
	p.pumpCall()
	if _, err := h.call("a", wire.KernelOwner, wire.CallDetach, nil); err != nil {
		t.Fatal(err)
	}
	p.drop()
	for deadline := time.Now().Add(patience); h.info().Attached; {
		if time.Now().After(deadline) {
			t.Fatal("the front is still attached")
		}
	}
	touch(t, dir+"/go")
	q := h.attach("b", wire.KernelOwner, wire.Cursor{})
	got := strings.Join(q.until("r2 status idle"), "\n")
	for _, want := range []string{"r1 stream one", "r1 execute_reply ok", "r2 stream two", "r2 execute_reply ok"} {
		if strings.Count(got, want) != 1 {
			t.Errorf("transcript:\n%s\nwant %q in it once", got, want)
		}
	}
	if strings.Contains(got, "c1") {
		t.Errorf("transcript:\n%s\nwant no completion for a front that went", got)
	}
}

// Keep makes an owned session stand by itself.
func TestKeep(t *testing.T) {
	h := hold(t, t.TempDir(), owned)
	p := h.attach("a", wire.KernelOwner, wire.Cursor{})
	p.until("- status starting")
	if _, err := h.call("a", wire.KernelOwner, wire.CallKeep, wire.KeepArgs{Lease: time.Hour}); err != nil {
		t.Fatal(err)
	}
	p.drop()
	select {
	case err := <-h.done:
		t.Fatalf("the session ended with %v although it is kept", err)
	case <-time.After(time.Second): // three times what an owned one has
	}
	info := h.info()
	if left := time.Until(info.Expires); !info.Kept || left < 50*time.Minute || left > time.Hour {
		t.Errorf("kept %v, expires in %v, want kept for an hour", info.Kept, left)
	}
}

// AGENT 1: what holds a session, and how long it has when nothing does.
func TestRemaining(t *testing.T) {
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for name, test := range map[string]struct {
		change func(*Agent)
		after  time.Duration
		left   time.Duration
		held   bool
	}{
		"owned, never attached":      {func(*Agent) {}, time.Second, 9 * time.Second, false},
		"owned, left":                {func(a *Agent) { a.attached = true }, time.Second, 4 * time.Second, false},
		"owned, left and busy":       {func(a *Agent) { a.attached = true; a.queue.running = &request{} }, 7 * time.Second, -2 * time.Second, false},
		"owned, attached":            {func(a *Agent) { a.fronts[&front{}] = struct{}{} }, time.Hour, 0, true},
		"kept":                       {func(a *Agent) { a.kept = true }, 10 * time.Minute, 50 * time.Minute, false},
		"kept, over":                 {func(a *Agent) { a.kept = true }, time.Hour, 0, false},
		"kept, attached":             {func(a *Agent) { a.kept = true; a.fronts[&front{}] = struct{}{} }, 48 * time.Hour, 0, true},
		"kept and busy":              {func(a *Agent) { a.kept = true; a.queue.running = &request{} }, 48 * time.Hour, 0, true},
		"kept, something waits":      {func(a *Agent) { a.kept = true; a.queue.waiting = []*request{{}} }, 48 * time.Hour, 0, true},
		"kept, waits for input":      {func(a *Agent) { a.kept = true; asks(a) }, 10 * time.Minute, 50 * time.Minute, false},
		"kept, waits for input here": {func(a *Agent) { a.kept = true; asks(a); a.fronts[&front{}] = struct{}{} }, 48 * time.Hour, 0, true},
		"kept, just left":            {func(a *Agent) { a.kept = true; a.idleFrom = time.Time{} }, 48 * time.Hour, time.Hour, false},
	} {
		t.Run(name, func(t *testing.T) {
			a := &Agent{
				queue: newQueue(), fronts: map[*front]struct{}{}, prompts: map[wire.Cursor]*prompt{},
				term: time.Hour, grace: 5 * time.Second, idleFrom: start,
			}
			test.change(a)
			left, reason, held := a.remaining(start.Add(test.after))
			if left != test.left || held != test.held || !held && reason == "" {
				t.Errorf("left %v, held %v, reason %q; want %v, %v", left, held, reason, test.left, test.held)
			}
		})
	}
}

// asks makes what runs in a wait for input.
func asks(a *Agent) {
	a.queue.running = &request{}
	a.prompts[wire.Cursor{Epoch: 1, Number: 1}] = &prompt{request: a.queue.running}
}
