//go:build linux || darwin

package session_test

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gokernel/gokernel/session"
	"github.com/gokernel/gokernel/session/agent/agenttest"
	"github.com/gokernel/gokernel/session/wire"
)

// AGENT 5: a front re-dials both its connections, and nothing is lost or comes
// twice.
func TestLinkIsCut(t *testing.T) {
	m, d := manage(t, t.TempDir())
	s := open(t, m, request("cut", true))
	f := attach(t, s, wire.KernelOwner)
	f.until("- status starting")
	var want []string
	for i := range 50 {
		f.execute(fmt.Sprintf("r%d", i), fmt.Sprintf("print %d", i))
		want = append(want, fmt.Sprintf("r%d stream %d", i, i))
		if i%5 == 0 {
			d.cut()
		}
		if _, err := f.a.Usage(t.Context()); err != nil {
			t.Errorf("Usage after a cut: %v", err)
		}
	}
	var got []string
	for _, l := range f.until("r49 status idle") {
		if strings.Contains(l, " stream ") {
			got = append(got, l)
		}
	}
	equal(t, got, want...)
}

// AGENT 4: what is submitted while there is no link is delivered, in order.
func TestSubmitWithoutLink(t *testing.T) {
	m, d := manage(t, t.TempDir())
	s := open(t, m, request("away", true))
	f := attach(t, s, wire.KernelOwner)
	f.until("- status starting")
	epoch := info(t, s).Epoch
	d.cut()
	kill(t, info(t, s).AgentPID)
	for i := range 20 {
		f.execute(fmt.Sprintf("r%d", i), fmt.Sprintf("print %d", i))
	}
	last := "" // what went out to the agent that died is aborted, the rest is run
	for _, l := range f.until("r19 status idle") {
		id, rest, _ := strings.Cut(l, " ")
		if !strings.HasPrefix(rest, "execute_reply") {
			continue
		}
		if n := fmt.Sprintf("%03s", id[1:]); n <= last {
			t.Errorf("reply to %s after that to %s", id, last)
		} else {
			last = n
		}
	}
	if last != "019" {
		t.Errorf("the last reply is %s's, want r19's", last)
	}
	if got := info(t, s).Epoch; got != epoch+1 {
		t.Errorf("epoch %d, want %d", got, epoch+1)
	}
}

// AGENT 7: the agent is killed while a request runs and others wait.
func TestAgentIsKilled(t *testing.T) {
	dir := t.TempDir()
	m, _ := manage(t, t.TempDir())
	s := open(t, m, request("killed", true))
	f := attach(t, s, wire.KernelOwner)
	f.until("- status starting")
	f.execute("r1", "print before", "child", "wait "+dir+"/never")
	f.execute("r2", "print no")
	f.submit("c1", "complete_request", map[string]any{"code": "x"})
	f.until("r1 stream before")
	for deadline := time.Now().Add(patience); info(t, s).Queued < 2; {
		if time.Now().After(deadline) {
			t.Fatal("the requests do not wait")
		}
	}
	before := info(t, s)
	kill(t, before.AgentPID)
	got := f.until("- status starting")
	// AGENT 2: a runner dies with its agent.
	for _, p := range agenttest.Marked(marker + s.ID()) {
		if strings.HasPrefix(p, strconv.Itoa(before.PID)+" ") {
			t.Errorf("process %s, the runner of the agent that died, is still there", p)
		}
	}
	if len(got) > 0 && strings.HasPrefix(got[0], "r1 stream") {
		got = got[1:] // the child's pid
	}
	equal(t, got,
		"r1 error AgentDied", "r1 execute_reply error AgentDied", "r1 status idle",
		"r2 status busy", "r2 execute_reply aborted", "r2 status idle",
		"c1 status busy", "c1 complete_reply aborted", "c1 status idle",
		"- status restarting", "- status starting")
	f.execute("r3", "print alive")
	f.until("r3 stream alive")
	if f.seen[0].Epoch == f.last.Epoch {
		t.Errorf("all frames are of epoch %d, want a new one", f.last.Epoch)
	}
}

// AGENT 7: the agent is killed while nothing runs.
func TestAgentIsKilledIdle(t *testing.T) {
	m, _ := manage(t, t.TempDir())
	s := open(t, m, request("idle", true))
	f := attach(t, s, wire.KernelOwner)
	f.execute("r1", "set x 1")
	f.until("r1 status idle")
	kill(t, info(t, s).AgentPID)
	equal(t, f.until("- status starting"), "- status restarting", "- status starting")
	f.execute("r2", "get x", "print alive")
	f.until("r2 stream alive")
}

// AGENT 7: an agent that dies again and again is not started for ever.
func TestAgentDiesForEver(t *testing.T) {
	m, _ := manage(t, t.TempDir())
	s := open(t, m, request("doomed", true))
	f := attach(t, s, wire.KernelOwner)
	ended := make(chan error, 1)
	go func() { ended <- f.end() }()
	for killed := 0; ; {
		if i, err := s.Info(t.Context()); err == nil && i.AgentPID != killed {
			killed = i.AgentPID
			kill(t, killed)
		}
		select {
		case err := <-ended:
			if !errors.Is(err, session.ErrDead) {
				t.Errorf("Next = %v, want ErrDead", err)
			}
			return
		case <-time.After(5 * time.Millisecond):
		case <-t.Context().Done():
			t.Fatal("the attachment goes on for ever")
		}
	}
}

// AGENT 3: input that is answered while the link is broken arrives.
func TestAnswerOverCutLink(t *testing.T) {
	m, d := manage(t, t.TempDir())
	f := attach(t, open(t, m, request("input", true)), wire.KernelOwner)
	f.execute("r1", "input name?")
	f.until("r1 input_request")
	d.cut()
	if err := f.a.Answer(t.Context(), f.last, []byte(`{"value":"Ada"}`)); err != nil {
		t.Fatal(err)
	}
	f.until("r1 stream got Ada")
}

// AGENT 3: the newer of two kernels has the session, and what the older had
// queued.
func TestFencing(t *testing.T) {
	dir := t.TempDir()
	m, _ := manage(t, t.TempDir())
	s := open(t, m, request("fenced", true))
	older := attach(t, s, wire.KernelOwner)
	older.execute("r1", "wait "+dir+"/go", "print one")
	older.until("r1 execute_input")
	newer := attach(t, s, wire.KernelOwner)
	if err := older.end(); !errors.Is(err, session.ErrFenced) {
		t.Errorf("Next of the older = %v, want ErrFenced", err)
	}
	if err := older.a.Submit(t.Context(), &wire.Request{ID: "x", MsgType: "execute_request"}); !errors.Is(err, session.ErrFenced) {
		t.Errorf("Submit of the older = %v, want ErrFenced", err)
	}
	if err := older.a.Interrupt(t.Context()); !errors.Is(err, session.ErrFenced) {
		t.Errorf("Interrupt of the older = %v, want ErrFenced", err)
	}
	touch(t, dir+"/go")
	newer.until("r1 stream one")
	newer.until("r1 status idle")
}

// AGENT 1: a front that is killed leaves a kept session with its queue, and the
// next one gets all that it had not acknowledged, once.
func TestFrontIsKilled(t *testing.T) {
	dir, state := t.TempDir(), t.TempDir()
	m, _ := manage(t, state)
	k := startFront(t, frontSpec{
		State: state, Request: request("survivor", true),
		Code: []string{"print one", "wait " + dir + "/go\nprint two", "print three"}, Until: "r2 execute_input",
	})
	s := open(t, m, session.OpenRequest{Session: "survivor"})
	for deadline := time.Now().Add(patience); info(t, s).Queued < 1; {
		if time.Now().After(deadline) {
			t.Fatal("the last request does not wait")
		}
	}
	k.kill()
	touch(t, dir+"/go")
	f := attach(t, s, wire.KernelOwner)
	equal(t, f.until("r3 status idle"), "- status starting",
		"r1 status busy", "r1 execute_input", "r1 stream one", "r1 execute_reply ok", "r1 status idle",
		"r2 status busy", "r2 execute_input", "r2 stream two", "r2 execute_reply ok", "r2 status idle",
		"r3 status busy", "r3 execute_input", "r3 stream three", "r3 execute_reply ok", "r3 status idle")
}

// AGENT 6: what is acknowledged does not come again.
func TestAcknowledged(t *testing.T) {
	m, _ := manage(t, t.TempDir())
	s := open(t, m, request("acked", true))
	f := attach(t, s, wire.KernelOwner)
	f.execute("r1", "print one")
	f.until("r1 status idle")
	held := f.seen[len(f.seen)-2].Cursor
	f.a.Ack(f.last, []wire.Cursor{held})
	f.detach()
	g := attach(t, s, wire.KernelOwner)
	g.execute("r2", "print two")
	equal(t, g.until("r2 stream two"), "r1 execute_reply ok", "r2 status busy", "r2 execute_input", "r2 stream two")
	if g.seen[0].Cursor != held {
		t.Errorf("held frame came as %v, want %v", g.seen[0].Cursor, held)
	}
}

// AGENT 1: what was submitted before a detach reaches the session.
func TestSubmitThenDetach(t *testing.T) {
	dir := t.TempDir()
	m, _ := manage(t, t.TempDir())
	s := open(t, m, request("left", true))
	f := attach(t, s, wire.KernelOwner)
	for i := range 20 {
		f.execute(fmt.Sprintf("r%d", i), fmt.Sprintf("touch %s/%d", dir, i))
	}
	f.detach()
	agenttest.WaitFile(dir + "/19")
	if !info(t, s).Kept {
		t.Error("the session is not kept")
	}
}

// AGENT 5: large requests and outputs go through, also when the link breaks meanwhile.
func TestLarge(t *testing.T) {
	if testing.Short() {
		t.Skip("takes memory")
	}
	m, d := manage(t, t.TempDir())
	f := attach(t, open(t, m, request("large", true)), wire.KernelOwner)
	text := strings.Repeat("q", 8<<20)
	f.execute("r1", "set x "+text)
	d.cut()
	f.execute("r2", "get x")
	n := 0
	for _, l := range f.until("r2 status idle") {
		if rest, ok := strings.CutPrefix(l, "r2 stream "); ok {
			n += len(rest)
		}
	}
	if n != len(text) {
		t.Errorf("%d bytes came back, want %d", n, len(text))
	}
}

// The frames of a session that ends are followed by an error that wraps io.EOF
// and says why.
func TestNextAfterEnd(t *testing.T) {
	m, _ := manage(t, t.TempDir())
	s := open(t, m, request("", false))
	f := attach(t, s, wire.KernelOwner)
	f.until("- status starting")
	if err := f.a.Close(t.Context()); err != nil {
		t.Fatalf("Close: %v", err)
	}
	if err := f.end(); !errors.Is(err, io.EOF) || !strings.Contains(err.Error(), "closed") {
		t.Errorf("Next = %v, want io.EOF and that it was closed", err)
	}
	if err := f.a.Close(t.Context()); err != nil {
		t.Errorf("Close again = %v, want nil", err)
	}
}
