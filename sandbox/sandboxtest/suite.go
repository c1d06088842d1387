//go:build unix

package sandboxtest

import (
	"bufio"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gokernel/gokernel/sandbox"
)

// TestIsolation checks what every isolation promises. The package's TestMain
// must call [Main]. newIsolation may skip the test where the isolation cannot
// work.
func TestIsolation(t *testing.T, newIsolation func(t *testing.T) sandbox.Isolation) {
	for _, test := range []struct {
		name string
		run  func(*testing.T, *bench)
	}{
		{"descriptors are those asked for", testDescriptors},
		{"environment is exact", testEnvironment},
		{"working directory", testDirectory},
		{"exit says how", testExit},
		{"signals start at their defaults", testDefaultSignals},
		{"signal reaches the group", testGroupSignal},
		{"kill ends daemons", testKillDaemons},
		{"kill spares other commands", testKillSpares},
		{"close ends daemons", testCloseDaemons},
		{"close is idempotent", testClose},
		{"commands die with their agent", testAgentDeath},
		{"wait by several", testWaiters},
		{"stats", testStats},
		{"start errors say why", testStartErrors},
		{"many starts at once", testManyStarts},
	} {
		t.Run(test.name, func(t *testing.T) {
			isolation := newIsolation(t)
			box, err := isolation.Open(t.Context(), sandbox.SandboxSpec{ID: "suite", Dir: t.TempDir()})
			if err != nil {
				t.Fatalf("open: %v", err)
			}
			t.Cleanup(func() {
				if err := box.Close(); err != nil {
					t.Errorf("close: %v", err)
				}
			})
			test.run(t, &bench{isolation, box})
		})
	}
}

// A bench is what a test of the suite works on.
type bench struct {
	isolation sandbox.Isolation
	box       sandbox.Sandbox
}

// script is a command that the shell runs.
func script(text string) sandbox.Command {
	return sandbox.Command{Argv: []string{"/bin/sh", "-c", text}, Env: []string{"PATH=/usr/bin:/bin"}}
}

func (b *bench) start(t *testing.T, cmd sandbox.Command) sandbox.Process {
	t.Helper()
	p, err := b.box.Start(t.Context(), cmd)
	if err != nil {
		t.Fatalf("start: %v", err)
	}
	return p
}

func line(t *testing.T, r *bufio.Reader) string {
	t.Helper()
	text, err := r.ReadString('\n')
	if err != nil {
		t.Fatalf("read a line: %v, got %q", err, text)
	}
	return strings.TrimSpace(text)
}

// output runs a command to its end and returns what it has printed.
func (b *bench) output(t *testing.T, cmd sandbox.Command) string {
	t.Helper()
	r, w := pipe(t)
	cmd.Stdout, cmd.Stderr = w, w
	p := b.start(t, cmd)
	w.Close()
	text, err := io.ReadAll(r)
	if err != nil {
		t.Fatalf("read output: %v", err)
	}
	if exit := wait(t, p); exit.Code != 0 {
		t.Fatalf("command ended with %+v, printed %q", exit, text)
	}
	return string(text)
}

func wait(t *testing.T, p sandbox.Process) sandbox.Exit {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), Wait)
	defer cancel()
	exit, err := p.Wait(ctx)
	if err != nil {
		t.Fatalf("wait: %v", err)
	}
	return exit
}

func pipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() })
	if err := r.SetReadDeadline(time.Now().Add(Wait)); err != nil {
		t.Fatal(err)
	}
	return r, w
}

// hungUp says whether no process has the writing end of r's pipe any more. It
// waits at most for the given time.
func hungUp(t *testing.T, r *os.File, within time.Duration) bool {
	t.Helper()
	raw, err := r.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	hup := false
	err = raw.Control(func(fd uintptr) {
		deadline := time.Now().Add(within)
		for {
			poll := []unix.PollFd{{Fd: int32(fd)}}
			n, err := unix.Poll(poll, int(max(0, time.Until(deadline)).Milliseconds()))
			if errors.Is(err, unix.EINTR) {
				continue
			}
			hup = n == 1 && poll[0].Revents&unix.POLLHUP != 0
			return
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return hup
}

func testDescriptors(t *testing.T, b *bench) {
	// A descriptor that the agent has inherited and knows nothing of.
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	stray, err := unix.Dup(int(null.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(stray)

	inR, inW := pipe(t)
	extraR, extraW := pipe(t)
	cmd := script(`read a; read b <&3; echo "$a $b" >&4
i=0; while [ $i -lt 256 ]; do if [ -e /proc/$$/fd/$i ]; then printf '%s ' $i; fi; i=$((i+1)); done`)
	cmd.Stdin = inR
	backR, backW := pipe(t)
	cmd.Files = []*os.File{extraR, backW}
	if _, err := inW.WriteString("zero\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := extraW.WriteString("three\n"); err != nil {
		t.Fatal(err)
	}
	if got, want := strings.TrimSpace(b.output(t, cmd)), "0 1 2 3 4"; got != want {
		t.Errorf("open descriptors: got %q, want %q", got, want)
	}
	if got, want := line(t, bufio.NewReader(backR)), "zero three"; got != want {
		t.Errorf("through the descriptors: got %q, want %q", got, want)
	}
	if got := b.output(t, script(`cat; [ /proc/$$/fd/0 -ef /dev/null ] && echo null`)); got != "null\n" {
		t.Errorf("default stdin: got %q, want the null device", got)
	}
}

func testEnvironment(t *testing.T, b *bench) {
	t.Setenv("GOKERNEL_LEAK", "the agent's own")
	cmd := sandbox.Command{Argv: []string{"/usr/bin/env"}, Env: []string{"A=1", "B=two words", "EMPTY="}}
	lines := strings.Split(strings.TrimSpace(b.output(t, cmd)), "\n")
	got := slices.DeleteFunc(lines, func(v string) bool {
		return strings.HasPrefix(v, "GOKERNEL_SESSION=") || strings.HasPrefix(v, "GOKERNEL_COMMAND=")
	})
	if want := []string{"A=1", "B=two words", "EMPTY="}; !slices.Equal(got, want) {
		t.Errorf("environment: got %q, want %q", got, want)
	}
}

func testDirectory(t *testing.T, b *bench) {
	cmd := script("pwd -P")
	cmd.Dir = "/usr"
	if got, want := b.output(t, cmd), "/usr\n"; got != want {
		t.Errorf("working directory: got %q, want %q", got, want)
	}
}

func testExit(t *testing.T, b *bench) {
	for _, test := range []struct {
		script string
		want   sandbox.Exit
	}{
		{"exit 0", sandbox.Exit{}},
		{"exit 7", sandbox.Exit{Code: 7}},
		{"kill -TERM $$", sandbox.Exit{Code: -1, Signal: "SIGTERM"}},
		{"ulimit -c 0; kill -SEGV $$", sandbox.Exit{Code: -1, Signal: "SIGSEGV"}},
	} {
		p := b.start(t, script(test.script))
		got := wait(t, p)
		got.Core = false // decided by the machine
		if got != test.want {
			t.Errorf("%s: got %+v, want %+v", test.script, got, test.want)
		}
		if err := p.Signal(syscall.SIGTERM); !errors.Is(err, os.ErrProcessDone) {
			t.Errorf("%s: signal after the end: got %v, want %v", test.script, err, os.ErrProcessDone)
		}
		if err := p.Kill(t.Context()); err != nil {
			t.Errorf("%s: kill after the end: %v", test.script, err)
		}
	}
}

func testDefaultSignals(t *testing.T, b *bench) {
	got := b.output(t, script("grep SigIgn /proc/self/status; grep SigBlk /proc/self/status"))
	for _, l := range strings.Split(strings.TrimSpace(got), "\n") {
		name, text, _ := strings.Cut(l, ":")
		mask, err := strconv.ParseUint(strings.TrimSpace(text), 16, 64)
		// 32 and 33 are the C library's own; no program can set them.
		if mask &^= 1<<31 | 1<<32; err != nil || mask != 0 {
			t.Errorf("%s of a command: got %s, want none", name, text)
		}
	}
}

func testGroupSignal(t *testing.T, b *bench) {
	r, w := pipe(t)
	cmd := script(`trap 'echo parent; wait; exit 3' TERM
(trap 'echo child; exit 0' TERM; echo ready; while :; do sleep 0.05; done) &
wait`)
	cmd.Stdout = w
	p := b.start(t, cmd)
	w.Close()
	out := bufio.NewReader(r)
	if got := line(t, out); got != "ready" {
		t.Fatalf("first line: got %q, want ready", got)
	}
	if err := p.Signal(syscall.SIGTERM); err != nil {
		t.Fatalf("signal: %v", err)
	}
	got := []string{line(t, out), line(t, out)}
	slices.Sort(got)
	if want := []string{"child", "parent"}; !slices.Equal(got, want) {
		t.Errorf("who got the signal: got %q, want %q", got, want)
	}
	if exit := wait(t, p); exit.Code != 3 {
		t.Errorf("exit: got %+v, want code 3", exit)
	}
}

// daemons leaves two daemons behind that hold descriptor 3, and ends: one that
// leads a session of its own, and one that the leader of a session has left.
const daemons = `setsid sh -c 'echo up; exec sleep 1000 >/dev/null' &
setsid sh -c 'sh -c "echo up; exec sleep 1000 >/dev/null" & wait' &
`

func needSetsid(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("setsid"); err != nil {
		t.Skip("no setsid command")
	}
}

// startDaemons starts a script that begins with daemons and returns when they
// are up, with the lifeline that they hold.
func (b *bench) startDaemons(t *testing.T, rest string) (sandbox.Process, *os.File) {
	t.Helper()
	needSetsid(t)
	lifeline, held := pipe(t)
	r, w := pipe(t)
	cmd := script(daemons + rest)
	cmd.Stdout = w
	cmd.Files = []*os.File{held}
	p := b.start(t, cmd)
	held.Close()
	w.Close()
	out := bufio.NewReader(r)
	line(t, out)
	line(t, out)
	return p, lifeline
}

func testKillDaemons(t *testing.T, b *bench) {
	for _, rest := range []string{"exit 0", "wait"} {
		p, lifeline := b.startDaemons(t, rest)
		if rest == "exit 0" {
			wait(t, p)
		}
		if hungUp(t, lifeline, 0) {
			t.Fatalf("%s: no daemon holds the lifeline", rest)
		}
		ctx, cancel := context.WithTimeout(t.Context(), Wait)
		defer cancel()
		if err := p.Kill(ctx); err != nil {
			t.Fatalf("%s: kill: %v", rest, err)
		}
		if !hungUp(t, lifeline, 0) {
			t.Errorf("%s: a daemon is left after kill", rest)
		}
	}
}

func testKillSpares(t *testing.T, b *bench) {
	_, spared := b.startDaemons(t, "exit 0")
	p, lifeline := b.startDaemons(t, "exit 0")
	if err := p.Kill(t.Context()); err != nil {
		t.Fatalf("kill: %v", err)
	}
	if !hungUp(t, lifeline, 0) {
		t.Error("a daemon of the killed command is left")
	}
	if hungUp(t, spared, 0) {
		t.Error("the daemons of another command are gone")
	}
}

func testCloseDaemons(t *testing.T, b *bench) {
	var lifelines []*os.File
	for _, rest := range []string{"exit 0", "while :; do :; done"} {
		_, lifeline := b.startDaemons(t, rest)
		lifelines = append(lifelines, lifeline)
	}
	if err := b.box.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
	for i, lifeline := range lifelines {
		if !hungUp(t, lifeline, 0) {
			t.Errorf("something of command %d is left after close", i)
		}
	}
}

func testClose(t *testing.T, b *bench) {
	var all sync.WaitGroup
	for range 3 {
		all.Go(func() {
			if err := b.box.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
		})
	}
	all.Wait()
	if _, err := b.box.Start(t.Context(), script("exit 0")); !errors.Is(err, os.ErrClosed) {
		t.Errorf("start after close: got %v, want %v", err, os.ErrClosed)
	}
	if _, err := b.box.Stats(t.Context()); !errors.Is(err, os.ErrClosed) {
		t.Errorf("stats after close: got %v, want %v", err, os.ErrClosed)
	}
}

func testAgentDeath(t *testing.T, b *bench) {
	scripts := map[string]string{"busy": "echo up; while :; do :; done"}
	if b.isolation.Capabilities().Reaps {
		needSetsid(t)
		scripts["daemon"] = "setsid sh -c 'echo up; exec sleep 1000 >/dev/null' & exit 0"
	}
	for name, text := range scripts {
		t.Run(name, func(t *testing.T) {
			self, err := os.Executable()
			if err != nil {
				t.Fatal(err)
			}
			lifeline, held := pipe(t)
			cmd := exec.CommandContext(t.Context(), self, agentArg, text)
			cmd.ExtraFiles = []*os.File{held}
			var stderr strings.Builder
			cmd.Stderr = &stderr
			cmd.WaitDelay = Wait
			stdout, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			held.Close()
			first, err := bufio.NewReader(stdout).ReadString('\n')
			if err != nil {
				t.Errorf("the command did not start: %v", err)
			}
			if hungUp(t, lifeline, 0) {
				t.Errorf("after %q nobody holds the lifeline", first)
			}
			if err := cmd.Process.Kill(); err != nil {
				t.Errorf("kill the agent: %v", err)
			}
			_ = cmd.Wait() // it was killed
			if !hungUp(t, lifeline, Wait) {
				t.Errorf("the command lives on without its agent; agent's errors: %s", stderr.String())
			}
		})
	}
}

func testWaiters(t *testing.T, b *bench) {
	in, hold := pipe(t)
	cmd := script("read x; exit 5")
	cmd.Stdin = in
	p := b.start(t, cmd)
	short, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := p.Wait(short); !errors.Is(err, context.Canceled) {
		t.Errorf("wait with an ended context: got %v, want %v", err, context.Canceled)
	}
	var all sync.WaitGroup
	for range 5 {
		all.Go(func() {
			if exit, err := p.Wait(t.Context()); err != nil || exit.Code != 5 {
				t.Errorf("wait: got %+v, %v, want code 5", exit, err)
			}
		})
	}
	if _, err := hold.WriteString("go\n"); err != nil {
		t.Fatal(err)
	}
	all.Wait()
}

func testStats(t *testing.T, b *bench) {
	stats := func() sandbox.Stats {
		s, err := b.box.Stats(t.Context())
		if errors.Is(err, errors.ErrUnsupported) {
			t.Skip(err)
		}
		if err != nil {
			t.Fatalf("stats: %v", err)
		}
		return s
	}
	if got := stats(); got.Processes != 0 || got.Memory != 0 {
		t.Errorf("stats of an empty sandbox: got %+v", got)
	}
	p := b.start(t, script("(while :; do :; done) & while :; do :; done"))
	var got sandbox.Stats
	for deadline := time.Now().Add(Wait); ; {
		got = stats()
		if got.Processes == 2 && got.Memory > 0 && got.CPU >= 50*time.Millisecond {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("stats of two busy processes: got %+v, want 2 processes, memory and 50 ms", got)
		}
	}
	if err := p.Kill(t.Context()); err != nil {
		t.Fatalf("kill: %v", err)
	}
	if after := stats(); after.Processes != 0 || after.CPU < 50*time.Millisecond {
		t.Errorf("stats after kill: got %+v, want no process and the time spent, about %v", after, got.CPU)
	}
}

func testStartErrors(t *testing.T, b *bench) {
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for name, test := range map[string]struct {
		ctx  context.Context
		cmd  sandbox.Command
		want error
		text string
	}{
		"missing path":      {t.Context(), sandbox.Command{Argv: []string{"/no/such/program"}}, fs.ErrNotExist, "/no/such/program"},
		"missing name":      {t.Context(), sandbox.Command{Argv: []string{"no-such-program"}, Env: []string{"PATH=/bin"}}, exec.ErrNotFound, "no-such-program"},
		"missing directory": {t.Context(), sandbox.Command{Argv: []string{"/bin/sh"}, Dir: "/no/such/dir"}, fs.ErrNotExist, "/no/such/dir"},
		"nothing":           {t.Context(), sandbox.Command{}, nil, "no program"},
		"ended context":     {ended, script("exit 0"), context.Canceled, "/bin/sh"},
	} {
		_, err := b.box.Start(test.ctx, test.cmd)
		if err == nil || !strings.Contains(err.Error(), test.text) || (test.want != nil && !errors.Is(err, test.want)) {
			t.Errorf("%s: got error %v, want one that is %v and names %s", name, err, test.want, test.text)
		}
	}
}

func testManyStarts(t *testing.T, b *bench) {
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			p, err := b.box.Start(t.Context(), script("exit "+string(rune('0'+i%10))))
			if err != nil {
				t.Errorf("start %d: %v", i, err)
				return
			}
			if exit, err := p.Wait(t.Context()); err != nil || exit.Code != i%10 {
				t.Errorf("command %d: got %+v, %v, want code %d", i, exit, err, i%10)
			}
		})
	}
	all.Wait()
}
