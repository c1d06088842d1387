package zmq

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/go-zeromq/zmq4"

	"github.com/gokernel/gokernel/protocol"
)

// ports returns the ports of all sockets by name.
func ports(c *Conn) map[string]protocol.Port {
	i := c.Info()
	return map[string]protocol.Port{"shell": i.ShellPort, "control": i.ControlPort, "stdin": i.StdinPort, "iopub": i.IOPubPort, "hb": i.HBPort}
}

// checkAlive makes a round trip on each socket.
func checkAlive(t *testing.T, c *Conn) {
	t.Helper()
	hb := connect(t, c, c.Info().HBPort, "REQ", "")
	hb.send(nil, []byte("ping"))
	if got, err := hb.read(); err != nil || len(got) != 2 || string(got[1]) != "ping" {
		t.Fatalf("heartbeat: got %q and error %v", got, err)
	}
	connectSub(t, c)
	for _, ch := range []protocol.Channel{protocol.Shell, protocol.Control, protocol.Stdin} {
		p := connect(t, c, ports(c)[string(ch)], "DEALER", "alive-"+string(ch))
		want := p.request(ch, &protocol.KernelInfoRequest{})
		if h, err := p.message(ch).ParentHeader(); err != nil || h.MsgID != want.Header.MsgID {
			t.Fatalf("%s: got an answer to %q (%v), want %q", ch, h.MsgID, err, want.Header.MsgID)
		}
	}
}

func socketType(name string) string {
	switch name {
	case "iopub":
		return "SUB"
	case "hb":
		return "REQ"
	}
	return "DEALER"
}

// Bytes that make zmq4 panic, wait or reserve memory end one connection.
func TestHostileBytes(t *testing.T) {
	huge := func(flags byte) []byte {
		return binary.BigEndian.AppendUint64([]byte{flags}, 1<<62)
	}
	hello := append(greeting(), ready("Socket-Type", "DEALER")...)
	tests := map[string][]byte{
		"HTTP request":                  []byte("GET / HTTP/1.1\r\n\r\n"),
		"TLS hello":                     {0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc},
		"ZMTP 2 greeting":               append([]byte{0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 1}, make([]byte, 53)...),
		"other mechanism":               append(append(append([]byte(nil), greeting()[:12]...), "CURVE"...), make([]byte, 47)...),
		"READY with a huge key":         append(greeting(), 4, 7, 5, 'R', 'E', 'A', 'D', 'Y', 0xff),
		"READY that ends in a key":      append(greeting(), 4, 9, 5, 'R', 'E', 'A', 'D', 'Y', 3, 'a', 'b'),
		"READY that ends in a length":   append(greeting(), 4, 10, 5, 'R', 'E', 'A', 'D', 'Y', 1, 'a', 0, 0),
		"READY without a type":          append(greeting(), ready()...),
		"READY of an unknown type":      append(greeting(), ready("Socket-Type", "NOSUCH")...),
		"READY of an incompatible type": append(greeting(), ready("Socket-Type", "PUSH")...),
		"READY of 2^62 bytes":           append(greeting(), huge(flagCommand|flagLong)...),
		"empty command for READY":       append(greeting(), 4, 0),
		"message for READY":             append(greeting(), 0, 0),
		"frame of 2^62 bytes":           append(append([]byte(nil), hello...), huge(flagLong)...),
		"frame of 2^63 bytes and more":  append(append([]byte(nil), hello...), 2, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff),
		"command of 2^62 bytes":         append(append([]byte(nil), hello...), huge(flagCommand|flagLong)...),
		"unknown flags":                 append(append([]byte(nil), hello...), 0x80, 0),
		"empty command":                 append(append([]byte(nil), hello...), 4, 0),
		"command with a long name":      append(append([]byte(nil), hello...), 4, 2, 200, 'A'),
		"PING without time to live":     append(append([]byte(nil), hello...), 4, 6, 4, 'P', 'I', 'N', 'G', 0),
		"ERROR":                         append(append([]byte(nil), hello...), 4, 7, 5, 'E', 'R', 'R', 'O', 'R', 0),
		"nothing":                       {},
	}
	c := listen(t, nil)
	answer(t, c)
	for name, bytes := range tests {
		t.Run(name, func(t *testing.T) {
			for socket, port := range ports(c) {
				b := bytes
				if i := strings.Index(string(b), "DEALER"); i >= 0 && socketType(socket) != "DEALER" {
					b = append(append([]byte(nil), greeting()...), ready("Socket-Type", socketType(socket))...)
					b = append(b, bytes[len(hello):]...)
				}
				p := dialRaw(t, c, port)
				p.write(b)
				if len(b) == 0 {
					if err := p.Close(); err != nil {
						t.Fatal(err)
					}
					continue
				}
				p.closed()
			}
		})
	}
	checkAlive(t, c)
}

func TestHTTPFloodOnEveryPort(t *testing.T) {
	c := listen(t, nil)
	answer(t, c)
	for _, port := range ports(c) {
		for range 100 {
			p := dialRaw(t, c, port)
			p.write([]byte("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"))
			p.closed()
			if err := p.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	checkAlive(t, c)
}

// Messages that are no Jupyter messages are dropped, and the connection lives.
func TestBadMessagesAreDropped(t *testing.T) {
	var logged bytes.Buffer
	c := listen(t, &Options{Linger: -1, Logger: slog.New(slog.NewTextHandler(&lockedWriter{w: &logged}, nil))})
	p := connect(t, c, c.Info().ShellPort, "DEALER", "bad")
	good, err := protocol.EncodeFrames(newMessage(t, protocol.Shell, &protocol.ExecuteRequest{Code: "top-secret"}), signer(t))
	if err != nil {
		t.Fatal(err)
	}
	with := func(i int, b string) [][]byte {
		f := append([][]byte(nil), good...)
		f[i] = []byte(b)
		return f
	}
	other, err := protocol.NewSigner(protocol.SchemeHMACSHA256, "another key")
	if err != nil {
		t.Fatal(err)
	}
	wrongKey, err := protocol.EncodeFrames(newMessage(t, protocol.Shell, &protocol.ExecuteRequest{Code: "top-secret"}), other)
	if err != nil {
		t.Fatal(err)
	}
	bad := map[string][][]byte{
		"one empty frame":   {{}},
		"no delimiter":      {[]byte("top-secret")},
		"too few frames":    good[:4],
		"no signature":      with(1, ""),
		"wrong signature":   with(1, strings.Repeat("0", 64)),
		"no hex":            with(1, "top-secret"),
		"changed content":   with(5, `{"code":"top-secret"}`),
		"wrong key":         wrongKey,
		"header is no JSON": with(2, "top-secret"),
	}
	for _, frames := range bad {
		p.send(frames...)
	}
	p.send(good...)
	p.send(good...) // a replay
	last := p.request(protocol.Shell, &protocol.KernelInfoRequest{})
	var got []string
	for range 2 {
		m, err := c.Recv(within(t))
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, m.Header.MsgType)
		if m.Header.MsgType == "kernel_info_request" && m.Header.MsgID != last.Header.MsgID {
			t.Errorf("got request %s, want %s", m.Header.MsgID, last.Header.MsgID)
		}
	}
	if s := strings.Join(got, ","); s != "execute_request,kernel_info_request" {
		t.Errorf("received %s, want the two good ones only", s)
	}
	reply := newMessage(t, protocol.Shell, &protocol.KernelInfoReply{}, "bad")
	if err := c.Send(within(t), reply); err != nil {
		t.Fatal(err)
	}
	if m := p.message(protocol.Shell); m.Header.MsgID != reply.Header.MsgID {
		t.Errorf("first answer: got %s, want nothing but the reply to the good one", m.Header.MsgType)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if s := logged.String(); !strings.Contains(s, "level=WARN") || strings.Contains(s, "top-secret") || strings.Contains(s, testKey) {
		t.Errorf("log: got %q, want warnings without content", s)
	}
}

type lockedWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *lockedWriter) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(b)
}

// Peers that say nothing do not keep others from being served: not while their
// handshake lasts, nor when they are as many as there may be connections.
func TestSilentPeers(t *testing.T) {
	c := listen(t, &Options{Linger: -1, MaxPeers: 20, Handshake: time.Hour})
	answer(t, c)
	for _, port := range ports(c) {
		for range 50 {
			dialRaw(t, c, port)
		}
	}
	checkAlive(t, c)
}

func TestHandshakeDeadline(t *testing.T) {
	c := listen(t, &Options{Linger: -1, Handshake: 50 * time.Millisecond})
	answer(t, c)
	for _, b := range [][]byte{nil, greeting()[:20], greeting(), append(greeting(), 4, 30, 5, 'R')} {
		p := dialRaw(t, c, c.Info().ShellPort)
		if len(b) > 0 {
			p.write(b)
		}
		p.closed()
	}
	checkAlive(t, c)
}

func TestMaxPeers(t *testing.T) {
	c := listen(t, &Options{Linger: -1, MaxPeers: 3})
	var first *rawPeer
	for range 3 {
		p := connect(t, c, c.Info().ShellPort, "DEALER", "")
		p.request(protocol.Shell, &protocol.KernelInfoRequest{})
		if _, err := c.Recv(within(t)); err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = p
		}
	}
	dialRaw(t, c, c.Info().ShellPort).closed()
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "there is room again", func() bool {
		c.shell.mu.Lock()
		defer c.shell.mu.Unlock()
		return len(c.shell.peers) == 2
	})
	eventually(t, "a new peer is let in", func() bool {
		a := c.acceptors[0]
		a.mu.Lock()
		defer a.mu.Unlock()
		return len(a.peers) == 2
	})
	connect(t, c, c.Info().ShellPort, "DEALER", "")
}

// A header may claim what it likes: memory is taken as bytes arrive.
func TestClaimedSizeReservesNoMemory(t *testing.T) {
	c := listen(t, nil)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	const peers = 20
	sent := make([]byte, firstPiece+1)
	for range peers {
		p := connect(t, c, c.Info().ShellPort, "DEALER", "")
		p.write(binary.BigEndian.AppendUint64([]byte{flagLong}, 1<<29))
		p.write(sent)
	}
	a := c.acceptors[0]
	eventually(t, "all have been read from", func() bool { return a.budget.used.Load() >= peers*4*firstPiece })
	runtime.ReadMemStats(&after)
	if got := int64(after.HeapAlloc) - int64(before.HeapAlloc); got > peers*8*firstPiece {
		t.Errorf("%d headers that claim 512 MiB took %d bytes", peers, got)
	}
}

func TestMessageLimit(t *testing.T) {
	c := listen(t, &Options{Linger: -1, MaxMessage: 1 << 20})
	t.Run("one frame", func(t *testing.T) {
		p := connect(t, c, c.Info().ShellPort, "DEALER", "")
		p.write(binary.BigEndian.AppendUint64([]byte{flagLong}, 1<<20))
		p.closed()
	})
	t.Run("empty frames without end", func(t *testing.T) {
		p := connect(t, c, c.Info().ShellPort, "DEALER", "")
		more := bytes.Repeat([]byte{flagMore, 0}, 1<<10)
		for range 16 {
			p.write(more)
		}
		p.write(more[:2]) // each counts for 64 bytes
		p.closed()
	})
	t.Run("together on a socket", func(t *testing.T) {
		const each = 600 << 10 // four fit into twice the limit of a message, at most
		var ps []*rawPeer
		for range 8 {
			p := connect(t, c, c.Info().ControlPort, "DEALER", "")
			p.write(binary.BigEndian.AppendUint64([]byte{flagLong}, each))
			if _, err := p.Write(make([]byte, each-1)); err != nil {
				t.Logf("cut off while writing: %v", err)
			}
			ps = append(ps, p)
		}
		a := c.acceptors[1]
		eventually(t, "some are cut off, the others fit", func() bool {
			a.mu.Lock()
			defer a.mu.Unlock()
			return len(a.peers) < len(ps) && len(a.peers) > 0 && a.budget.used.Load() <= a.budget.max
		})
	})
}

func TestPing(t *testing.T) {
	c := listen(t, nil)
	for socket, port := range ports(c) {
		t.Run(socket, func(t *testing.T) {
			p := connect(t, c, port, socketType(socket), "")
			for _, context := range []string{"", "ctx", strings.Repeat("x", 16)} {
				p.write(append(append([]byte{4, byte(7 + len(context)), 4}, "PING\x00\x10"...), context...))
				flags, body, err := p.readFrame()
				if err != nil || flags != 4 || string(body) != "\x04PONG"+context {
					t.Errorf("context %q: got flags %x, %q, error %v", context, flags, body, err)
				}
			}
		})
	}
	t.Run("between frames", func(t *testing.T) {
		p := connect(t, c, c.Info().HBPort, "REQ", "")
		b := appendFrame(nil, flagMore, []byte("a"))
		b = append(b, "\x04\x07\x04PING\x00\x10"...)
		p.write(appendFrame(b, 0, []byte("b")))
		if flags, body, err := p.readFrame(); err != nil || flags != 4 || string(body) != "\x04PONG" {
			t.Errorf("got flags %x, %q, error %v, want PONG", flags, body, err)
		}
		if got, err := p.read(); err != nil || len(got) != 2 || string(got[0])+string(got[1]) != "ab" {
			t.Errorf("got %q and error %v, want a and b", got, err)
		}
	})
}

// Whatever comes on the heartbeat goes back, with or without a delimiter.
func TestHeartbeatEchoes(t *testing.T) {
	c := listen(t, nil)
	for _, frames := range [][][]byte{
		{{}, []byte("ping")},
		{[]byte("ping")},
		{{}},
		{{}, {}, {}},
		{[]byte{0xff, 0, 0x80}, bytes.Repeat([]byte("x"), 100_000)},
	} {
		p := connect(t, c, c.Info().HBPort, "DEALER", "")
		p.send(frames...)
		got, err := p.read()
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(bytes.Join(got, []byte("|")), bytes.Join(frames, []byte("|"))) {
			t.Errorf("got %d frames %.40q, want %.40q", len(got), got, frames)
		}
	}
}

// A client that does not read its replies harms nobody else.
func TestStuckDealer(t *testing.T) {
	c := listen(t, &Options{Linger: -1, QueueBytes: 256 << 10})
	stuck := connect(t, c, c.Info().ShellPort, "DEALER", "stuck")
	well := connect(t, c, c.Info().ShellPort, "DEALER", "well")
	reply := func(id string) error {
		m := newMessage(t, protocol.Shell, &protocol.Unknown{Type: "x_reply", Raw: []byte(`{"x":"` + strings.Repeat("x", 50_000) + `"}`)}, id)
		return c.Send(within(t), m)
	}
	eventually(t, "both have arrived", func() bool { return reply("stuck") == nil && reply("well") == nil })
	var cut error
	for i := 0; i < 10_000 && cut == nil; i++ {
		cut = reply("stuck")
		if err := reply("well"); err != nil {
			t.Fatalf("reply %d to the healthy client: %v", i, err)
		}
		well.message(protocol.Shell)
	}
	if cut == nil {
		t.Error("500 MB were queued for a client that does not read")
	}
	stuck.closed()
}

// A peer that has stopped reading in the middle of a message is cut off in time.
func TestWriteStall(t *testing.T) {
	c := listen(t, &Options{Linger: -1, WriteStall: 100 * time.Millisecond})
	p := connect(t, c, c.Info().ShellPort, "DEALER", "stuck")
	p.request(protocol.Shell, &protocol.KernelInfoRequest{})
	if _, err := c.Recv(within(t)); err != nil {
		t.Fatal(err)
	}
	m := newMessage(t, protocol.Shell, &protocol.Unknown{Type: "x", Raw: []byte("{}")}, "stuck")
	m.Buffers = [][]byte{make([]byte, 64<<20)}
	if err := c.Send(within(t), m); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the peer is cut off", func() bool {
		c.shell.mu.Lock()
		defer c.shell.mu.Unlock()
		return len(c.shell.peers) == 0
	})
}

// A failingListener fails as one does when there are no descriptors left.
type failingListener struct {
	net.Listener
	fail  atomic.Bool
	calls atomic.Int64
}

func (f *failingListener) Accept() (net.Conn, error) {
	f.calls.Add(1)
	if f.fail.Load() {
		return nil, &net.OpError{Op: "accept", Err: syscall.EMFILE}
	}
	return f.Listener.Accept()
}

func TestOutOfDescriptors(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &failingListener{Listener: l}
	f.fail.Store(true)
	cfg := (&Options{Linger: -1}).config()
	start := time.Now()
	a := newAcceptor(&cfg, "hb", zmq4.Router, echo{}, f)
	eventually(t, "accept has failed a few times", func() bool { return f.calls.Load() >= 5 })
	// 5 + 10 + 20 + 40 ms lie between five calls.
	if d := time.Since(start); d < 75*time.Millisecond {
		t.Errorf("accept was called 5 times in %v", d)
	}
	f.fail.Store(false)
	port := protocol.Port(l.Addr().(*net.TCPAddr).Port)
	p := connect(t, nil, port, "REQ", "")
	p.send([]byte("x"))
	if got, err := p.read(); err != nil || string(got[0]) != "x" {
		t.Errorf("got %q and error %v", got, err)
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	f.fail.Store(true)
	// Closing does not wait for the time between two attempts.
	if err := a.shut(); err != nil && !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
	a.wait(nil)
}
