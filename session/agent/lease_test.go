//go:build unix

package agent

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"syscall"
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
		"kept, busy beside a prompt": {func(a *Agent) { a.kept = true; asks(a); a.queue.running = &request{} }, 48 * time.Hour, 0, true},
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

// peers D6: a lease is renewed by whoever asks for that, with another time or
// without, and whenever something has run; what is said to expire then does.
func TestKeepRenews(t *testing.T) {
	h := hold(t, t.TempDir(), func(c *wire.Config) { c.Lease = time.Hour })
	expires := func() time.Time {
		t.Helper()
		for deadline := time.Now().Add(patience); ; { // a front that has gone may be known for a moment
			if info := h.info(); !info.Expires.IsZero() {
				return info.Expires
			}
			if time.Now().After(deadline) {
				t.Fatal("the lease is held by nothing")
			}
		}
	}
	last := expires()
	later := func(what string, lease time.Duration) {
		t.Helper()
		if now := expires(); !now.After(last) || time.Until(now) > lease {
			t.Errorf("%s: it expires at %v, was %v; want later, and within %v", what, now, last, lease)
		} else {
			last = now
		}
	}
	keep := func(lease time.Duration) {
		t.Helper()
		if _, err := h.call("", "", wire.CallKeep, wire.KeepArgs{Lease: lease}); err != nil {
			t.Fatal(err)
		}
	}
	keep(0)
	later("the same lease", time.Hour)
	keep(3 * time.Hour)
	later("a longer lease", 3*time.Hour)
	p := h.attach("b", "run", wire.Cursor{})
	p.execute("r1", "print x")
	p.until("r1 status idle")
	p.drop()
	later("a run", 3*time.Hour)
	keep(time.Minute)
	if left := time.Until(expires()); left > time.Minute {
		t.Errorf("a shorter lease: it expires in %v, want within a minute", left)
	}
	if _, err := h.call("", "", wire.CallKeep, wire.KeepArgs{Lease: -1}); err == nil {
		t.Error("a negative lease = nil, want an error")
	}
}

// peers D6: a run that takes longer than the lease, and one that waits behind
// it, are performed; the lease runs out only afterwards.
func TestLeaseDuringRuns(t *testing.T) {
	dir := t.TempDir()
	const lease = 300 * time.Millisecond
	h := hold(t, t.TempDir(), func(c *wire.Config) { c.Lease = lease })
	p := h.attach("b", "run", wire.Cursor{})
	p.execute("r1", "wait "+dir+"/go", "touch "+dir+"/first")
	p.run("r2", other(), "touch "+dir+"/second")
	p.pump("r2")
	p.drop()
	for began := time.Now(); time.Since(began) < 3*lease; {
		if info := h.info(); info.State == wire.StateBusy && !info.Expires.IsZero() {
			t.Fatalf("it expires at %v while code runs", info.Expires)
		}
	}
	touch(t, dir+"/go")
	h.wait()
	if reason := <-h.ended; reason != "its lease ran out" {
		t.Errorf("it ended because %q, want its lease", reason)
	}
	for _, name := range []string{"/first", "/second"} {
		if _, err := os.Stat(dir + name); err != nil {
			t.Errorf("a run did not come to its end: %v", err)
		}
	}
}

// peers D6: who comes when the lease has run out is told so, on every kind of
// connection, for as long as the session takes to end.
func TestLateComersAreTold(t *testing.T) {
	h := hold(t, t.TempDir(), func(c *wire.Config) { c.Lease = 100 * time.Millisecond })
	p := h.attach("b", "run", wire.Cursor{})
	p.execute("r1", "pid")
	p.until("r1 status idle")
	sendSignal(t, strings.Fields(p.log[2])[2], syscall.SIGSTOP) // it must be killed, which takes a while
	early, _, _, err := h.hello(wire.Hello{Link: wire.LinkControl})
	if err != nil {
		t.Fatal(err)
	}
	defer early.Close()
	p.drop()
	refused := func(hello wire.Hello) bool {
		t.Helper()
		conn, _, _, err := h.hello(hello)
		if err == nil {
			_ = conn.Close()
			return false
		}
		if !strings.Contains(err.Error(), wire.CodeClosing) || !strings.Contains(err.Error(), "its lease ran out") {
			t.Fatalf("a %s connection: %v; want to be let in, or told that the session ends", hello.Link, err)
		}
		return true
	}
	for deadline := time.Now().Add(patience); !refused(wire.Hello{Link: wire.LinkControl}); {
		if time.Now().After(deadline) {
			t.Fatal("the session does not end")
		}
	}
	for _, hello := range []wire.Hello{{Link: wire.LinkData, Front: "c", Owner: "late run"}, {Link: wire.LinkTransfer}} {
		if !refused(hello) {
			t.Errorf("a %s connection was let in to a session that ends", hello.Link)
		}
	}
	if err := writeHead(early, wire.Call{Type: wire.TypeCall, ID: 1, Method: wire.CallKeep}); err == nil {
		_ = early.SetReadDeadline(time.Now().Add(patience))
		packet, err := wire.NewReader(early, 0).Read()
		if err == nil && !strings.Contains(string(packet.Head), wire.CodeClosing) {
			t.Errorf("keeping a session that ends: %s, want a refusal", packet.Head)
		}
	}
	h.wait()
}

// peers D6: at the moment when the lease runs out a run is performed or refused,
// nothing between.
func TestRunAtTheVeryMoment(t *testing.T) {
	const tries = 12
	performed := 0
	for i := range tries {
		h := hold(t, t.TempDir(), func(c *wire.Config) { c.Lease = 200 * time.Millisecond })
		info := h.info()
		moment := info.Expires.Add(time.Duration(i-tries/2) * 500 * time.Microsecond)
		<-time.After(time.Until(moment))
		p, err := h.tryAttach("b", "run", wire.Cursor{})
		switch {
		case err == nil:
			performed++
			p.execute("r1", "print x")
			p.until("r1 execute_reply ok")
		case strings.Contains(err.Error(), wire.CodeClosing), errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		default:
			t.Errorf("attaching = %v, want a session or a refusal", err)
		}
		if err == nil {
			p.drop()
		}
		h.wait()
	}
	t.Logf("%d of %d were performed", performed, tries)
}

// Whoever is let in holds the session; when it is over nobody is.
func TestNobodyIsLetInToDie(t *testing.T) {
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	late := start.Add(2 * time.Hour)
	expired := func() *Agent {
		return &Agent{
			queue: newQueue(), fronts: map[*front]struct{}{}, prompts: map[wire.Cursor]*prompt{}, tick: make(chan struct{}, 1),
			kept: true, term: time.Hour, idleFrom: start,
		}
	}
	a := expired()
	if err := a.attach(&front{name: "b", owner: "run"}); err != nil {
		t.Fatalf("attaching before = %v", err)
	}
	if _, _, held := a.runOut(late); !held {
		t.Error("it ends although somebody was let in")
	}
	a = expired()
	if left, _, held := a.runOut(late); held || left > 0 {
		t.Errorf("left %v, held %v; want it over", left, held)
	}
	if err := a.attach(&front{name: "b", owner: "run"}); !errors.Is(err, errOver) {
		t.Errorf("attaching afterwards = %v, want %v", err, errOver)
	}
	if err := a.keep(time.Hour); !errors.Is(err, errOver) {
		t.Errorf("keeping it afterwards = %v, want %v", err, errOver)
	}
	a = expired()
	if err := a.keep(0); err != nil {
		t.Fatalf("keeping it before = %v", err)
	}
	if left, _, held := a.runOut(time.Now()); held || left <= 0 {
		t.Errorf("left %v, held %v after it was kept, want a lease that has begun anew", left, held)
	}
}
