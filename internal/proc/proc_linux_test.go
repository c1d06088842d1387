package proc

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
)

// stat is a line of /proc/PID/stat with a name that does its worst.
const stat = "42 (a) Z 7 (b) S 7 42 41 0 -1 4194304 1 2 3 4 250 50 100 0 20 0 3 0 98765 1000 12 1844 1 1 0 0 0 0 0 0 0 0 0 0 17 1 0 0 0 0 0\n"

func TestParseStat(t *testing.T) {
	got, err := parseStat([]byte(stat))
	want := Info{
		PID: 42, PPID: 7, PGID: 42, SID: 41, Start: 98765,
		CPU: 4 * time.Second, ChildCPU: time.Second, Memory: 12 * uint64(os.Getpagesize()), Name: "a) Z 7 (b",
	}
	if err != nil || got != want {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	zombie := strings.Replace(stat, ") S ", ") Z ", 1)
	if got, err := parseStat([]byte(zombie)); err != nil || got.Zombie {
		t.Errorf("dead leader of living threads: got zombie %v, %v, want false", got.Zombie, err)
	}
	zombie = strings.Replace(zombie, " 20 0 3 ", " 20 0 1 ", 1)
	if got, err := parseStat([]byte(zombie)); err != nil || !got.Zombie {
		t.Errorf("dead process: got zombie %v, %v, want true", got.Zombie, err)
	}
	for _, bad := range []string{"", "42", "42 (a", "42 )a( S", "42 (a) S 1 2 3", strings.Replace(stat, "98765", "soon", 1)} {
		if got, err := parseStat([]byte(bad)); err == nil {
			t.Errorf("%q: got %+v, want an error", bad, got)
		}
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add([]byte(stat))
	f.Add([]byte("1 () S"))
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := parseStat(text)
		if err == nil && !strings.Contains(string(text), "("+p.Name+")") {
			t.Errorf("%q: got the name %q", text, p.Name)
		}
	})
}

// sleeper starts a process that does nothing; its end is waited for.
func sleeper(t *testing.T, env ...string) (*exec.Cmd, Ident) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "sleep", "1000")
	cmd.Env = env
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	start, err := StartTime(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	return cmd, Ident{cmd.Process.Pid, start}
}

func TestReadAllAndChildren(t *testing.T) {
	_, id := sleeper(t, "A=1", "B=x=y")
	all, err := All()
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(all, func(p Info) bool { return p.Ident() == id && p.PPID == os.Getpid() }) {
		t.Errorf("the list has not our child %d", id.PID)
	}
	children, err := Children()
	if err != nil || !slices.Contains(children, id.PID) {
		t.Errorf("children: got %v, %v, want %d among them", children, err, id.PID)
	}
	if slow, err := childrenOf(os.Getpid()); err != nil || !slices.Contains(slow, id.PID) {
		t.Errorf("children by the list: got %v, %v, want %d among them", slow, err, id.PID)
	}
	for deadline := time.Now().Add(10 * time.Second); ; {
		if value, ok := Getenv(id.PID, "B"); ok && value == "x=y" {
			break
		}
		if time.Now().After(deadline) { // until it has executed its program
			t.Fatal("B of the child is not x=y")
		}
	}
	if value, ok := Getenv(id.PID, "C"); ok {
		t.Errorf("a variable that is not there: got %q", value)
	}
}

func TestKillSparesAReusedID(t *testing.T) {
	cmd, id := sleeper(t)
	if err := Kill(Ident{id.PID, id.Start + 1}); err != nil || !Alive(id) {
		t.Errorf("kill of an earlier process with this id: got %v, alive %v, want it spared", err, Alive(id))
	}
	if err := Kill(id); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil || Alive(id) {
		t.Errorf("after kill: got %v, alive %v", err, Alive(id))
	}
	if err := Kill(id); err != nil {
		t.Errorf("kill of what is gone: %v", err)
	}
	if _, err := Read(id.PID); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("look at what is gone: got %v, want %v", err, os.ErrNotExist)
	}
}

func TestEndMarked(t *testing.T) {
	marked, id := sleeper(t, Marker+"=this one")
	_, other := sleeper(t, Marker+"=another")
	t.Setenv(Marker, "this one") // the caller is spared, whatever its environment
	waited := make(chan struct{})
	go func() { _ = marked.Wait(); close(waited) }()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	n, err := EndMarked(ctx, "this one")
	if n != 1 || err != nil {
		t.Errorf("ended: got %d, %v, want 1", n, err)
	}
	<-waited
	if Alive(id) || !Alive(other) {
		t.Errorf("alive: got the marked %v, another session's %v, want false and true", Alive(id), Alive(other))
	}
	if n, err := EndMarked(ctx, "this one"); n != 0 || err != nil {
		t.Errorf("ended again: got %d, %v, want none", n, err)
	}
}

func TestEndGivesUp(t *testing.T) {
	self := Info{PID: os.Getpid(), Zombie: true, Name: "forever"}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
	defer cancel()
	_, err := End(ctx, func([]Info) []Info { return []Info{self} })
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "forever") {
		t.Errorf("what stays: got %v, want a deadline error that names it", err)
	}
}
