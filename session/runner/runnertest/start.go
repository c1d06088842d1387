//go:build unix

// Package runnertest checks that a language program keeps to docs/runner.md. It
// starts the program over real pipes and a real socket, as an agent does.
package runnertest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gokernel/gokernel/session/wire"
)

// Wait is how long a test waits for anything before it fails.
const Wait = 30 * time.Second

// A Command says how to start a program.
type Command struct {
	// Argv is the program and its arguments.
	Argv []string
	// Env is added to the environment of the test.
	Env []string
	// Dir is the working directory; "" means a temporary one.
	Dir string
	// Init is the content of the init packet; missing fields are set to
	// temporary files.
	Init map[string]any
	// Code is the language's code for the cases of [Test].
	Code Code
}

// A Message is a packet of the program.
type Message struct {
	// Type is the packet's type, ID the request that it names.
	Type, ID string
	// MsgType is the Jupyter message's type of an output or a reply.
	MsgType string `json:"msg_type"`
	// Name and Text are those of a stream.
	Name string
	Text string `json:"-"`
	// Prompt is the number of an input_request.
	Prompt int
	// Code is that of an exit.
	Code int
	// Call is the number of a call, Method what it asks for.
	Call   int
	Method string
	// Ask is the number of the question of an answer, Error why there is none.
	Ask   int
	Error string
	// Content, Metadata and Buffers are the parts.
	Content  map[string]any `json:"-"`
	Metadata map[string]any `json:"-"`
	Buffers  [][]byte       `json:"-"`
}

// String returns the message for failure texts.
func (m Message) String() string {
	if m.Type == "stream" {
		return fmt.Sprintf("%s %s %q", m.ID, m.Name, m.Text)
	}
	content, _ := json.Marshal(m.Content)
	return fmt.Sprintf("%s %s %s %s", m.ID, m.Type, m.MsgType, content)
}

// A Runner is a program that runs. Its methods are for the test's goroutine and
// fail the test when something does not come within [Wait].
type Runner struct {
	// Info is what the program said when it was ready, and Ready how long that took.
	Info  map[string]any
	Ready time.Duration
	PID   int

	t         *testing.T
	conn      net.Conn
	interrupt *os.File
	messages  chan Message
	exited    chan struct{}
	end       *end
	next      *int
	head      map[string]any // of cells, beside what all have
}

// An end is how the program ended; it is written before exited is closed.
type end struct{ state *os.ProcessState }

// Start starts the program and waits until it is ready. Everything that it has
// started is ended with the test.
func Start(t *testing.T, cmd Command) *Runner {
	t.Helper()
	syscall.ForkLock.RLock()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err == nil {
		unix.CloseOnExec(pair[0])
		unix.CloseOnExec(pair[1])
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		t.Fatalf("make a socket pair: %v", err)
	}
	near, far := os.NewFile(uintptr(pair[0]), "near"), os.NewFile(uintptr(pair[1]), "far")
	conn, err := net.FileConn(near)
	if err != nil {
		t.Fatalf("use the socket: %v", err)
	}
	near.Close()
	outR, outW := pipe(t)
	errR, errW := pipe(t)
	intR, intW := pipe(t)

	command := exec.Command(cmd.Argv[0], cmd.Argv[1:]...)
	command.Env = append(os.Environ(), cmd.Env...)
	command.Dir = cmd.Dir
	if command.Dir == "" {
		command.Dir = t.TempDir()
	}
	command.Stdout, command.Stderr = outW, errW
	command.ExtraFiles = []*os.File{far, intR, outR, errR}
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	started := time.Now()
	if err := command.Start(); err != nil {
		t.Fatalf("start %q: %v", cmd.Argv, err)
	}
	for _, f := range []*os.File{far, outW, errW, intR} {
		f.Close()
	}
	r := &Runner{
		PID: command.Process.Pid, t: t, conn: conn, interrupt: intW,
		messages: make(chan Message, 1<<12), exited: make(chan struct{}), end: &end{}, next: new(int),
	}
	var readers sync.WaitGroup
	quit := make(chan struct{})
	readers.Go(func() { r.read(quit) })
	readers.Go(func() {
		_ = command.Wait()
		r.end.state = command.ProcessState
		close(r.exited)
	})
	t.Cleanup(func() {
		close(quit)
		_ = syscall.Kill(-r.PID, syscall.SIGKILL)
		conn.Close()
		readers.Wait()
		intW.Close()
		if t.Failed() {
			for _, f := range []*os.File{outR, errR} {
				if left := drain(f); len(left) > 0 {
					t.Logf("left in a pipe: %s", left)
				}
			}
		}
		outR.Close()
		errR.Close()
	})
	init := map[string]any{"session": "test", "packages": t.TempDir(), "history": t.TempDir() + "/history.sqlite"}
	for k, v := range cmd.Init {
		init[k] = v
	}
	r.send(map[string]any{"type": "init"}, init)
	m := r.Next()
	if m.Type != "ready" {
		t.Fatalf("got first packet %v, want ready", m)
	}
	r.Ready = time.Since(started)
	r.Info = m.Content
	return r
}

func pipe(t *testing.T) (*os.File, *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatalf("make a pipe: %v", err)
	}
	return r, w
}

func drain(f *os.File) []byte {
	if unix.SetNonblock(int(f.Fd()), true) != nil {
		return nil
	}
	buf := make([]byte, 1<<16)
	n, _ := unix.Read(int(f.Fd()), buf)
	return buf[:max(n, 0)]
}

// read passes packets on until the channel ends or quit is closed.
func (r *Runner) read(quit <-chan struct{}) {
	defer close(r.messages)
	reader := wire.NewReader(r.conn, 0)
	for {
		p, err := reader.Read()
		if err != nil {
			return
		}
		m, err := decode(p)
		if err != nil {
			r.t.Errorf("packet with head %s: %v", p.Head, err)
		}
		select {
		case r.messages <- m:
		case <-quit:
			return
		}
	}
}

func decode(p *wire.Packet) (Message, error) {
	var m Message
	if err := json.Unmarshal(p.Head, &m); err != nil {
		return m, fmt.Errorf("decode head: %w", err)
	}
	if m.Type == "stream" {
		m.Text = string(p.Part(0))
		return m, nil
	}
	for i, to := range []*map[string]any{&m.Content, &m.Metadata} {
		part := p.Part(i)
		if len(part) == 0 {
			continue
		}
		d := json.NewDecoder(bytes.NewReader(part))
		if err := d.Decode(to); err != nil {
			return m, fmt.Errorf("decode part %d: %w", i, err)
		}
		if _, err := d.Token(); !errors.Is(err, io.EOF) {
			return m, fmt.Errorf("part %d: more than one value", i)
		}
	}
	if len(p.Parts) > 2 {
		m.Buffers = p.Parts[2:]
	}
	return m, nil
}

func (r *Runner) send(head any, parts ...any) {
	r.t.Helper()
	raw := make([][]byte, len(parts))
	for i, part := range parts {
		b, ok := part.([]byte)
		if !ok {
			var err error
			if b, err = json.Marshal(part); err != nil {
				r.t.Fatalf("encode part %d: %v", i, err)
			}
		}
		raw[i] = b
	}
	p, err := wire.NewPacket(head, raw...)
	if err != nil {
		r.t.Fatal(err)
	}
	if _, err := p.WriteTo(r.conn); err != nil {
		r.t.Fatalf("send packet: %v", err)
	}
}

// Next returns the next packet.
func (r *Runner) Next() Message {
	r.t.Helper()
	m, ok := r.NextOrEnd()
	if !ok {
		<-r.exited
		r.t.Fatalf("the program has ended: %v", r.end.state)
	}
	return m
}

// NextOrEnd is Next, but reports false when the channel has ended.
func (r *Runner) NextOrEnd() (Message, bool) {
	r.t.Helper()
	select {
	case m, ok := <-r.messages:
		return m, ok
	case <-time.After(Wait):
		r.t.Fatalf("no packet within %v", Wait)
		return Message{}, false
	}
}

// Exit waits until the program has ended and returns how.
func (r *Runner) Exit() *os.ProcessState {
	r.t.Helper()
	select {
	case <-r.exited:
		return r.end.state
	case <-time.After(Wait):
		r.t.Fatalf("the program has not ended within %v", Wait)
		return nil
	}
}

// For returns the runner with its failures reported to a subtest. The runner
// still ends with the test that started it.
func (r *Runner) For(t *testing.T) *Runner {
	c := *r
	c.t = t
	return &c
}
