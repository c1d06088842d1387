//go:build linux || darwin

package session_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/gokernel/gokernel/sandbox"
	"github.com/gokernel/gokernel/session"
	"github.com/gokernel/gokernel/session/agent/agenttest"
	"github.com/gokernel/gokernel/session/wire"
)

// openIn opens a kept session whose working directory is dir.
func openIn(t testing.TB, m *session.Manager, name, dir string) *session.Session {
	t.Helper()
	r := request(name, true)
	r.Dir = dir
	return open(t, m, r)
}

func contentOf(t testing.TB, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// names returns what is in a directory, on one line.
func names(t testing.TB, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return strings.Join(all, " ")
}

// eventually waits until ok.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(5 * time.Millisecond) { // nothing tells when
		if time.Now().After(end) {
			t.Fatalf("not seen: %s", what)
		}
	}
}

// A reader reads what a function gives.
type reader func([]byte) (int, error)

func (r reader) Read(b []byte) (int, error) { return r(b) }

func TestFilesOfSession(t *testing.T) {
	m, _ := manage(t, t.TempDir())
	dir := t.TempDir()
	s := openIn(t, m, "files", dir)
	ctx := t.Context()
	large := strings.Repeat("ü🙂-", 700_000) // 4.9 MB
	// A reader that gives little at a time, and nothing now and then.
	rest, turn := large, 0
	slow := reader(func(b []byte) (int, error) {
		if turn++; turn%3 == 0 {
			return 0, nil
		}
		if rest == "" {
			return 0, io.EOF
		}
		n := copy(b, rest[:min(len(rest), 100_003)])
		rest = rest[n:]
		return n, nil
	})
	if err := s.WriteFile(ctx, "sub/large", slow, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := contentOf(t, dir+"/sub/large"); got != large {
		t.Errorf("the file has %d bytes, want %d", len(got), len(large))
	}
	var b bytes.Buffer
	if n, err := s.ReadFile(ctx, "sub/large", &b); n != int64(len(large)) || err != nil || b.String() != large {
		t.Errorf("ReadFile = %d, %v with %d bytes, want %d", n, err, b.Len(), len(large))
	}
	if err := s.WriteFile(ctx, "empty", strings.NewReader(""), 0); err != nil {
		t.Error(err)
	}
	list, err := s.ListFiles(ctx, "")
	if err != nil || len(list) != 2 || list[0].Name != "empty" || list[0].Size != 0 || list[0].Mode != 0o644 || !list[1].Dir {
		t.Errorf("ListFiles = %+v, %v, want the file and the directory", list, err)
	}
	if list, err = s.ListFiles(ctx, "sub"); err != nil || len(list) != 1 || list[0].Size != int64(len(large)) || list[0].Mode != 0o600 {
		t.Errorf("ListFiles(sub) = %+v, %v, want the file", list, err)
	}
	if list, err = s.ListFiles(ctx, "sub/.."); list != nil || err == nil {
		t.Errorf("ListFiles(sub/..) = %v, %v, want an error", list, err)
	}
}

func TestFileErrors(t *testing.T) {
	m, _ := manage(t, t.TempDir())
	dir := t.TempDir()
	s := openIn(t, m, "errors", dir)
	ctx := t.Context()
	touch(t, dir+"/file")
	_, read := s.ReadFile(ctx, "no/such", io.Discard)
	_, list := s.ListFiles(ctx, "no/such")
	_, outside := s.ReadFile(ctx, "../x", io.Discard)
	below := s.WriteFile(ctx, "file/x", strings.NewReader("x"), 0)
	why := errors.New("the source is broken")
	source := s.WriteFile(ctx, "new", io.MultiReader(strings.NewReader("x"), reader(func([]byte) (int, error) { return 0, why })), 0)
	short := s.WriteFile(ctx, "new", io.MultiReader(strings.NewReader("x"), reader(func([]byte) (int, error) { return 0, io.ErrUnexpectedEOF })), 0)
	idle := s.WriteFile(ctx, "new", reader(func([]byte) (int, error) { return 0, nil }), 0)
	if err := os.WriteFile(dir+"/file2", []byte("text"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, sink := s.ReadFile(ctx, "file2", failing{})
	for what, test := range map[string]struct {
		err, is error
		says    string
	}{
		"read of nothing":    {read, fs.ErrNotExist, "reading no/such: file does not exist"},
		"list of nothing":    {list, fs.ErrNotExist, "listing no/such: file does not exist"},
		"read from outside":  {outside, nil, `".."`},
		"write below a file": {below, nil, "writing file/x: something in its path is no directory"},
		"a broken source":    {source, why, "writing new in session"},
		"a source cut short": {short, io.ErrUnexpectedEOF, "writing new in session"},
		"an idle source":     {idle, io.ErrNoProgress, "writing new in session"},
		"a broken sink":      {sink, errFull, "reading file2 in session"},
	} {
		if test.err == nil || test.is != nil && !errors.Is(test.err, test.is) || !strings.Contains(test.err.Error(), test.says) {
			t.Errorf("%s: got error %v, want one that says %q and is %v", what, test.err, test.says, test.is)
		}
		if test.is != fs.ErrNotExist && errors.Is(test.err, fs.ErrNotExist) {
			t.Errorf("%s: %v is fs.ErrNotExist, want it not to be", what, test.err)
		}
	}
	eventually(t, "that nothing is left", func() bool { return names(t, dir) == "file file2" })
}

// The end of a context ends what is under way, and leaves nothing.
func TestFilesEndWithContext(t *testing.T) {
	m, _ := manage(t, t.TempDir())
	dir := t.TempDir()
	s := openIn(t, m, "ctx", dir)
	why := errors.New("the user has had enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	sent := 0
	err := s.WriteFile(ctx, "endless", reader(func(b []byte) (int, error) {
		if sent += len(b); sent > 20<<20 {
			cancel(why)
		}
		return len(b), nil
	}), 0)
	if !errors.Is(err, why) {
		t.Errorf("WriteFile = %v, want the cause of the context's end", err)
	}
	eventually(t, "that nothing is left", func() bool { return names(t, dir) == "" })

	if err := s.WriteFile(t.Context(), "large", io.LimitReader(zeros{}, 20<<20), 0); err != nil {
		t.Fatal(err)
	}
	ctx, cancel = context.WithCancelCause(t.Context())
	_, err = s.ReadFile(ctx, "large", writer(func(string) { cancel(why) }))
	if !errors.Is(err, why) {
		t.Errorf("ReadFile = %v, want the cause of the context's end", err)
	}
	if err := s.WriteFile(ctx, "x", strings.NewReader(""), 0); !errors.Is(err, why) {
		t.Errorf("WriteFile after the context's end = %v, want its cause", err)
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

func TestCommandInSession(t *testing.T) {
	m, _ := manage(t, t.TempDir())
	dir := t.TempDir()
	s := openIn(t, m, "command", dir)
	var out, errs bytes.Buffer
	exit, err := s.Command(t.Context(), session.Command{
		Argv: []string{"sh", "-c", "pwd -P; echo $X; echo wrong >&2; exit 3"}, Env: map[string]string{"X": "x y"}, Cwd: "sub", Stdout: &out, Stderr: &errs,
	})
	real, _ := filepath.EvalSymlinks(dir)
	if err != nil || exit != (session.Exit{Code: 3}) || out.String() != real+"/sub\nx y\n" || errs.String() != "wrong\n" {
		t.Errorf("Command = %+v, %v with %q and %q", exit, err, &out, &errs)
	}
	if exit, err = s.Command(t.Context(), session.Command{Argv: []string{"sh", "-c", "echo unheard; kill -9 $$"}}); err != nil || exit != (session.Exit{Code: -1, Signal: "SIGKILL"}) {
		t.Errorf("Command = %+v, %v, want its signal", exit, err)
	}
	for what, c := range map[string]session.Command{
		"no program": {}, "no such program": {Argv: []string{"no-such-program"}}, "no such directory": {Argv: []string{"true"}, Cwd: "/no/such"},
	} {
		if exit, err := s.Command(t.Context(), c); err == nil {
			t.Errorf("Command with %s = %+v, want an error", what, exit)
		}
	}
	// It ends with the context, and when nobody can take what it writes.
	for what, end := range map[string]func(context.CancelFunc) error{
		"the context": func(cancel context.CancelFunc) error { cancel(); return nil },
		"a writer":    func(context.CancelFunc) error { return errFull },
	} {
		ctx, cancel := context.WithCancel(t.Context())
		pid := 0
		_, err := s.Command(ctx, session.Command{
			Argv: []string{"sh", "-c", "echo $$; while :; do sleep 0.05; echo again; done"},
			Stdout: writerFunc(func(b []byte) (int, error) {
				pid, _ = strconv.Atoi(strings.TrimSpace(string(b)))
				return len(b), end(cancel)
			}),
		})
		if err == nil || pid == 0 {
			t.Errorf("Command ended by %s = %v with pid %d, want an error", what, err, pid)
			continue
		}
		eventually(t, "the end of the command by "+what, func() bool { return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) })
		cancel()
	}
}

type writerFunc func([]byte) (int, error)

func (w writerFunc) Write(b []byte) (int, error) { return w(b) }

// The layer below needs an agent, and says so when it is gone.
func TestFilesOfDeadSession(t *testing.T) {
	m, _ := manage(t, t.TempDir())
	dir := t.TempDir()
	s := openIn(t, m, "dead", dir)
	agent := info(t, s).AgentPID
	first := true
	err := s.WriteFile(t.Context(), "data", reader(func(b []byte) (int, error) {
		if !first {
			eventually(t, "the part", func() bool { return strings.Contains(names(t, dir), ".part") })
			kill(t, agent)
			return 0, io.EOF
		}
		first = false
		return len(b), nil
	}), 0)
	if err == nil {
		t.Error("WriteFile to an agent that was killed = nil, want an error")
	}
	eventually(t, "the agent's end", func() bool {
		_, err := s.ListFiles(t.Context(), "")
		return errors.Is(err, session.ErrDead)
	})
	if _, err := s.ReadFile(t.Context(), "data", io.Discard); !errors.Is(err, session.ErrDead) {
		t.Errorf("ReadFile = %v, want ErrDead", err)
	}
	if _, err := s.Command(t.Context(), session.Command{Argv: []string{"true"}}); !errors.Is(err, session.ErrDead) {
		t.Errorf("Command = %v, want ErrDead", err)
	}
	// What it has left goes when the session is opened again.
	f := attach(t, openIn(t, m, "dead", dir), wire.KernelOwner)
	f.execute("r1", "print here")
	f.until("r1 execute_reply ok")
	if got := names(t, dir); got != "" {
		t.Errorf("there is %s, want nothing", got)
	}
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.ReadFile(t.Context(), "data", io.Discard); !errors.Is(err, session.ErrExpired) {
		t.Errorf("ReadFile of a closed session = %v, want ErrExpired", err)
	}
}

// A breaking driver's connections break, some times, when so many bytes have
// gone through.
type breaking struct {
	sandbox.Driver
	after int64
	left  atomic.Int32
}

func (b *breaking) Dial(ctx context.Context, h sandbox.Handle) (net.Conn, error) {
	c, err := b.Driver.Dial(ctx, h)
	return &breakingConn{Conn: c, b: b}, err
}

type breakingConn struct {
	net.Conn
	b     *breaking
	moved atomic.Int64
}

func (c *breakingConn) move(n int, err error) (int, error) {
	if c.moved.Add(int64(n)) > c.b.after && c.b.left.Add(-1) >= 0 {
		_ = c.Conn.Close()
	}
	return n, err
}

func (c *breakingConn) Read(b []byte) (int, error)  { return c.move(c.Conn.Read(b)) }
func (c *breakingConn) Write(b []byte) (int, error) { return c.move(c.Conn.Write(b)) }

// breakable returns a manager whose connections break the given number of times.
func breakable(t *testing.T, times int32) (*session.Manager, *breaking) {
	t.Helper()
	state := t.TempDir()
	b := &breaking{Driver: driver(state), after: 3 << 20}
	b.left.Store(times)
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	m, err := session.NewManager(session.Options{
		StateDir: state, Driver: b, Env: agenttest.Env(), Interpreters: map[string]string{"script": program},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		closeAll(t, m)
		if err := m.Release(); err != nil {
			t.Error(err)
		}
	})
	return m, b
}

// sources returns one file of each kind, with the same content.
func sources(t *testing.T, content string) map[string]session.File {
	t.Helper()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte(content), 0o640); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	seeker := strings.NewReader("skipped" + content)
	if _, err := seeker.Seek(7, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	return map[string]session.File{
		"bytes": {Bytes: []byte(content)}, "path": {Path: file}, "file": {Reader: f}, "seeker": {Reader: seeker},
		"reader": {Reader: io.MultiReader(strings.NewReader(content)), Mode: 0o600},
	}
}

// Files go and come whatever they are made from, also over connections that
// break; of temporary files nothing is left.
func TestRunSendsAndFetches(t *testing.T) {
	temp, targets := t.TempDir(), t.TempDir()
	t.Setenv("TMPDIR", temp)
	large := strings.Repeat("0123456789", 500_000) // 5 MB
	m, b := breakable(t, 5)
	r := script("print done")
	r.Files = sources(t, large)
	for name := range r.Files {
		r.Downloads = append(r.Downloads, session.Download{Path: name, Target: filepath.Join(targets, name)})
	}
	r.Files["sub/held"] = session.File{Bytes: []byte(large)}
	r.Downloads = append(r.Downloads, session.Download{Path: "sub/held"})
	r.Downloads = append(r.Downloads, session.Download{Path: "no/such"})
	resp, err := m.Run(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	if left := b.left.Load(); left > 0 {
		t.Errorf("%d of 5 connections did not break, want all to", left)
	}
	if got := resp.Stdout; got != "done\n" && got != "done" {
		t.Errorf("the code has printed %q", got)
	}
	for name, want := range map[string]fs.FileMode{"bytes": 0o644, "path": 0o640, "file": 0o644, "seeker": 0o644, "reader": 0o600} {
		target := filepath.Join(targets, name)
		if got := contentOf(t, target); got != large {
			t.Errorf("%s has %d bytes, want %d", name, len(got), len(large))
		}
		if info, err := os.Stat(target); err != nil || info.Mode() != want {
			t.Errorf("%s has mode %v, %v, want %v", name, info.Mode(), err, want)
		}
	}
	if got := resp.Files["sub/held"]; got.Err != nil || string(got.Bytes) != large {
		t.Errorf("in memory there are %d bytes, %v, want %d", len(got.Bytes), got.Err, len(large))
	}
	if got := resp.Files["no/such"].Err; !errors.Is(got, fs.ErrNotExist) {
		t.Errorf("what is not there: got error %v, want fs.ErrNotExist", got)
	}
	if got := names(t, targets); got != "bytes file path reader seeker" {
		t.Errorf("in the targets' directory there is %s", got)
	}
	if got := names(t, temp); got != "" {
		t.Errorf("in the directory for temporary files there is %s", got)
	}
}

// peers D18, AGENT 4: each file that comes back has its own error.
func TestFetchTargets(t *testing.T) {
	dir := t.TempDir()
	m := scripted(t, t.TempDir())
	for name, text := range map[string]string{"existing": "old", "aim": "old"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("aim", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	for target, says := range map[string]string{
		"new": "", "existing": "", "link": "", "": "", "fifo": "is a pipe", "no/such": "no such file", ".": "is a directory",
	} {
		r := script("print done")
		r.Files = map[string]session.File{"data": {Bytes: []byte("new"), Mode: 0o640}}
		d := session.Download{Path: "data"}
		if target != "" {
			d.Target = filepath.Join(dir, target)
		}
		r.Downloads = []session.Download{d}
		resp, err := m.Run(t.Context(), r)
		if err != nil {
			var invalid *session.InvalidError
			if says == "" || !errors.As(err, &invalid) { // it may be seen before anything has begun
				t.Errorf("target %q: Run = %v", target, err)
			}
			continue
		}
		got := resp.Files["data"]
		if says != "" {
			if got.Err == nil || !strings.Contains(got.Err.Error(), says) {
				t.Errorf("target %q: got error %v, want one that says %q", target, got.Err, says)
			}
			continue
		}
		if got.Err != nil || got.Size != 3 || got.Target != d.Target {
			t.Errorf("target %q: got %+v, want the file", target, got)
		}
		text := string(got.Bytes)
		if target != "" {
			text = contentOf(t, d.Target)
		}
		if text != "new" {
			t.Errorf("target %q: it has %q, want %q", target, text, "new")
		}
	}
	if info, err := os.Lstat(filepath.Join(dir, "link")); err != nil || info.Mode()&fs.ModeSymlink == 0 || contentOf(t, dir+"/aim") != "new" {
		t.Errorf("the link is %v, %v, want it there and what it names written", info.Mode(), err)
	}
	if got := names(t, dir); got != "aim existing fifo link new" {
		t.Errorf("there is %s, want the targets only", got)
	}
}

// A host file that changes while it is sent fails the run; the code does not run.
func TestSourceChanges(t *testing.T) {
	m := scripted(t, t.TempDir())
	dir := t.TempDir()
	for what, change := range map[string]func(string) error{
		"it has other content": func(file string) error { return os.WriteFile(file, []byte("new"), 0o600) },
		"it is longer":         func(file string) error { return os.WriteFile(file, []byte("longer"), 0o600) },
		"it is shorter":        func(file string) error { return os.WriteFile(file, nil, 0o600) },
		"it is gone":           os.Remove,
		"it is a directory":    func(file string) error { return errors.Join(os.Remove(file), os.Mkdir(file, 0o700)) },
	} {
		file := filepath.Join(t.TempDir(), "source")
		if err := os.WriteFile(file, []byte("old"), 0o600); err != nil {
			t.Fatal(err)
		}
		r := script("touch " + dir + "/ran")
		r.Files = map[string]session.File{
			"a": {Path: file},
			// Its second reading is when it is sent, after all have been hashed.
			"b": {Reader: &changing{Reader: strings.NewReader("b"), change: func() error { return change(file) }}},
		}
		// One that is sent before it has changed has come, so there is no race to
		// win: the session has it then.
		resp, err := m.Run(t.Context(), r)
		_, statErr := os.Stat(dir + "/ran")
		ran := statErr == nil
		_ = os.Remove(dir + "/ran")
		if err == nil && !ran || err != nil && ran {
			t.Errorf("%s: Run = %v, and the code has run %v", what, err, ran)
		}
		if err != nil && (resp == nil || !strings.Contains(err.Error(), "upload")) {
			t.Errorf("%s: Run = %v, want it to say where it has failed", what, err)
		}
	}
}

// A changing reader changes something when it is gone back in.
type changing struct {
	*strings.Reader
	change func() error
	seeks  int
}

func (c *changing) Seek(offset int64, whence int) (int64, error) {
	if c.seeks++; c.seeks == 2 {
		if err := c.change(); err != nil {
			return 0, err
		}
	}
	return c.Reader.Seek(offset, whence)
}

// What cannot be read is told before anything is started.
func TestSourcesThatCannotBeRead(t *testing.T) {
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	state, dir := t.TempDir(), t.TempDir()
	m := scripted(t, state)
	if err := syscall.Mkfifo(dir+"/fifo", 0o600); err != nil {
		t.Fatal(err)
	}
	why := errors.New("the source is broken")
	for what, test := range map[string]struct {
		file session.File
		says string
	}{
		"no file":   {session.File{Path: dir + "/no"}, "no such file"},
		"directory": {session.File{Path: dir}, "directory"},
		"pipe":      {session.File{Path: dir + "/fifo"}, "pipe"},
		"reader":    {session.File{Reader: io.MultiReader(strings.NewReader("x"), reader(func([]byte) (int, error) { return 0, why }))}, why.Error()},
	} {
		r := script("print 1")
		r.Files = map[string]session.File{"a": {Reader: io.MultiReader(strings.NewReader("x"))}, "data": test.file}
		if resp, err := m.Run(t.Context(), r); err == nil || !strings.Contains(err.Error(), test.says) || !strings.Contains(err.Error(), "data") || resp.SessionID != "" {
			t.Errorf("%s: Run = %v in session %q, want an error that says %q, and no session", what, err, resp.SessionID, test.says)
		}
	}
	if got := names(t, temp); got != "" {
		t.Errorf("in the directory for temporary files there is %s", got)
	}
	if list, err := m.List(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("there are %d sessions, %v, want none", len(list), err)
	}
}

// A disk that is full fails the run with the file's name, and what was there
// stays as it was.
func TestUploadToFullDisk(t *testing.T) {
	dir := t.TempDir()
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=2m,mode=0700", "tmpfs", dir).CombinedOutput(); err != nil {
		t.Skipf("no file system can be mounted: %v: %s", err, out)
	}
	t.Cleanup(func() {
		eventually(t, "that the disk is not used", func() bool { return exec.Command("umount", dir).Run() == nil })
	})
	m := scripted(t, t.TempDir())
	r := script("print done")
	r.Session, r.KeepAlive, r.Cwd = "full", true, dir
	r.Files = map[string]session.File{"data": {Bytes: []byte("old")}}
	run(t, m, r)
	r.Files = map[string]session.File{"data": {Bytes: make([]byte, 8<<20)}, "more": {Bytes: make([]byte, 8<<20)}}
	resp, err := m.Run(t.Context(), r)
	if err == nil || !strings.Contains(err.Error(), "no space left on device") || !strings.Contains(err.Error(), "writing ") || resp.Timing.Failed != session.StageUploading {
		t.Errorf("Run = %v in stage %q, want it to say that the disk is full, and in uploading", err, resp.Timing.Failed)
	}
	if got := names(t, dir); got != "data" || contentOf(t, dir+"/data") != "old" {
		t.Errorf("there is %s, want the old file as it was", got)
	}
	r.Files = map[string]session.File{"data": {Bytes: []byte("new")}}
	run(t, m, r)
	if got := contentOf(t, dir+"/data"); got != "new" {
		t.Errorf("the file has %q when there is room again, want %q", got, "new")
	}
	s, err := m.Get(t.Context(), "full")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.WriteFile(t.Context(), "data", io.LimitReader(zeros{}, 8<<20), 0); err == nil || !strings.Contains(err.Error(), "writing data: no space left on device") {
		t.Errorf("WriteFile = %v, want that the disk is full", err)
	}
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// peers D1, D21: the content of a file decides whether it is sent, and what is
// counted are its bytes.
func TestRunSendsChangedContentOnly(t *testing.T) {
	m := scripted(t, t.TempDir())
	dir := t.TempDir()
	file := filepath.Join(t.TempDir(), "data")
	for _, step := range []struct {
		what, cwd, content string
		sent               bool
	}{
		{"first", "", "ü1", true}, {"the same", "", "ü1", false}, {"changed", "", "ü2", true}, {"back", "", "ü1", true},
		{"in another directory", "sub", "ü1", true}, {"there again", "sub", "ü1", false},
	} {
		if err := os.WriteFile(file, []byte(step.content), 0o600); err != nil {
			t.Fatal(err)
		}
		var total int64
		r := script("print done")
		r.Session, r.KeepAlive, r.Cwd = "one", true, filepath.Join(dir, step.cwd)
		if err := os.MkdirAll(r.Cwd, 0o700); err != nil {
			t.Fatal(err)
		}
		r.Files = map[string]session.File{"data": {Path: file}}
		r.OnProgress = func(p session.Progress) {
			if p.Stage == session.StageUploading && p.Total != nil {
				total = *p.Total
				if p.Unit != "bytes" {
					t.Errorf("%s: counted in %q, want bytes", step.what, p.Unit)
				}
			}
		}
		run(t, m, r)
		if sent := total > 0; sent && (!step.sent || total != 3) {
			t.Errorf("%s: %d bytes were sent, want %v", step.what, total, step.sent)
		}
		if got := contentOf(t, filepath.Join(r.Cwd, "data")); got != step.content {
			t.Errorf("%s: the session has %q, want %q", step.what, got, step.content)
		}
	}
}

// Many files go in one run.
func TestRunSendsManyFiles(t *testing.T) {
	m := scripted(t, t.TempDir())
	r := script("print done")
	r.Files = map[string]session.File{}
	for i := range 300 {
		name := fmt.Sprintf("dir%d/file%d", i%7, i)
		r.Files[name] = session.File{Bytes: fmt.Appendf(nil, "content %d", i)}
		r.Downloads = append(r.Downloads, session.Download{Path: name})
	}
	resp := run(t, m, r)
	for i := range 300 {
		name := fmt.Sprintf("dir%d/file%d", i%7, i)
		if got := resp.Files[name]; got.Err != nil || string(got.Bytes) != fmt.Sprintf("content %d", i) {
			t.Fatalf("%s: got %q, %v", name, got.Bytes, got.Err)
		}
	}
}
