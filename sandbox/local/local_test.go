//go:build linux

package local_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gokernel/gokernel/internal/proc"
	"github.com/gokernel/gokernel/sandbox"
	"github.com/gokernel/gokernel/sandbox/local"
)

func pidOf(t *testing.T, h sandbox.Handle) proc.Ident {
	t.Helper()
	var s struct {
		PID   int    `json:"pid"`
		Start uint64 `json:"start"`
	}
	if err := json.Unmarshal(h.State, &s); err != nil {
		t.Fatal(err)
	}
	return proc.Ident{PID: s.PID, Start: s.Start}
}

func kill(t *testing.T, agent proc.Ident) {
	t.Helper()
	if err := proc.Kill(agent); err != nil {
		t.Fatal(err)
	}
	waitDead(t, agent)
}

func waitDead(t *testing.T, id proc.Ident) {
	t.Helper()
	for deadline := time.Now().Add(limit); proc.Alive(id); runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("process %d lives on", id.PID)
		}
	}
}

func TestStartDialStop(t *testing.T) {
	s := newSite(t)
	h := s.start(t, "one", config{})
	if h.Driver != local.Name || h.ID != "one" {
		t.Errorf("handle: got driver %q and id %q, want %q and one", h.Driver, h.ID, local.Name)
	}
	if got, want := s.ask(t, h, "pid"), strconv.Itoa(pidOf(t, h).PID); got != want {
		t.Errorf("pid of the agent: got %s, want %s as the handle says", got, want)
	}
	if got := s.ask(t, h, "secret"); got != "s3cret-of-one" {
		t.Errorf("secret of the agent: got %q", got)
	}
	for name, want := range map[string]os.FileMode{"": os.ModeDir | 0o700, "agent.sock": os.ModeSocket | 0o600, "agent.lock": 0o600} {
		info, err := os.Stat(filepath.Join(s.dir, "sessions", "one", name))
		if err != nil || info.Mode() != want {
			t.Errorf("mode of %q: got %v, %v, want %v", name, info.Mode(), err, want)
		}
	}
	s.stop(t, h)
	if proc.Alive(pidOf(t, h)) {
		t.Error("the agent is alive after stop")
	}
	if left := s.files(t, "one"); len(left) > 0 {
		t.Errorf("files after stop: got %q, want none", left)
	}
	if _, err := s.Dial(t.Context(), h); !errors.Is(err, sandbox.ErrNotFound) {
		t.Errorf("dial after stop: got %v, want %v", err, sandbox.ErrNotFound)
	}
	s.stop(t, h) // what is gone is no error
	s.stop(t, sandbox.Handle{ID: "never was"})
}

func TestAgentStandsAlone(t *testing.T) {
	t.Run("by a shell", func(t *testing.T) { testAgentStandsAlone(t, newSite(t)) })
	t.Run("without one", func(t *testing.T) {
		s := newSite(t)
		s.WithoutShell()
		testAgentStandsAlone(t, s)
	})
}

func testAgentStandsAlone(t *testing.T, s *site) {
	t.Helper()
	t.Setenv("JPY_PARENT_PID", strconv.Itoa(os.Getpid()))
	t.Setenv("GOKERNEL_SESSION", "of the front")
	t.Setenv("GOKERNEL_TEST_KEPT", "yes")
	path := filepath.Join(t.TempDir(), "stray")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	stray, err := unix.Dup(int(file.Fd())) // inherited, as from a careless shell
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(stray)

	h := s.start(t, "alone", config{})
	sid, err := unix.Getsid(0)
	if err != nil {
		t.Fatal(err)
	}
	agent, err := proc.Read(pidOf(t, h).PID)
	if err != nil {
		t.Fatal(err)
	}
	if agent.SID == sid || agent.PGID == unix.Getpgrp() {
		t.Errorf("session and group: got %d and %d, want others than the front's", agent.SID, agent.PGID)
	}
	if agent.PPID == os.Getpid() {
		t.Error("the agent is a child of its front")
	}
	if got := s.ask(t, h, "cwd"); got != "/ <nil>" {
		t.Errorf("working directory: got %q, want /", got)
	}
	for name, want := range map[string]string{
		"JPY_PARENT_PID": "false", "GOKERNEL_SESSION": "false", "GOKERNEL_TEST_KEPT": "true yes",
	} {
		if got := strings.TrimSpace(s.ask(t, h, "env "+name)); got != want {
			t.Errorf("%s in the environment: got %q, want %q", name, got, want)
		}
	}
	fds := s.ask(t, h, "fds")
	if strings.Contains(fds, path) || strings.Contains(fds, "pipe:") {
		t.Errorf("descriptors: got %s, want neither the front's file nor a pipe", fds)
	}
	for _, want := range []string{"0=/dev/null", "1=/dev/null", "2=/dev/null"} {
		if !strings.Contains(fds, want) {
			t.Errorf("descriptors: got %s, want %s", fds, want)
		}
	}
	for _, name := range []string{"cmdline", "environ"} {
		text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(agent.PID), name))
		if err != nil {
			t.Fatal(err)
		}
		if len(text) == 0 || strings.Contains(string(text), "s3cret") {
			t.Errorf("%s of the agent is empty or has the secret", name)
		}
	}
}

// startCreator starts a process group that creates an agent, and returns it and
// the agent's handle.
func startCreator(t *testing.T, program, dir, agent string) (*exec.Cmd, sandbox.Handle) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, "creator", dir, agent)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = limit
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	var h sandbox.Handle
	if err == nil {
		err = json.Unmarshal([]byte(line), &h)
	}
	if err != nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		t.Fatalf("creator said %q: %v", line, err)
	}
	return cmd, h
}

func TestAgentSurvivesItsCreator(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for name, group := range map[string]int{"process": 1, "process group": -1} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			creator, h := startCreator(t, self, s.dir, self)
			if err := syscall.Kill(group*creator.Process.Pid, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			_ = creator.Wait() // it was killed
			if got, want := s.ask(t, h, "pid"), strconv.Itoa(pidOf(t, h).PID); got != want {
				t.Errorf("after the death of its creator: got %s, want %s", got, want)
			}
		})
	}
}

func TestRemovedProgramStartsItsOwnImage(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	image, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(program, image, 0o700); err != nil {
		t.Fatal(err)
	}
	s := newSite(t)
	creator, h := startCreator(t, program, s.dir, "self")
	if got := s.ask(t, h, "secret"); got != "s3cret-of-created" {
		t.Errorf("agent of a removed program: got %q", got)
	}
	_ = creator.Process.Kill()
	_ = creator.Wait()
}

func TestConcurrentStartsGiveOneAgent(t *testing.T) {
	s := newSite(t)
	handles := make([]sandbox.Handle, 6)
	var all sync.WaitGroup
	for i := range handles {
		all.Go(func() {
			h, err := s.Start(t.Context(), newSpec("shared", config{}))
			if err != nil {
				t.Errorf("start %d: %v", i, err)
			}
			handles[i] = h
		})
	}
	all.Wait()
	if t.Failed() {
		return
	}
	for _, h := range handles {
		if got, want := s.ask(t, h, "pid"), strconv.Itoa(pidOf(t, handles[0]).PID); got != want {
			t.Errorf("agent: got process %s, want %s", got, want)
		}
	}
}

func TestLaterAgent(t *testing.T) {
	s := newSite(t)
	old := s.start(t, "again", config{})
	kill(t, pidOf(t, old))
	if left := s.files(t, "again"); len(left) != 2 {
		t.Fatalf("files of a killed agent: got %q, want a socket and a lock", left)
	}
	if list, err := s.List(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("list after the death: got %v, %v, want nothing", list, err)
	}
	if _, err := s.Dial(t.Context(), old); !errors.Is(err, sandbox.ErrNotFound) {
		t.Errorf("dial a killed agent: got %v, want %v", err, sandbox.ErrNotFound)
	}
	later := s.start(t, "again", config{})
	if pidOf(t, later) == pidOf(t, old) {
		t.Fatal("the later agent is the old one")
	}
	if _, err := s.Dial(t.Context(), old); !errors.Is(err, sandbox.ErrNotFound) {
		t.Errorf("dial an agent that has a successor: got %v, want %v", err, sandbox.ErrNotFound)
	}
	s.stop(t, old)
	if got := s.ask(t, later, "pid"); got == "" {
		t.Error("stopping the old handle has ended the later agent")
	}
	s.stop(t, sandbox.Handle{Driver: local.Name, ID: "again"}) // whatever agent it has
	if proc.Alive(pidOf(t, later)) {
		t.Error("a handle without state does not stop the agent")
	}
}

func TestList(t *testing.T) {
	s := newSite(t)
	want := map[string]bool{"a": true, "b": true}
	for id := range want {
		s.start(t, id, config{})
	}
	list, err := s.List(t.Context())
	if err != nil || len(list) != 2 {
		t.Fatalf("list: got %v, %v, want two", list, err)
	}
	for _, h := range list {
		if !want[h.ID] || s.ask(t, h, "secret") != "s3cret-of-"+h.ID {
			t.Errorf("listed handle of %q does not lead to its agent", h.ID)
		}
	}
}

func TestLongPath(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("long", 30), strings.Repeat("path", 30))
	s := newSiteIn(t, dir)
	h := s.start(t, "deep", config{})
	if got := s.ask(t, h, "secret"); got != "s3cret-of-deep" {
		t.Errorf("agent below a long path: got %q", got)
	}
	s.stop(t, h)
	if left := s.files(t, "deep"); len(left) > 0 {
		t.Errorf("files after stop: got %q, want none", left)
	}
}

func TestOtherUsersAreRefused(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can become another user")
	}
	s := newSite(t)
	h := s.start(t, "private", config{})
	dir := filepath.Join(s.dir, "sessions", "private")
	// The file system lets everybody in: what is left is the listener's check.
	for path := dir; path != "/" && path != os.TempDir(); path = filepath.Dir(path) {
		if err := os.Chmod(path, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	socket := filepath.Join(dir, "agent.sock")
	if err := os.Chmod(socket, 0o666); err != nil {
		t.Fatal(err)
	}
	for uid, want := range map[int]string{0: "s3cret-of-private\n", 65534: ""} {
		if got := askAs(t, uid, socket); got != want {
			t.Errorf("answer to user %d: got %q, want %q", uid, got, want)
		}
	}
	if got := s.ask(t, h, "secret"); got != "s3cret-of-private" {
		t.Errorf("answer after a refusal: got %q", got)
	}
}

// askAs asks for the secret from a thread of another user.
func askAs(t *testing.T, uid int, socket string) string {
	t.Helper()
	answer := make(chan string, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		const keep = ^uintptr(0)
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, keep, uintptr(uid), keep); errno != 0 {
			answer <- errno.Error()
			return
		}
		answer <- rawAsk(socket)
	}()
	return <-answer
}

func rawAsk(socket string) string {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err.Error()
	}
	defer unix.Close(fd)
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 20}); err != nil {
		return err.Error()
	}
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: socket}); err != nil {
		return err.Error()
	}
	_ = unix.Sendto(fd, []byte("secret\n"), unix.MSG_NOSIGNAL, nil) // refused ones may be closed already
	buffer := make([]byte, 100)
	n, err := unix.Read(fd, buffer)
	if err != nil && !errors.Is(err, unix.ECONNRESET) {
		return err.Error()
	}
	return string(buffer[:max(n, 0)])
}

func TestStopHungAgent(t *testing.T) {
	s := newSite(t)
	h := s.start(t, "hung", config{Hang: true})
	if err := syscall.Kill(pidOf(t, h).PID, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if got := s.ask(t, h, "secret"); got != "s3cret-of-hung" {
		t.Fatalf("the agent does not hang: got %q", got)
	}
	impatient := local.New(s.dir, &local.Options{Grace: time.Millisecond})
	if err := impatient.Stop(t.Context(), h); err != nil {
		t.Fatal(err)
	}
	if proc.Alive(pidOf(t, h)) {
		t.Error("the agent is alive after stop")
	}
	if left := s.files(t, "hung"); len(left) > 0 {
		t.Errorf("files after stop: got %q, want none", left)
	}
}

func TestStopReapsWhatAKilledAgentLeft(t *testing.T) {
	if _, err := exec.LookPath("setsid"); err != nil {
		t.Skip("no setsid command")
	}
	s := newSite(t)
	h := s.start(t, "parent", config{Command: true})
	pid, err := strconv.Atoi(s.ask(t, h, "daemon"))
	if err != nil {
		t.Fatal(err)
	}
	start, err := proc.StartTime(pid)
	if err != nil {
		t.Fatal(err)
	}
	daemon := proc.Ident{PID: pid, Start: start}
	kill(t, pidOf(t, h))
	if !proc.Alive(daemon) {
		t.Fatal("the daemon has died with its agent; nothing is left to reap")
	}
	s.stop(t, h)
	if proc.Alive(daemon) {
		t.Error("the daemon is alive after stop")
	}
}

func TestStopSparesAReusedPID(t *testing.T) {
	s := newSite(t)
	h := s.start(t, "reused", config{})
	kill(t, pidOf(t, h))
	bystander := exec.CommandContext(t.Context(), "sleep", "1000")
	if err := bystander.Start(); err != nil {
		t.Fatal(err)
	}
	start, err := proc.StartTime(bystander.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	h.State, err = json.Marshal(map[string]any{"pid": bystander.Process.Pid, "start": start - 1})
	if err != nil {
		t.Fatal(err)
	}
	s.stop(t, h)
	if !proc.Alive(proc.Ident{PID: bystander.Process.Pid, Start: start}) {
		t.Error("a process that has the agent's id was killed")
	}
	_ = bystander.Process.Kill()
	_ = bystander.Wait()
}

func TestStartErrors(t *testing.T) {
	s := newSite(t)
	occupied := filepath.Join(s.dir, "file")
	if err := os.WriteFile(occupied, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	spec := func(change func(*sandbox.Spec)) sandbox.Spec {
		sp := newSpec("bad", config{})
		change(&sp)
		return sp
	}
	for name, test := range map[string]struct {
		spec sandbox.Spec
		want string
	}{
		"no id":                    {spec(func(s *sandbox.Spec) { s.ID = "" }), "empty session id"},
		"id is a path":             {spec(func(s *sandbox.Spec) { s.ID = "../up" }), "slash"},
		"directory elsewhere":      {spec(func(s *sandbox.Spec) { s.Dir = t.TempDir() }), "where List looks"},
		"directory is a file":      {spec(func(s *sandbox.Spec) { s.Dir = occupied }), "not a directory"},
		"missing program":          {spec(func(s *sandbox.Spec) { s.Agent = "/no/such/agent" }), "/no/such/agent"},
		"program is no agent":      {spec(func(s *sandbox.Spec) { s.Agent = "/bin/true" }), "may not be a gokernel program"},
		"agent reads no such spec": {spec(func(s *sandbox.Spec) { s.Config = json.RawMessage("{") }), "spec"},
	} {
		_, err := s.Start(t.Context(), test.spec)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got error %v, want one with %q", name, err, test.want)
		}
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Start(ended, newSpec("late", config{})); !errors.Is(err, context.Canceled) {
		t.Errorf("ended context: got %v, want %v", err, context.Canceled)
	}
	if _, err := s.Start(t.Context(), spec(func(sp *sandbox.Spec) { sp.Dir = filepath.Join(s.dir, "own") })); err != nil {
		t.Fatal(err)
	}
	_, err := s.Start(t.Context(), spec(func(sp *sandbox.Spec) { sp.ID, sp.Dir = "other", filepath.Join(s.dir, "own") }))
	if err == nil || !strings.Contains(err.Error(), "belongs to session bad") {
		t.Errorf("directory of another session: got %v", err)
	}
}

func TestWhichProgramIsTheAgent(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	s := newSite(t)
	d := local.New(s.dir, nil)
	t.Setenv("PATH", t.TempDir())
	if _, err := d.Start(t.Context(), newSpec("x", config{})); err == nil || !strings.Contains(err.Error(), local.AgentVariable) {
		t.Errorf("no program: got %v, want an error that names %s", err, local.AgentVariable)
	}
	t.Setenv(local.AgentVariable, self)
	h, err := d.Start(t.Context(), newSpec("variable", config{}))
	if err != nil {
		t.Fatal(err)
	}
	if got := s.ask(t, h, "secret"); got != "s3cret-of-variable" {
		t.Errorf("agent of the variable: got %q", got)
	}
	t.Setenv(local.AgentVariable, "")
	bin := t.TempDir()
	if err := os.Symlink(self, filepath.Join(bin, "gokernel")); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin)
	if h, err = d.Start(t.Context(), newSpec("path", config{})); err != nil {
		t.Fatal(err)
	}
	if got := s.ask(t, h, "secret"); got != "s3cret-of-path" {
		t.Errorf("agent on PATH: got %q", got)
	}
}

func BenchmarkStart(b *testing.B) {
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	d := local.New(b.TempDir(), &local.Options{Agent: self})
	for b.Loop() {
		h, err := d.Start(b.Context(), newSpec("bench", config{}))
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if err := d.Stop(b.Context(), h); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}
