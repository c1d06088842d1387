//go:build unix

package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gokernel/gokernel/protocol"
	"github.com/gokernel/gokernel/sandbox"
	isolation "github.com/gokernel/gokernel/sandbox/process"
	"github.com/gokernel/gokernel/session/agent/agenttest"
	"github.com/gokernel/gokernel/session/runner"
	"github.com/gokernel/gokernel/session/wire"
)

const (
	testID     = "0b7e0a52-7f3b-4c53-9a8e-3f0c6a3f1d11"
	testSecret = "secret of the test"
	patience   = 60 * time.Second
	testQueued = 300
)

// A held is an agent under test, in this process.
type held struct {
	t      *testing.T
	dir    string
	socket string
	cancel context.CancelFunc
	done   chan error
	ended  chan string
}

// hold starts an agent on dir. change may change its configuration.
func hold(t *testing.T, dir string, change func(*wire.Config)) *held {
	t.Helper()
	config := &wire.Config{
		Language: "script", Interpreter: "scripted", Programs: t.TempDir(), Isolation: "process", Kept: true,
		Dir: t.TempDir(), Env: agenttest.Env(),
	}
	if change != nil {
		change(config)
	}
	raw, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	h := &held{t: t, dir: dir, socket: socket, cancel: cancel, done: make(chan error, 1), ended: make(chan string, 1)}
	logger := slog.New(slog.DiscardHandler)
	if testing.Verbose() {
		logger = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	go func() {
		h.done <- Serve(ctx, sandbox.Spec{ID: testID, Dir: dir, Secret: testSecret, Config: raw}, l, Options{
			Isolations: map[string]sandbox.Isolation{"process": isolation.New()},
			Languages: func(name string) (Language, bool) {
				if name == "python" {
					return runner.Python(), true
				}
				return agenttest.Language{}, name == "script" || name == "other"
			},
			Ended:     func(reason string) { h.ended <- reason },
			Logger:    logger,
			Grace:     300 * time.Millisecond,
			maxQueued: testQueued,
		})
	}()
	t.Cleanup(h.stop)
	return h
}

// stop stops the agent as SIGTERM does.
func (h *held) stop() {
	h.cancel()
	h.wait()
}

// wait waits for the end of the agent.
func (h *held) wait() {
	h.t.Helper()
	select {
	case err := <-h.done:
		if err != nil {
			h.t.Errorf("Serve = %v, want nil", err)
		}
		h.done <- nil
	case <-time.After(patience):
		h.t.Fatal("the agent did not end")
	}
}

// A peer is a front under test, on the wire.
type peer struct {
	t       *testing.T
	h       *held
	name    string
	owner   string
	conn    net.Conn
	r       *wire.Reader
	epoch   uint64
	log     []string      // what came, as a transcript
	last    wire.Cursor   // of the last frame
	seen    []*wire.Frame // the frames of log
	reports []*wire.Frame // of KindProgress, which are not in log
	next    int
	acc     map[string]bool // accepted ids
	end     string          // why the agent ended the connection
}

// attach opens a data connection.
func (h *held) attach(name, owner string, resume wire.Cursor) *peer {
	h.t.Helper()
	p, err := h.tryAttach(name, owner, resume)
	if err != nil {
		h.t.Fatal(err)
	}
	return p
}

func (h *held) tryAttach(name, owner string, resume wire.Cursor) (*peer, error) {
	conn, r, w, err := h.hello(wire.Hello{Link: "data", Front: name, Owner: owner, Resume: resume})
	if err != nil {
		return nil, err
	}
	_ = conn.SetDeadline(time.Time{})
	h.t.Cleanup(func() { _ = conn.Close() })
	return &peer{t: h.t, h: h, name: name, owner: owner, conn: conn, r: r, epoch: w.Epoch, last: resume, acc: map[string]bool{}}, nil
}

func (h *held) hello(hello wire.Hello) (net.Conn, *wire.Reader, *wire.Welcome, error) {
	h.t.Helper()
	conn, err := net.Dial("unix", h.socket)
	if err != nil {
		return nil, nil, nil, err
	}
	_ = conn.SetDeadline(time.Now().Add(patience))
	hello.Type, hello.Version = wire.TypeHello, wire.Version
	if hello.Secret == "" {
		hello.Secret = testSecret
	}
	if err := writeHead(conn, hello); err != nil {
		return nil, nil, nil, err
	}
	r := wire.NewReader(conn, 0)
	packet, err := r.Read()
	if err != nil {
		return nil, nil, nil, err
	}
	if packet.Type() != wire.TypeWelcome {
		return nil, nil, nil, errors.Join(errors.New(string(packet.Head)), conn.Close())
	}
	w := new(wire.Welcome)
	return conn, r, w, json.Unmarshal(packet.Head, w)
}

// call makes a control call.
func (h *held) call(front, owner, method string, args any) (json.RawMessage, error) {
	h.t.Helper()
	conn, r, _, err := h.hello(wire.Hello{Link: "control", Front: front, Owner: owner})
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	call := wire.Call{Type: wire.TypeCall, ID: 7, Method: method}
	if args != nil {
		if call.Args, err = json.Marshal(args); err != nil {
			return nil, err
		}
	}
	if err := writeHead(conn, call); err != nil {
		return nil, err
	}
	packet, err := r.Read()
	if err != nil {
		return nil, err
	}
	var result wire.Result
	if err := json.Unmarshal(packet.Head, &result); err != nil {
		return nil, err
	}
	if result.Code != "" {
		return nil, errors.New(result.Error)
	}
	return result.Value, nil
}

func (h *held) info() *wire.Info {
	h.t.Helper()
	raw, err := h.call("", "", wire.CallInfo, nil)
	if err != nil {
		h.t.Fatal(err)
	}
	info := new(wire.Info)
	if err := json.Unmarshal(raw, info); err != nil {
		h.t.Fatal(err)
	}
	return info
}

// request sends a request whose id is also its msg_id.
func (p *peer) request(id, msgType string, content any) {
	p.t.Helper()
	p.requestAt(id, msgType, content, p.last, p.epoch)
}

func (p *peer) requestAt(id, msgType string, content any, published wire.Cursor, epoch uint64) {
	p.t.Helper()
	p.requestWith(id, msgType, []byte("{}"), content, published, epoch)
}

func (p *peer) requestWith(id, msgType string, metadata []byte, content any, published wire.Cursor, epoch uint64) {
	p.t.Helper()
	raw, err := json.Marshal(content)
	if err != nil {
		p.t.Fatal(err)
	}
	packet, err := wire.NewPacket(wire.RequestHead{
		Type: wire.TypeRequest, ID: id, MsgType: msgType, Channel: protocol.Shell,
		Identities: [][]byte{[]byte("client of " + id)}, Published: published, Epoch: epoch,
	}, fmt.Appendf(nil, `{"msg_id":%q,"extra":1}`, id), metadata, raw)
	if err == nil {
		_, err = packet.WriteTo(p.conn)
	}
	if err != nil {
		p.t.Fatalf("sending %s: %v", id, err)
	}
}

// execute sends code, one command a line.
func (p *peer) execute(id string, lines ...string) {
	p.t.Helper()
	p.request(id, "execute_request", map[string]any{"code": strings.Join(lines, "\n")})
}

// run sends code with what a run asks for beside it.
func (p *peer) run(id string, spec wire.Run, lines ...string) {
	p.t.Helper()
	metadata, err := json.Marshal(map[string]any{wire.RunKey: spec})
	if err != nil {
		p.t.Fatal(err)
	}
	p.requestWith(id, "execute_request", metadata, map[string]any{"code": strings.Join(lines, "\n")}, p.last, p.epoch)
}

// read takes one packet.
func (p *peer) read() error {
	packet, err := p.r.Read()
	if err != nil {
		return err
	}
	switch packet.Type() {
	case wire.TypeFrame:
		f, err := wire.ParseFrame(packet)
		if err != nil {
			return err
		}
		if p.last.Before(f.Cursor) {
			p.last = f.Cursor
		}
		if f.Kind == wire.KindProgress { // how many there are depends on the time
			p.reports = append(p.reports, f)
			return nil
		}
		p.seen = append(p.seen, f)
		p.log = append(p.log, line(f))
	case wire.TypeAccepted:
		var a wire.Accepted
		if err := json.Unmarshal(packet.Head, &a); err != nil {
			return err
		}
		for _, id := range a.IDs {
			p.acc[id] = true
		}
	case wire.TypeFenced:
		p.end = "fenced"
	case wire.TypeClosing:
		var c wire.Closing
		_ = json.Unmarshal(packet.Head, &c)
		p.end = c.Reason
	}
	return nil
}

// line is a frame in a transcript: request, channel, type and what matters.
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

// until reads until a line of the transcript equals want and returns what came
// since the last call, that line included.
func (p *peer) until(want string) []string {
	p.t.Helper()
	_ = p.conn.SetReadDeadline(time.Now().Add(patience))
	for i := p.next; ; i++ {
		for i >= len(p.log) {
			if err := p.read(); err != nil {
				p.t.Fatalf("waiting for %q: %v; so far:\n%s", want, err, strings.Join(p.log, "\n"))
			}
		}
		if p.log[i] == want {
			out := p.log[p.next : i+1]
			p.next = i + 1
			return out
		}
	}
}

// untilEnd reads until the agent ends the connection and says why.
func (p *peer) untilEnd() string {
	_ = p.conn.SetReadDeadline(time.Now().Add(patience))
	for p.read() == nil {
	}
	return p.end
}

// frame returns the frame whose transcript line is want.
func (p *peer) frame(want string) *wire.Frame {
	p.t.Helper()
	for i, l := range p.log {
		if l == want {
			return p.seen[i]
		}
	}
	p.t.Fatalf("no %q in:\n%s", want, strings.Join(p.log, "\n"))
	return nil
}

func (p *peer) send(head any, parts ...[]byte) {
	p.t.Helper()
	packet, err := wire.NewPacket(head, parts...)
	if err == nil {
		_, err = packet.WriteTo(p.conn)
	}
	if err != nil {
		p.t.Fatal(err)
	}
}

func (p *peer) ack(held ...wire.Cursor) {
	p.t.Helper()
	p.send(wire.Ack{Type: wire.TypeAck, Upto: p.last, Held: held})
}

func (p *peer) drop() { _ = p.conn.Close() }

func equal(t *testing.T, got []string, want ...string) {
	t.Helper()
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("transcript:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// pump reads until the request with this id has been accepted.
func (p *peer) pump(id string) {
	p.t.Helper()
	_ = p.conn.SetReadDeadline(time.Now().Add(patience))
	for !p.acc[id] {
		if err := p.read(); err != nil {
			p.t.Fatalf("waiting for %s to be accepted: %v", id, err)
		}
	}
}

// pumpCall returns when the agent has handled what p has sent so far: it sends
// a request that is known already and waits until that is accepted again.
func (p *peer) pumpCall() {
	p.t.Helper()
	for id := range p.acc {
		delete(p.acc, id)
		p.execute(id)
		p.pump(id)
		return
	}
	p.t.Fatal("no request has been accepted yet")
}
