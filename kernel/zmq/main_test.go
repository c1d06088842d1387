package zmq

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/gokernel/gokernel/protocol"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const testKey = "the key of the tests"

// patience bounds every wait of the tests.
const patience = 20 * time.Second

func testInfo() *protocol.ConnectionInfo {
	return &protocol.ConnectionInfo{Transport: "tcp", IP: "127.0.0.1", Key: testKey, SignatureScheme: protocol.SchemeHMACSHA256}
}

// listen opens a kernel's end on free ports for the time of the test.
func listen(t testing.TB, opts *Options) *Conn {
	t.Helper()
	if opts == nil {
		opts = &Options{Linger: -1}
	}
	if opts.Logger == nil {
		opts.Logger = testLogger(t)
	}
	c, err := Listen(testInfo(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return c
}

// testLogger writes to the log of t, and drops what comes after its end.
func testLogger(t testing.TB) *slog.Logger {
	w := &logWriter{t: t}
	t.Cleanup(func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.t = nil
	})
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

type logWriter struct {
	mu sync.Mutex
	t  testing.TB
}

func (w *logWriter) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.t != nil {
		w.t.Logf("%s", b)
	}
	return len(b), nil
}

func within(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// eventually waits until ok holds.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); {
		if time.Now().After(end) {
			t.Fatalf("still not so after %v: %s", patience, what)
		}
		time.Sleep(time.Millisecond) // between two looks, not for an order
	}
}

func newMessage(t testing.TB, ch protocol.Channel, c protocol.Content, ids ...string) *protocol.Message {
	t.Helper()
	m, err := protocol.New(ch, c, nil)
	if err != nil {
		t.Fatal(err)
	}
	m.Header.Session = "test"
	for _, id := range ids {
		m.Identities = append(m.Identities, []byte(id))
	}
	return m
}

func stream(t testing.TB, text string) *protocol.Message {
	t.Helper()
	return newMessage(t, protocol.IOPub, &protocol.Stream{Name: "stdout", Text: text})
}

// A rawPeer speaks ZMTP byte by byte, without anything of this package.
type rawPeer struct {
	net.Conn
	t  testing.TB
	br *bufio.Reader
}

func dialRaw(t testing.TB, c *Conn, port protocol.Port) *rawPeer {
	t.Helper()
	conn, err := net.DialTimeout("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(int(port))), patience)
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	p := &rawPeer{Conn: conn, t: t, br: bufio.NewReader(conn)}
	t.Cleanup(func() {
		if err := p.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			t.Errorf("close raw peer: %v", err)
		}
	})
	return p
}

func greeting() []byte {
	g := make([]byte, 64)
	g[0], g[8], g[9], g[10], g[11] = 0xff, 1, 0x7f, 3, 1
	copy(g[12:], "NULL")
	return g
}

// ready returns a READY command with the given properties.
func ready(properties ...string) []byte {
	body := []byte("\x05READY")
	for i := 0; i < len(properties); i += 2 {
		body = append(append(body, byte(len(properties[i]))), properties[i]...)
		body = append(binary.BigEndian.AppendUint32(body, uint32(len(properties[i+1]))), properties[i+1]...)
	}
	return append([]byte{4, byte(len(body))}, body...)
}

// connect makes the handshake as a socket of type typ.
func connect(t testing.TB, c *Conn, port protocol.Port, typ, identity string) *rawPeer {
	t.Helper()
	p := dialRaw(t, c, port)
	p.write(append(greeting(), ready("Socket-Type", typ, "Identity", identity)...))
	got := make([]byte, 64)
	if _, err := io.ReadFull(p.br, got); err != nil {
		t.Fatalf("greeting: %v", err)
	}
	flags, _, err := p.readFrame()
	if err != nil || flags&4 == 0 {
		t.Fatalf("READY: got flags %x and error %v", flags, err)
	}
	return p
}

func (p *rawPeer) write(b []byte) {
	p.t.Helper()
	if _, err := p.Write(b); err != nil {
		p.t.Fatalf("write: %v", err)
	}
}

func appendFrame(b []byte, flags byte, body []byte) []byte {
	if len(body) < 256 {
		return append(append(b, flags, byte(len(body))), body...)
	}
	return append(binary.BigEndian.AppendUint64(append(b, flags|2), uint64(len(body))), body...)
}

func (p *rawPeer) send(frames ...[]byte) {
	p.t.Helper()
	var b []byte
	for i, f := range frames {
		flags := byte(1)
		if i == len(frames)-1 {
			flags = 0
		}
		b = appendFrame(b, flags, f)
	}
	p.write(b)
}

func (p *rawPeer) subscribe(topic string) {
	p.t.Helper()
	p.send([]byte("\x01" + topic))
}

func (p *rawPeer) readFrame() (flags byte, body []byte, err error) {
	if flags, err = p.br.ReadByte(); err != nil {
		return 0, nil, err
	}
	size := make([]byte, 8)
	n := size[7:]
	if flags&2 != 0 {
		n = size
	}
	if _, err = io.ReadFull(p.br, n); err != nil {
		return 0, nil, err
	}
	body = make([]byte, binary.BigEndian.Uint64(size))
	_, err = io.ReadFull(p.br, body)
	return flags, body, err
}

// read returns the frames of the next message.
func (p *rawPeer) read() ([][]byte, error) {
	var frames [][]byte
	for {
		flags, body, err := p.readFrame()
		if err != nil {
			return nil, err
		}
		if flags&4 != 0 {
			return nil, fmt.Errorf("got command %q, want a message", body)
		}
		if frames = append(frames, body); flags&1 == 0 {
			return frames, nil
		}
	}
}

// message returns the next message.
func (p *rawPeer) message(ch protocol.Channel) *protocol.Message {
	p.t.Helper()
	frames, err := p.read()
	if err != nil {
		p.t.Fatalf("read: %v", err)
	}
	m, err := protocol.DecodeFrames(frames, signer(p.t), ch)
	if err != nil {
		p.t.Fatalf("decode: %v", err)
	}
	return m
}

// closed waits until the other side has closed the connection.
func (p *rawPeer) closed() {
	p.t.Helper()
	_, err := io.Copy(io.Discard, p.br)
	var ne net.Error
	if errors.As(err, &ne) && ne.Timeout() {
		p.t.Fatalf("connection still open after %v", patience)
	}
}

// request sends a message of content c, signed.
func (p *rawPeer) request(ch protocol.Channel, c protocol.Content) *protocol.Message {
	p.t.Helper()
	m := newMessage(p.t, ch, c)
	frames, err := protocol.EncodeFrames(m, signer(p.t))
	if err != nil {
		p.t.Fatal(err)
	}
	p.send(frames...)
	return m
}

func signer(t testing.TB) *protocol.Signer {
	t.Helper()
	s, err := protocol.NewSigner(protocol.SchemeHMACSHA256, testKey)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// subscriber connects to iopub, subscribes to everything and reads the welcome.
func connectSub(t testing.TB, c *Conn) *rawPeer {
	t.Helper()
	p := connect(t, c, c.Info().IOPubPort, "SUB", "")
	p.subscribe("")
	if m := p.message(protocol.IOPub); m.Header.MsgType != "iopub_welcome" {
		t.Fatalf("first message: got %s, want iopub_welcome", m.Header.MsgType)
	}
	return p
}

// answer replies to all requests until c is closed; what it got goes to got.
func answer(t testing.TB, c *Conn) {
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			m, err := c.Recv(context.Background())
			if err != nil {
				return
			}
			reply, err := protocol.New(m.Channel, &protocol.Unknown{Type: "echo_reply", Raw: m.Content}, m)
			if err != nil {
				t.Error(err)
				return
			}
			reply.Header.Session = "kernel"
			if err := c.Send(context.Background(), reply); err != nil {
				t.Logf("answer: %v", err)
			}
		}
	})
	t.Cleanup(wg.Wait)
	t.Cleanup(func() { _ = c.Close() })
}
