//go:build linux || darwin

package session_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gokernel/gokernel/session"
	"github.com/gokernel/gokernel/session/agent/agenttest"
	"github.com/gokernel/gokernel/session/wire"
)

// gone checks that nothing is left of a session.
func gone(t *testing.T, m *session.Manager, state, id string, within time.Duration) {
	t.Helper()
	for deadline := time.Now().Add(within); ; {
		_, dirErr := os.Stat(filepath.Join(state, "sessions", id))
		_, rowErr := m.Get(context.Background(), id)
		marked := agenttest.Marked(marker + id)
		if errors.Is(dirErr, fs.ErrNotExist) && (errors.Is(rowErr, session.ErrNotFound) || errors.Is(rowErr, session.ErrExpired)) && len(marked) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("of session %s is left: directory %v, row %v, processes %v", id, dirErr, rowErr, marked)
		}
		time.Sleep(20 * time.Millisecond) // nothing tells of another process's end: look again
	}
}

// AGENT 1: Close leaves no process, no file and no row.
func TestCloseLeavesNothing(t *testing.T) {
	for _, kept := range []bool{false, true} {
		state := t.TempDir()
		m, _ := manage(t, state)
		name := ""
		if kept {
			name = "closing"
		}
		s := open(t, m, request(name, kept))
		f := attach(t, s, wire.KernelOwner)
		f.execute("r1", "child", "wait "+state+"/never")
		f.until("r1 execute_input")
		if err := s.Close(t.Context()); err != nil {
			t.Fatalf("Close: %v", err)
		}
		gone(t, m, state, s.ID(), 0)
		if err := s.Close(t.Context()); err != nil {
			t.Errorf("Close again = %v, want nil", err)
		}
		want := session.ErrNotFound
		if kept {
			want = session.ErrExpired
		}
		if _, err := s.Info(t.Context()); !errors.Is(err, want) {
			t.Errorf("Info of a closed session (kept %v) = %v, want %v", kept, err, want)
		}
	}
}

// AGENT 1: the session of a front that is killed is closed within 10 s, also
// when its code ignores all signals.
func TestOwnedSessionEndsWithItsFront(t *testing.T) {
	state := t.TempDir()
	m, _ := manage(t, state)
	k := startFront(t, frontSpec{
		State: state, Request: request("", false), Code: []string{"child\nspin " + state + "/never"}, Until: "r1 execute_input",
	})
	k.kill()
	gone(t, m, state, k.ID, 10*time.Second)
}

// AGENT 1: the owned session of an earlier kernel with the same connection file
// is closed first.
func TestSameConnectionFile(t *testing.T) {
	state := t.TempDir()
	m, _ := manage(t, state)
	r := request("", false)
	r.ConnectionFile = "/run/kernel-1.json"
	k := startFront(t, frontSpec{State: state, Request: r, Until: "- status starting"})
	later := open(t, m, r)
	gone(t, m, state, k.ID, 0)
	if later.ID() == k.ID {
		t.Error("the later kernel has the earlier one's session")
	}
	f := attach(t, later, wire.KernelOwner)
	f.execute("r1", "print alive")
	f.until("r1 stream alive")
}

// AGENT 1: a name is unique: of several processes that make it at once one does,
// and the others get the same.
func TestOneNameManyProcesses(t *testing.T) {
	state := t.TempDir()
	m, _ := manage(t, state)
	ids := make([]string, 6)
	var making sync.WaitGroup
	for i := range ids {
		making.Go(func() {
			if i%2 == 0 {
				k := startFront(t, frontSpec{State: state, Request: request("shared", true)})
				ids[i] = k.ID
				return
			}
			s, err := m.Open(t.Context(), request("shared", true))
			if err != nil {
				t.Errorf("Open: %v", err)
				return
			}
			ids[i] = s.ID()
		})
	}
	making.Wait()
	for _, id := range ids {
		if id != ids[0] {
			t.Fatalf("sessions %v, want one", ids)
		}
	}
}

// AGENT 1: a generated id must exist, and so must a name unless it may be made.
// Errors tell what never was from what has been.
func TestOpenWhatIsNot(t *testing.T) {
	m, _ := manage(t, t.TempDir())
	ctx := t.Context()
	r := request("6e0f4a8e-6f0b-4e8e-9a55-52a7a4c43f66", true)
	if _, err := m.Open(ctx, r); !errors.Is(err, session.ErrNotFound) {
		t.Errorf("Open of an id that never was = %v, want ErrNotFound", err)
	}
	r = request("nobody", true)
	r.Create = false
	if _, err := m.Open(ctx, r); !errors.Is(err, session.ErrNotFound) {
		t.Errorf("Open of a name that never was = %v, want ErrNotFound", err)
	}
	if _, err := m.Open(ctx, request("Not A Name", true)); err == nil {
		t.Error("Open of a name that cannot be = nil, want an error")
	}
	s := open(t, m, request("been", true))
	if err := s.Close(ctx); err != nil {
		t.Fatal(err)
	}
	r = request("been", true)
	r.Create = false
	if _, err := m.Open(ctx, r); !errors.Is(err, session.ErrExpired) || !strings.Contains(err.Error(), "closed") {
		t.Errorf("Open of a name that has been = %v, want ErrExpired and why", err)
	}
	if again := open(t, m, request("been", true)); again.ID() == s.ID() {
		t.Error("the name has its old session again")
	}
}

// A kept session whose agent has died is listed as not running, says so when it
// is asked, and lives again when somebody attaches.
func TestDeadAgent(t *testing.T) {
	m, _ := manage(t, t.TempDir())
	s := open(t, m, request("dead", true))
	f := attach(t, s, wire.KernelOwner)
	f.execute("r1", "print one")
	f.until("r1 status idle")
	pid := info(t, s).AgentPID
	f.detach()
	kill(t, pid)
	s, err := m.Get(t.Context(), "dead")
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(patience); ; {
		if _, err = s.Info(t.Context()); errors.Is(err, session.ErrDead) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("Info = %v, want ErrDead", err)
		}
	}
	if !strings.Contains(err.Error(), "attach") {
		t.Errorf("Info = %v, want ErrDead and what to do", err)
	}
	list, err := m.List(t.Context())
	if err != nil || len(list) != 1 || list[0].Running() || list[0].Name != "dead" {
		t.Errorf("List = %+v, %v; want the session, not running", list, err)
	}
	g := attach(t, s, wire.KernelOwner)
	g.until("r1 stream one")
	g.until("- status restarting")
	g.execute("r2", "print alive")
	g.until("r2 stream alive")
}

// Several fronts start the agent of a session again at once; there is one.
func TestManyRevive(t *testing.T) {
	state := t.TempDir()
	m, _ := manage(t, state)
	s := open(t, m, request("many", true))
	first := info(t, s)
	var fronts []*front
	for _, owner := range []string{wire.KernelOwner, "run-1", "run-2", "run-3"} {
		other, _ := manage(t, state)
		fronts = append(fronts, attach(t, open(t, other, session.OpenRequest{Session: "many"}), owner))
	}
	kill(t, first.AgentPID)
	for i, f := range fronts {
		f.execute("x"+string(rune('0'+i)), "print alive")
	}
	for i, f := range fronts {
		id := "x" + string(rune('0'+i))
		for reply := ""; reply == ""; { // perhaps it went to the agent that died
			for _, l := range f.until(id + " status idle") {
				if strings.HasPrefix(l, id+" execute_reply") {
					reply = l
				}
			}
		}
	}
	if got := info(t, s); got.Epoch != first.Epoch+1 {
		t.Errorf("epoch %d, want %d: one agent for all", got.Epoch, first.Epoch+1)
	}
}

// AGENT 1: a session that was made to stand by itself does so in its next agent
// too, under the same lease.
func TestKeepOutlivesAgent(t *testing.T) {
	m, _ := manage(t, t.TempDir())
	s := open(t, m, request("", false))
	f := attach(t, s, wire.KernelOwner)
	if err := s.Keep(t.Context(), time.Hour); err != nil {
		t.Fatal(err)
	}
	before := info(t, s)
	kill(t, before.AgentPID)
	f.until("- status restarting")
	f.detach()
	for deadline := time.Now().Add(patience); info(t, s).Attached; {
		if time.Now().After(deadline) {
			t.Fatal("the front is still attached")
		}
	}
	after := info(t, s)
	if left := time.Until(after.Expires); !after.Kept || left > time.Hour || left < 50*time.Minute {
		t.Errorf("kept %v, expires in %v; want kept for an hour", after.Kept, left)
	}
	if after.Epoch == before.Epoch {
		t.Error("the agent is the same")
	}
}

// A kept session whose agent is told to end goes on in the next one.
func TestAgentIsTerminated(t *testing.T) {
	m, _ := manage(t, t.TempDir())
	s := open(t, m, request("term", true))
	f := attach(t, s, wire.KernelOwner)
	f.execute("r1", "print one")
	f.until("r1 status idle")
	if err := syscall.Kill(info(t, s).AgentPID, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	f.until("- status restarting")
	f.execute("r2", "print two")
	f.until("r2 stream two")
}

// A session whose directory is gone has ended, and its name is free.
func TestDirectoryIsGone(t *testing.T) {
	state := t.TempDir()
	m, _ := manage(t, state)
	s := open(t, m, request("lost", true))
	kill(t, info(t, s).AgentPID)
	if err := os.RemoveAll(filepath.Join(state, "sessions", s.ID())); err != nil {
		t.Fatal(err)
	}
	r := request("lost", true)
	r.Create = false
	if _, err := m.Open(t.Context(), r); !errors.Is(err, session.ErrExpired) {
		t.Errorf("Open = %v, want ErrExpired", err)
	}
	if again := open(t, m, request("lost", true)); again.ID() == s.ID() {
		t.Error("the name has its old session again")
	}
}

// An agent that hangs makes neither List nor Close hang.
func TestAgentHangs(t *testing.T) {
	state := t.TempDir()
	m, _ := manage(t, state)
	s := open(t, m, request("hung", true))
	other := open(t, m, request("fine", true))
	if err := syscall.Kill(info(t, s).AgentPID, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	list, err := m.List(t.Context())
	if took := time.Since(began); err != nil || took > 5*time.Second {
		t.Errorf("List took %v and returned %v, want no more than a moment for an agent", took, err)
	}
	for _, l := range list {
		if want := l.ID == other.ID(); l.Running() != want {
			t.Errorf("session %s is %s, want running %v", l.Name, l.State, want)
		}
	}
	if err := s.Close(t.Context()); err != nil {
		t.Fatalf("Close: %v", err)
	}
	gone(t, m, state, s.ID(), 0)
}

// A session that is closed while a front starts its agent again stays closed.
func TestCloseWhileReviving(t *testing.T) {
	for range 5 {
		state := t.TempDir()
		m, _ := manage(t, state)
		s := open(t, m, request("between", true))
		f := attach(t, s, wire.KernelOwner)
		closer, _ := manage(t, state)
		victim := open(t, closer, session.OpenRequest{Session: "between"})
		kill(t, info(t, s).AgentPID)
		if err := victim.Close(t.Context()); err != nil {
			t.Fatalf("Close: %v", err)
		}
		if err := f.end(); err == nil {
			t.Error("the attachment goes on")
		}
		f.detach()
		gone(t, m, state, s.ID(), patience)
	}
}

// A process that was killed while it made a session leaves a name that can be
// made.
func TestMakerWasKilled(t *testing.T) {
	state := t.TempDir()
	m, _ := manage(t, state)
	store, err := session.OpenStore(state)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	row := &session.Row{
		ID: "0b7e0a52-7f3b-4c53-9a8e-3f0c6a3f1d11", Name: "half", State: session.RowStarting, Kept: true,
		FrontPID: 1 << 30, Created: time.Now(),
	}
	if err := store.Create(t.Context(), row); err != nil {
		t.Fatal(err)
	}
	s := open(t, m, request("half", true))
	if s.ID() == row.ID {
		t.Error("the half-made session was opened")
	}
}

// AGENT 1: of an owned session whose agent and front are both killed the next
// gokernel leaves nothing, however young it is. One whose front lives is not
// touched.
func TestAgentAndFrontKilled(t *testing.T) {
	state := t.TempDir()
	m, _ := manage(t, state)
	var killed [2]*killable
	for i := range killed {
		killed[i] = startFront(t, frontSpec{State: state, Request: request("", false)}) // does not start another agent
		s, err := m.Get(t.Context(), killed[i].ID)
		if err != nil {
			t.Fatal(err)
		}
		kill(t, info(t, s).AgentPID)
	}
	killed[0].kill()
	open(t, m, request("", false))
	gone(t, m, state, killed[0].ID, 0)
	if _, err := m.Get(t.Context(), killed[1].ID); err != nil {
		t.Errorf("Get of the session whose front lives = %v, want it", err)
	}
}

// AGENT 2: an agent leads a session of its own, away from its front's directory;
// its files are for nobody else.
func TestAgentProcess(t *testing.T) {
	state := t.TempDir()
	m, _ := manage(t, state)
	s := open(t, m, request("", false))
	f := attach(t, s, wire.KernelOwner)
	f.until("- status starting")
	dir := filepath.Join(state, "sessions", s.ID())
	for name, want := range map[string]fs.FileMode{"": 0o700, "agent.sock": 0o600, "spec.json": 0o600, "journal": 0o700, "packages": 0o700} {
		got, err := os.Stat(filepath.Join(dir, name))
		if err != nil || got.Mode().Perm() != want {
			t.Errorf("%q has mode %v (%v), want %v", name, got.Mode().Perm(), err, want)
		}
	}
	pid := info(t, s).AgentPID
	if group, err := syscall.Getpgid(pid); err != nil || group != pid {
		t.Errorf("the agent %d is in group %d (%v), want its own", pid, group, err)
	}
	if cwd, err := os.Readlink(filepath.Join("/proc", strconv.Itoa(pid), "cwd")); err == nil && cwd != "/" {
		t.Errorf("the agent's directory is %s, want /", cwd)
	}
}
