//go:build unix

package agent

import (
	"encoding/json"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gokernel/gokernel/protocol"
	"github.com/gokernel/gokernel/session/agent/agenttest"
	"github.com/gokernel/gokernel/session/wire"
)

// AGENT 3: an interrupt that comes before the runner has begun is not lost.
func TestInterruptBeforeRunnerBegins(t *testing.T) {
	dir := t.TempDir()
	h := hold(t, t.TempDir(), func(c *wire.Config) {
		c.Env = append(c.Env, agenttest.SlowBegin+"="+dir+"/got:"+dir+"/begin")
	})
	p := h.attach("a", wire.KernelOwner, wire.Cursor{})
	p.execute("r1", "wait "+dir+"/never")
	agenttest.WaitFile(dir + "/got")
	if _, err := h.call("a", wire.KernelOwner, wire.CallInterrupt, nil); err != nil {
		t.Fatal(err)
	}
	touch(t, dir+"/begin")
	p.until("r1 execute_reply error KeyboardInterrupt")
}

// AGENT 1: a session ends although its runner reads nothing and ignores signals.
func TestEndWhileRunnerIsDeaf(t *testing.T) {
	dir := t.TempDir()
	h := hold(t, t.TempDir(), nil)
	p := h.attach("a", wire.KernelOwner, wire.Cursor{})
	p.until("- status starting")
	p.execute("r1", "input name?")
	p.until("r1 input_request")
	prompt := p.frame("r1 input_request").Cursor
	p.send(wire.InputReply{Type: wire.TypeInputReply, Prompt: prompt}, []byte(`{"value":"x"}`))
	p.until("r1 status idle")
	p.execute("r2", "deaf "+dir+"/deaf")
	p.execute("r3", strings.Repeat("print no\n", 1<<20)) // 9 MB, more than the channel holds
	agenttest.WaitFile(dir + "/deaf")
	if _, err := h.call("", "", wire.CallClose, nil); err != nil {
		t.Log("the agent went before it had answered:", err)
	}
	if got, want := p.untilEnd(), "it was closed"; got != want {
		t.Errorf("the front was told %q, want %q", got, want)
	}
	h.wait()
}

// AGENT 5: the agent's end does not wait for a front that does not read.
func TestEndWhileFrontDoesNotRead(t *testing.T) {
	dir := t.TempDir()
	h := hold(t, t.TempDir(), nil)
	p := h.attach("a", wire.KernelOwner, wire.Cursor{})
	p.until("- status starting")
	p.execute("r1", "chunk 20 1000000", "touch "+dir+"/done")
	agenttest.WaitFile(dir + "/done")
	began := time.Now()
	h.stop()
	if took := time.Since(began); took > 8*time.Second {
		t.Errorf("the end took %v, want no more than a moment for the front", took)
	}
}

// AGENT 3: a kernel whose link was broken while a newer one attached is fenced
// off all the same.
func TestFenceWithoutLink(t *testing.T) {
	h := hold(t, t.TempDir(), nil)
	older := h.attach("older", wire.KernelOwner, wire.Cursor{})
	older.until("- status starting")
	older.drop()
	newer := h.attach("newer", wire.KernelOwner, wire.Cursor{})
	newer.until("- status starting")
	if _, err := h.tryAttach("older", wire.KernelOwner, older.last); err == nil || !strings.Contains(err.Error(), wire.CodeFenced) {
		t.Errorf("the older kernel attaching again = %v, want it refused as %s", err, wire.CodeFenced)
	}
	for _, method := range []string{wire.CallInterrupt, wire.CallRestart, wire.CallClose} {
		if _, err := h.call("older", wire.KernelOwner, method, nil); err == nil || !strings.Contains(err.Error(), "taken over") {
			t.Errorf("%s by the older kernel = %v, want it refused", method, err)
		}
	}
	newer.execute("r1", "print alive")
	newer.until("r1 stream alive")
}

// AGENT 6: a first delivery that is cut goes on where it was.
func TestFirstDeliveryIsCut(t *testing.T) {
	h := hold(t, t.TempDir(), nil)
	p := h.attach("a", wire.KernelOwner, wire.Cursor{})
	p.until("- status starting")
	p.execute("r1", "print one")
	p.until("r1 status idle")
	input, reply := p.frame("r1 execute_input").Cursor, p.frame("r1 execute_reply ok").Cursor
	p.ack(input, reply)
	p.pumpCall()
	p.drop()

	_, _, w, err := h.hello(wire.Hello{Link: "data", Front: "b", Owner: wire.KernelOwner})
	if err != nil {
		t.Fatal(err)
	}
	if w.Start != p.last || fmt.Sprint(w.First) != fmt.Sprint([]wire.Cursor{input, reply}) {
		t.Fatalf("welcome from %v with %v first, want from %v with %v", w.Start, w.First, p.last, []wire.Cursor{input, reply})
	}
	conn, r, w, err := h.hello(wire.Hello{Link: "data", Front: "b", Owner: wire.KernelOwner, Resume: w.Start, Want: w.First[1:]})
	if err != nil {
		t.Fatal(err)
	}
	q := &peer{t: t, h: h, name: "b", owner: wire.KernelOwner, conn: conn, r: r, epoch: w.Epoch, acc: map[string]bool{}}
	q.execute("r2", "print two")
	equal(t, q.until("r2 execute_reply ok"), "r1 execute_reply ok",
		"r2 status busy", "r2 execute_input", "r2 stream two", "r2 execute_reply ok")
}

// AGENT 6: acknowledgements move the cursor forward only, and never past what
// is there.
func TestAckOutOfPlace(t *testing.T) {
	h := hold(t, t.TempDir(), nil)
	p := h.attach("a", wire.KernelOwner, wire.Cursor{})
	p.until("- status starting")
	p.execute("r1", "print one")
	p.until("r1 status idle")
	p.ack()
	p.send(wire.Ack{Type: wire.TypeAck, Upto: wire.Cursor{Epoch: p.epoch, Number: 1}})
	p.send(wire.Ack{Type: wire.TypeAck, Upto: wire.Cursor{Epoch: p.epoch, Number: 1 << 40}})
	p.send(wire.Ack{Type: wire.TypeAck, Upto: wire.Cursor{Epoch: p.epoch + 1, Number: 1}})
	p.pumpCall()
	p.drop()
	q := h.attach("b", wire.KernelOwner, wire.Cursor{})
	q.execute("r2", "print two")
	equal(t, q.until("r2 stream two"), "r2 status busy", "r2 execute_input", "r2 stream two")
}

// AGENT 3: a request past the queue's bound is refused with an error reply, and
// stops nothing that was before it.
func TestQueueIsFull(t *testing.T) {
	dir := t.TempDir()
	h := hold(t, t.TempDir(), nil)
	p := h.attach("a", wire.KernelOwner, wire.Cursor{})
	p.until("- status starting")
	p.execute("r1", "wait "+dir+"/go")
	p.until("r1 execute_input")
	filled := make(chan struct{})
	go func() {
		defer close(filled)
		for i := range testQueued {
			p.request(fmt.Sprintf("c%d", i), "comm_msg", map[string]any{})
		}
		p.execute("full", "print no")
	}()
	p.until("full execute_reply error QueueFull")
	<-filled
	touch(t, dir+"/go")
	p.until(fmt.Sprintf("c%d status idle", testQueued-1))
	p.execute("r2", "print yes")
	p.until("r2 stream yes")
}

// AGENT 2: bytes that are no packet, and requests past their limits, end their
// connection and nothing else.
func TestGarbageFromFronts(t *testing.T) {
	h := hold(t, t.TempDir(), nil)
	p := h.attach("a", wire.KernelOwner, wire.Cursor{})
	p.until("- status starting")
	for _, garbage := range []string{
		"\xff\xff\xff\xff\xff\xff\xff\xff", "GET / HTTP/1.1\r\n\r\n", "\x00\x00\x00\x01\xff\xff\xff\xff",
		"\x00\x00\x00\x01\x00\x00\x00\x04null", "\x00\x00\x00\x01\x00\x00\x00\x02[]",
	} {
		conn, err := net.Dial("unix", h.socket)
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.SetDeadline(time.Now().Add(patience))
		if _, err := conn.Write([]byte(garbage)); err != nil {
			t.Fatal(err)
		}
		for buf := make([]byte, 4096); err == nil; {
			_, err = conn.Read(buf)
		}
		_ = conn.Close()
	}
	for name, send := range map[string]func(*peer){
		"a long id": func(q *peer) { q.request(strings.Repeat("i", wire.MaxID+1), "execute_request", map[string]any{}) },
		"no id":     func(q *peer) { q.request("", "execute_request", map[string]any{}) },
		"no parts":  func(q *peer) { q.send(wire.RequestHead{Type: wire.TypeRequest, ID: "x", MsgType: "execute_request"}) },
		"no object": func(q *peer) { q.send([]int{1}) },
		"a null":    func(q *peer) { q.send(nil) },
	} {
		q := h.attach("run", "run-1", wire.Cursor{})
		send(q)
		_ = q.conn.SetReadDeadline(time.Now().Add(patience))
		if name != "a null" && name != "no object" { // packets of no type are passed over
			if got := q.untilEnd(); got != "" {
				t.Errorf("%s: the connection ended with %q, want it cut", name, got)
			}
		}
		q.drop()
	}
	p.execute("r1", "print alive")
	p.until("r1 stream alive")
}

// AGENT 2: outputs that are not UTF-8, and what a runner may not send, are left
// out.
func TestValidObject(t *testing.T) {
	for raw, want := range map[string]bool{
		"": true, "{}": true, `{"a":"é"}`: true, "null": false, "[]": false, `{"a":`: false, "{\"a\":\"\xff\"}": false, " {}": false,
	} {
		if got := validObject([]byte(raw)); got != want {
			t.Errorf("validObject(%q) = %v, want %v", raw, got, want)
		}
	}
}

// AGENT 7: a process that dies before it was ever used is told of and started
// again, but not for ever: then only when somebody asks.
func TestUnusedProcessDies(t *testing.T) {
	h := hold(t, t.TempDir(), nil)
	p := h.attach("a", wire.KernelOwner, wire.Cursor{})
	p.until("- status starting")
	for range maxUnserved {
		killRunner(t, h)
		equal(t, p.until("- status starting"), "- status restarting", "- status starting")
	}
	killRunner(t, h)
	for deadline := time.Now().Add(patience); h.info().State != wire.StateFailed; {
		if time.Now().After(deadline) {
			t.Fatalf("state %s, want failed", h.info().State)
		}
	}
	p.execute("r1", "print alive")
	equal(t, p.until("r1 stream alive"), "r1 status busy", "- status starting", "r1 execute_input", "r1 stream alive")
	killRunner(t, h)
	p.until("- status restarting")
}

// killRunner kills the language process when it is ready.
func killRunner(t *testing.T, h *held) {
	t.Helper()
	raw, err := h.call("", "", wire.CallRunner, nil)
	if err != nil {
		t.Fatal(err)
	}
	var runner wire.Runner
	if err := json.Unmarshal(raw, &runner); err != nil {
		t.Fatal(err)
	}
	kill(t, strconv.Itoa(runner.PID))
}

// AGENT 3: a run that is lost in an owned session does not interrupt its kernel.
func TestLostRunLeavesKernelAlone(t *testing.T) {
	dir := t.TempDir()
	h := hold(t, t.TempDir(), owned)
	k := h.attach("k", wire.KernelOwner, wire.Cursor{})
	k.until("- status starting")
	run := h.attach("f", "run-1", wire.Cursor{})
	k.execute("r1", "wait "+filepath.Join(dir, "go"), "print undisturbed")
	k.until("r1 execute_input")
	run.drop()
	for deadline := time.Now().Add(patience); h.info().Runs > 0; {
		if time.Now().After(deadline) {
			t.Fatal("the run is still attached")
		}
	}
	touch(t, dir+"/go")
	k.until("r1 stream undisturbed")
}

// AGENT 3: requests of the two connections of a front, an old one and a new one,
// are queued once and in order.
func TestOrderOverTwoConnections(t *testing.T) {
	h := hold(t, t.TempDir(), nil)
	p := h.attach("a", wire.KernelOwner, wire.Cursor{})
	p.until("- status starting")
	var ids []string
	for i := range 200 {
		ids = append(ids, fmt.Sprintf("x%03d", i))
		p.request(ids[i], "comm_msg", map[string]any{})
	}
	q := h.attach("a", wire.KernelOwner, p.last)
	for _, id := range ids {
		q.request(id, "comm_msg", map[string]any{})
	}
	q.request("end", "is_complete_request", map[string]any{"code": ""})
	var got []string
	for _, l := range q.until("end status busy") {
		if id, ok := strings.CutSuffix(l, " status busy"); ok && id != "end" {
			got = append(got, id)
		}
	}
	if strings.Join(got, " ") != strings.Join(ids, " ") {
		t.Errorf("performed %v, want each once and in order", got)
	}
	q.until("end is_complete_reply ok")
	if q.frame("end is_complete_reply ok").Channel != protocol.Shell {
		t.Error("the reply is not on shell")
	}
}
