//go:build unix

package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gokernel/gokernel/session/wire"
)

// other asks for the second language of the tests.
func other() wire.Run { return wire.Run{Language: "other", Interpreter: "the other one"} }

// A run in another language gets a process of its own, which stays; the kernel
// beside it sees that the session is busy and nothing else. peers D10: what a run
// says of its language holds, also in a session that is there.
func TestSecondLanguage(t *testing.T) {
	h := hold(t, t.TempDir(), nil)
	k := h.attach("a", wire.KernelOwner, wire.Cursor{})
	k.until("- status starting")
	k.execute("r1", "set x of the kernel", "interpreter")
	k.until("r1 stream scripted")
	k.until("r1 status idle")
	p := h.attach("b", "run", wire.Cursor{})
	p.run("o1", other(), "get x", "set x of the other", "interpreter")
	equal(t, p.until("o1 status idle"),
		"o1 status busy", "o1 execute_input", "o1 stream", "o1 stream the other one", "o1 execute_reply ok", "o1 status idle")
	p.run("o2", wire.Run{Language: "other"}, "get x")
	p.until("o2 stream of the other")
	p.until("o2 status idle")
	if got := string(p.frame("o2 execute_reply ok").Content); !strings.Contains(got, `"execution_count":2`) {
		t.Errorf("reply = %s, want the other language's own count", got)
	}
	p.run("o3", wire.Run{Language: "script"}, "get x") // the session's own, by its name
	p.until("o3 stream of the kernel")
	p.until("o3 status idle")
	k.execute("r2", "get x")
	equal(t, k.until("r2 status idle"),
		"- status busy", "- status idle", "- status busy", "- status idle", "- status busy", "- status idle",
		"r2 status busy", "r2 execute_input", "r2 stream of the kernel", "r2 execute_reply ok", "r2 status idle")
	if got := string(k.frame("r2 execute_reply ok").Content); !strings.Contains(got, `"execution_count":3`) {
		t.Errorf("reply = %s, want a count that the other language has no part in", got)
	}
	raw, err := h.call("", "", wire.CallRunner, nil)
	var runner wire.Runner
	if err == nil {
		err = json.Unmarshal(raw, &runner)
	}
	if info := h.info(); err != nil || runner.PID == 0 || runner.PID != info.PID || info.Language != "script" {
		t.Errorf("runner %d, %v; info %d of %s; want both the session's own", runner.PID, err, info.PID, info.Language)
	}
}

// AGENT 3: the death of another language's process concerns what is meant for
// it: the kernel's cells behind it are run, and the kernel is not restarted.
func TestOtherLanguageDies(t *testing.T) {
	dir := t.TempDir()
	h := hold(t, t.TempDir(), nil)
	k := h.attach("a", wire.KernelOwner, wire.Cursor{})
	k.until("- status starting")
	p := h.attach("b", "run", wire.Cursor{})
	p.run("o1", other(), "set x 1", "wait "+dir+"/go", "die 3")
	p.until("o1 execute_input")
	p.run("o2", other(), "print no")
	p.pump("o2")
	k.execute("r1", "print yes")
	k.pump("r1")
	touch(t, dir+"/go")
	equal(t, p.until("o2 status idle"), "o1 error KernelDied", "o1 execute_reply error KernelDied", "o1 status idle",
		"o2 status busy", "o2 execute_reply aborted", "o2 status idle")
	if got := string(p.frame("o1 error KernelDied").Content); !strings.Contains(got, "The other process has died") || !strings.Contains(got, "exit status 3") {
		t.Errorf("error = %s, want the language and the cause named", got)
	}
	equal(t, k.until("r1 status idle"), "- status busy", "- status idle", "- status busy", "- status idle",
		"r1 status busy", "r1 execute_input", "r1 stream yes", "r1 execute_reply ok", "r1 status idle")
	p.run("o3", wire.Run{Language: "other"}, "get x", "interpreter")
	equal(t, p.until("o3 status idle"), "o3 status busy", "o3 execute_input", "o3 stream", "o3 stream the other one",
		"o3 execute_reply ok", "o3 status idle")
}

// AGENT 3: the death of the kernel's process aborts the kernel's cells, not runs
// in another language, whose variables stay.
func TestOwnLanguageDiesBesideAnother(t *testing.T) {
	dir := t.TempDir()
	h := hold(t, t.TempDir(), nil)
	k := h.attach("a", wire.KernelOwner, wire.Cursor{})
	k.until("- status starting")
	p := h.attach("b", "run", wire.Cursor{})
	p.run("o1", other(), "set x kept")
	p.until("o1 status idle")
	k.execute("r1", "wait "+dir+"/go", "die 3")
	k.until("r1 execute_input")
	k.execute("r2", "print no")
	k.pump("r2")
	p.run("o2", other(), "get x")
	p.pump("o2")
	touch(t, dir+"/go")
	equal(t, k.until("r2 status idle"), "r1 error KernelDied", "r1 execute_reply error KernelDied", "- status restarting", "- status starting",
		"r1 status idle", "r2 status busy", "r2 execute_reply aborted", "r2 status idle")
	equal(t, p.until("o2 status idle"), "o2 status busy", "o2 execute_input", "o2 stream kept", "o2 execute_reply ok", "o2 status idle")
}

// A death while another language's process is idle is found by the next run; one
// that dies while a cell of the kernel runs does not touch the cell.
func TestOtherLanguageDiesIdle(t *testing.T) {
	dir := t.TempDir()
	h := hold(t, t.TempDir(), nil)
	k := h.attach("a", wire.KernelOwner, wire.Cursor{})
	k.until("- status starting")
	p := h.attach("b", "run", wire.Cursor{})
	p.run("o1", other(), "set x 1", "pid")
	p.until("o1 status idle")
	pid := strings.Fields(p.log[2])[2]
	k.execute("r1", "wait "+dir+"/go", "print unharmed")
	k.until("r1 execute_input")
	if got := h.info().Languages; !slices.Equal(got, []string{"script", "other"}) {
		t.Errorf("languages %q, want both", got)
	}
	kill(t, pid)
	for deadline := time.Now().Add(patience); len(h.info().Languages) > 1; {
		if time.Now().After(deadline) {
			t.Fatal("the death is not noticed")
		}
	}
	p.run("o2", other(), "get x", "print again")
	p.pump("o2")
	touch(t, dir+"/go")
	k.until("r1 stream unharmed")
	k.until("r1 status idle")
	p.until("o2 stream again")
	p.until("o2 status idle")
	k.execute("r2", "print end")
	if got := strings.Join(k.until("r2 status idle"), "\n"); strings.Contains(got, "starting") {
		t.Errorf("the kernel saw:\n%s\nwant nothing of a restart", got)
	}
}

// A restart is one of the session's own language: what runs in another one goes
// on, and its variables stay.
func TestRestartBesideAnotherLanguage(t *testing.T) {
	dir := t.TempDir()
	h := hold(t, t.TempDir(), nil)
	k := h.attach("a", wire.KernelOwner, wire.Cursor{})
	k.until("- status starting")
	k.execute("r0", "set x 1")
	k.until("r0 status idle")
	p := h.attach("b", "run", wire.Cursor{})
	p.run("o1", other(), "set x kept", "wait "+dir+"/go", "get x")
	p.until("o1 execute_input")
	k.execute("r1", "print no")
	k.pump("r1")
	if _, err := h.call("a", wire.KernelOwner, wire.CallRestart, nil); err != nil {
		t.Fatal(err)
	}
	k.until("- status starting")
	touch(t, dir+"/go")
	equal(t, p.until("o1 status idle"), "o1 stream kept", "o1 execute_reply ok", "o1 status idle")
	k.until("r1 execute_reply aborted")
	k.execute("r2", "get x", "print fresh")
	k.until("r2 stream fresh")
}

// An interrupt of a kernel hits whatever runs, in whatever language.
func TestInterruptOtherLanguage(t *testing.T) {
	for name, from := range map[string][2]string{"by the kernel": {"a", wire.KernelOwner}, "by itself": {"b", "run"}} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			h := hold(t, t.TempDir(), nil)
			p := h.attach("b", "run", wire.Cursor{})
			p.run("o1", other(), "wait "+dir+"/never")
			p.until("o1 execute_input")
			if _, err := h.call(from[0], from[1], wire.CallInterrupt, nil); err != nil {
				t.Fatal(err)
			}
			p.until("o1 execute_reply error KeyboardInterrupt")
		})
	}
}

// What cannot be started is said, and by which name.
func TestNoSuchLanguage(t *testing.T) {
	h := hold(t, t.TempDir(), nil)
	p := h.attach("b", "run", wire.Cursor{})
	for i, test := range []struct {
		spec wire.Run
		want string // the error's name and a part of its text
	}{
		{wire.Run{Language: "klingon"}, `InvalidRequest metadata.gokernel.language: language "klingon" is not known here`},
		{wire.Run{Language: "other"}, "KernelNotStarted The other process cannot be started: it is not up, and the run does not name its interpreter"},
	} {
		id := fmt.Sprintf("o%d", i)
		p.run(id, test.spec, "print no")
		p.until(id + " status idle")
		name, text, _ := strings.Cut(test.want, " ")
		var reply struct {
			Value string `json:"evalue"`
		}
		if err := json.Unmarshal(p.frame(id+" execute_reply error "+name).Content, &reply); err != nil || reply.Value != text {
			t.Errorf("reply = %q, %v; want %q", reply.Value, err, text)
		}
	}
	p.run("o9", other(), "print up")
	p.until("o9 stream up")
}

// Nothing of a process is taken for a request of another language's.
func TestRunnerNamesOthersRequest(t *testing.T) {
	h := hold(t, t.TempDir(), nil)
	k := h.attach("a", wire.KernelOwner, wire.Cursor{})
	k.execute("r1", "print mine")
	k.until("r1 status idle")
	p := h.attach("b", "run", wire.Cursor{})
	p.run("o1", other(), "late r1 forged")
	p.until("o1 stream forged")
	p.until("o1 status idle")
	k.execute("r2", "print end")
	if got := strings.Join(k.until("r2 status idle"), "\n"); strings.Contains(got, "forged") {
		t.Errorf("the kernel saw:\n%s\nwant no output of the other language", got)
	}
}

// All language processes end with the session, also ones that do not listen.
func TestLanguagesEndWithSession(t *testing.T) {
	dir := t.TempDir()
	h := hold(t, t.TempDir(), nil)
	p := h.attach("b", "run", wire.Cursor{})
	p.run("o1", other(), "pid")
	p.until("o1 status idle")
	p.run("o2", wire.Run{Language: "script"}, "pid", "spin "+dir+"/never")
	for len(p.log) < 8 { // up to the output
		if err := p.read(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := h.call("", "", wire.CallClose, nil); err != nil {
		t.Fatal(err)
	}
	h.wait()
	for _, i := range []int{2, 7} {
		fields := strings.Fields(p.log[i])
		if len(fields) != 3 || fields[1] != "stream" {
			t.Fatalf("line %q, want the output of pid; all:\n%s", p.log[i], strings.Join(p.log, "\n"))
		}
		if running(t, fields[2]) {
			t.Errorf("process %s is still there", fields[2])
		}
	}
}

// The working directory and the environment of a run go to the runner.
func TestRequestCarriesSurroundings(t *testing.T) {
	ours, theirs := net.Pipe()
	defer ours.Close()
	defer theirs.Close()
	p := &process{channel: ours}
	r := newRequest(wire.Request{ID: "r", MsgType: "execute_request"}, wire.KernelOwner, 1)
	sent := make(chan error, 2)
	go func() {
		sent <- p.perform(context.Background(), r)
		r.cwd, r.env = "/somewhere", map[string]string{"NAME": "value"}
		sent <- p.perform(context.Background(), r)
	}()
	_ = theirs.SetDeadline(time.Now().Add(patience))
	in := wire.NewReader(theirs, 0)
	for _, want := range []string{
		`{"type":"request","id":"r","msg_type":"execute_request"}`,
		`{"type":"request","id":"r","msg_type":"execute_request","cwd":"/somewhere","env":{"NAME":"value"}}`,
	} {
		packet, err := in.Read()
		if err != nil {
			t.Fatal(err)
		}
		if err := <-sent; err != nil || string(packet.Head) != want {
			t.Errorf("head = %s, %v; want %s", packet.Head, err, want)
		}
	}
}
