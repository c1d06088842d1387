//go:build linux || darwin

package session_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gokernel/gokernel/internal/proc"
	"github.com/gokernel/gokernel/protocol"
	"github.com/gokernel/gokernel/sandbox"
	"github.com/gokernel/gokernel/sandbox/local"
	"github.com/gokernel/gokernel/sandbox/process"
	"github.com/gokernel/gokernel/session"
	"github.com/gokernel/gokernel/session/agent"
	"github.com/gokernel/gokernel/session/agent/agenttest"
	"github.com/gokernel/gokernel/session/runner"
	"github.com/gokernel/gokernel/session/wire"
)

const (
	patience = 30 * time.Second
	marker   = proc.Marker + "=" // what commands of a session have in their environment, before its id
)

// TestMain makes the test binary a runner, an agent, a front or a caller that is to be
// killed, or the tests.
func TestMain(m *testing.M) {
	agenttest.RunnerMain()
	if len(os.Args) > 1 && os.Args[1] == "agent" {
		os.Exit(local.AgentMain(os.Args[2:], serveAgent))
	}
	if len(os.Args) > 2 && os.Args[1] == "caller" {
		os.Exit(callerMain(os.Args[2]))
	}
	if len(os.Args) > 2 && os.Args[1] == "front" {
		os.Exit(frontMain(os.Args[2]))
	}
	os.Exit(agenttest.Run(m))
}

func serveAgent(ctx context.Context, spec sandbox.Spec, l net.Listener) error {
	if _, err := process.Reap(ctx, spec.ID); err != nil && !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	return agent.Serve(ctx, spec, l, agent.Options{
		Isolations: map[string]sandbox.Isolation{"process": process.New()},
		Languages: func(name string) (agent.Language, bool) {
			if name == "python" {
				return runner.Python(), true
			}
			return agenttest.Language{}, name == "script"
		},
		Ended: func(reason string) {
			_ = session.Ended(context.Background(), filepath.Dir(filepath.Dir(spec.Dir)), spec.ID, reason)
		},
	})
}

// A cutter is a driver whose connections can be cut.
type cutter struct {
	sandbox.Driver
	mu    sync.Mutex
	conns []net.Conn
}

func (c *cutter) Dial(ctx context.Context, h sandbox.Handle) (net.Conn, error) {
	conn, err := c.Driver.Dial(ctx, h)
	if err == nil {
		c.mu.Lock()
		c.conns = append(c.conns, conn)
		c.mu.Unlock()
	}
	return conn, err
}

// cut closes all connections that have been dialled.
func (c *cutter) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range c.conns {
		_ = conn.Close()
	}
	c.conns = nil
}

func driver(state string) *local.Driver {
	program, err := os.Executable()
	if err != nil {
		panic(err)
	}
	return local.New(state, &local.Options{Agent: program, Grace: 2 * time.Second})
}

// manage returns a manager of state whose sessions are all closed at the end.
func manage(t testing.TB, state string) (*session.Manager, *cutter) {
	t.Helper()
	d := &cutter{Driver: driver(state)}
	logger := slog.New(slog.DiscardHandler)
	if testing.Verbose() {
		logger = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	m, err := session.NewManager(session.Options{StateDir: state, Driver: d, Logger: logger})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		closeAll(t, m)
		if err := m.Release(); err != nil {
			t.Errorf("Release: %v", err)
		}
	})
	return m, d
}

// closeAll closes the sessions that a test has left.
func closeAll(t testing.TB, m *session.Manager) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	list, err := m.List(ctx)
	for _, l := range list {
		closeErr := m.Close(ctx, l.ID)
		if !errors.Is(closeErr, session.ErrNotFound) && !errors.Is(closeErr, session.ErrExpired) {
			err = errors.Join(err, closeErr)
		}
	}
	if err != nil {
		t.Errorf("closing what the test has left: %v", err)
	}
}

// request returns what asks for a session of the scripted language.
func request(name string, kept bool) session.OpenRequest {
	return session.OpenRequest{
		Session: name, Create: name != "", Kept: kept, Language: "script", Interpreter: "scripted",
		Isolation: "process", Env: agenttest.Env(), Dir: os.TempDir(),
	}
}

func open(t testing.TB, m *session.Manager, r session.OpenRequest) *session.Session {
	t.Helper()
	s, err := m.Open(t.Context(), r)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	return s
}

// A front is an attachment under test.
type front struct {
	t    testing.TB
	a    *session.Attachment
	log  []string
	seen []*wire.Frame
	next int
	last wire.Cursor
}

func attach(t testing.TB, s *session.Session, owner string) *front {
	t.Helper()
	a, err := s.Attach(t.Context(), owner)
	if err != nil {
		t.Fatalf("Attach: %v", err)
	}
	f := &front{t: t, a: a}
	t.Cleanup(f.detach)
	return f
}

// detach ends the attachment. What an owned session says to it is of no
// interest.
func (f *front) detach() {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := f.a.Detach(ctx); err != nil && f.a.Kept() {
		f.t.Errorf("Detach: %v", err)
	}
}

func (f *front) submit(id, msgType string, content any) {
	f.t.Helper()
	raw, err := json.Marshal(content)
	if err != nil {
		f.t.Fatal(err)
	}
	err = f.a.Submit(f.t.Context(), &wire.Request{
		ID: id, MsgType: msgType, Published: f.last, Content: raw,
		Origin: wire.Origin{Header: fmt.Appendf(nil, `{"msg_id":%q}`, id), Channel: protocol.Shell},
	})
	if err != nil {
		f.t.Fatalf("Submit(%s): %v", id, err)
	}
}

func (f *front) execute(id string, lines ...string) {
	f.t.Helper()
	f.submit(id, "execute_request", map[string]any{"code": strings.Join(lines, "\n")})
}

// until takes frames until a line of the transcript is want, and returns what
// came since the last call.
func (f *front) until(want string) []string {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), patience)
	defer cancel()
	for {
		frame, err := f.a.Next(ctx)
		if err != nil {
			f.t.Fatalf("waiting for %q: %v; so far:\n%s", want, err, strings.Join(f.log, "\n"))
		}
		f.log = append(f.log, line(frame))
		f.seen = append(f.seen, frame)
		if f.last.Before(frame.Cursor) {
			f.last = frame.Cursor
		}
		if f.log[len(f.log)-1] == want {
			out := f.log[f.next:]
			f.next = len(f.log)
			return out
		}
	}
}

// end returns the error with which the frames end.
func (f *front) end() error {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), patience)
	defer cancel()
	for {
		if _, err := f.a.Next(ctx); err != nil {
			return err
		}
	}
}

func line(f *wire.Frame) string {
	var c struct {
		State string `json:"execution_state"`
		Text  string `json:"text"`
		Stat  string `json:"status"`
		EName string `json:"ename"`
	}
	_ = json.Unmarshal(f.Content, &c)
	id := f.Request
	if id == "" {
		id = "-"
	}
	return strings.TrimSpace(fmt.Sprintf("%s %s %s", id, f.MsgType, strings.TrimSpace(c.State+c.Text+c.Stat+" "+c.EName)))
}

func equal(t testing.TB, got []string, want ...string) {
	t.Helper()
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("transcript:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func info(t testing.TB, s *session.Session) *session.Info {
	t.Helper()
	i, err := s.Info(t.Context())
	if err != nil {
		t.Fatalf("Info: %v", err)
	}
	return i
}

func touch(t testing.TB, file string) {
	t.Helper()
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
}

func kill(t testing.TB, pid int) {
	t.Helper()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatalf("killing %d: %v", pid, err)
	}
}

// A killable is a front in a process of its own.
type killable struct {
	cmd *exec.Cmd
	ID  string // of its session
}

// frontSpec says what a front in a process of its own does.
type frontSpec struct {
	State   string
	Request session.OpenRequest
	Code    []string // of the requests that it submits
	Until   string   // the line of the transcript after which it is ready; "": it does not attach
}

// startFront starts a front and returns when it has come to where it is to be
// killed.
func startFront(t *testing.T, f frontSpec) *killable {
	t.Helper()
	raw, err := json.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "front", string(raw))
	cmd.Stderr = t.Output()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	k := &killable{cmd: cmd}
	t.Cleanup(k.kill)
	id, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("the front did not get ready: %v", err)
	}
	k.ID = strings.TrimSpace(id)
	return k
}

// kill kills the front as SIGKILL does.
func (k *killable) kill() {
	_ = k.cmd.Process.Kill()
	_ = k.cmd.Wait()
}

func frontMain(spec string) int {
	fail := func(err error) int { fmt.Fprintln(os.Stderr, "front:", err); return 1 }
	var f frontSpec
	if err := json.Unmarshal([]byte(spec), &f); err != nil {
		return fail(err)
	}
	ctx := context.Background()
	m, err := session.NewManager(session.Options{StateDir: f.State, Driver: driver(f.State)})
	if err != nil {
		return fail(err)
	}
	s, err := m.Open(ctx, f.Request)
	if err != nil {
		return fail(err)
	}
	if f.Until == "" {
		fmt.Println(s.ID())
		select {}
	}
	a, err := s.Attach(ctx, wire.KernelOwner)
	if err != nil {
		return fail(err)
	}
	for i, code := range f.Code {
		content, _ := json.Marshal(map[string]any{"code": code})
		err := a.Submit(ctx, &wire.Request{
			ID: fmt.Sprintf("r%d", i+1), MsgType: "execute_request", Content: content,
			Origin: wire.Origin{Header: fmt.Appendf(nil, `{"msg_id":"r%d"}`, i+1), Channel: protocol.Shell},
		})
		if err != nil {
			return fail(err)
		}
	}
	for {
		frame, err := a.Next(ctx)
		if err != nil {
			return fail(err)
		}
		if line(frame) == f.Until {
			fmt.Println(s.ID())
			break
		}
	}
	select {}
}
