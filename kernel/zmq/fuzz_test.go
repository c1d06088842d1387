package zmq

import (
	"bytes"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/go-zeromq/zmq4"
)

// A memConn is a connection whose other side has said all that it ever will.
type memConn struct {
	net.Conn
	in *bytes.Reader
}

func (m memConn) Read(p []byte) (int, error)         { return m.in.Read(p) }
func (m memConn) Write(p []byte) (int, error)        { return len(p), nil }
func (m memConn) Close() error                       { return nil }
func (m memConn) SetDeadline(time.Time) error        { return nil }
func (m memConn) SetWriteDeadline(t time.Time) error { return nil }

// FuzzWire reads any bytes as what follows a handshake. What is read as a
// message and written again must be read as the same.
func FuzzWire(f *testing.F) {
	f.Add([]byte("\x00\x01a"))
	f.Add([]byte("\x01\x00\x00\x01\x01\x04\x07\x04PING\x00\x10"))
	f.Add([]byte("\x02\x40\x00\x00\x00\x00\x00\x00\x00"))
	f.Add(append([]byte("\x03\x00\x00\x00\x00\x00\x00\x20\x00"), bytes.Repeat([]byte("x"), 8192)...))
	f.Add([]byte("\x04\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		const limit = 1 << 20
		bud := &budget{max: limit}
		w := newWire(memConn{in: bytes.NewReader(b)}, limit, bud, 0)
		for {
			frames, err := w.readMessage(func(name string, arg []byte) error {
				if len(name)+len(arg) > maxCommand {
					t.Errorf("command of %d bytes", len(name)+len(arg))
				}
				return nil
			})
			if used := bud.used.Load(); used != 0 {
				t.Fatalf("budget: %d bytes are held after a message", used)
			}
			if err != nil {
				if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, errTooBig) && !errors.Is(err, errProtocol) {
					t.Fatalf("unexpected error: %v", err)
				}
				return
			}
			again := reread(t, frames)
			if len(again) != len(frames) {
				t.Fatalf("read %d frames, then %d", len(frames), len(again))
			}
			for i := range frames {
				if !bytes.Equal(frames[i], again[i]) {
					t.Fatalf("frame %d has changed", i)
				}
			}
		}
	})
}

func reread(t *testing.T, frames [][]byte) [][]byte {
	var b []byte
	for i, f := range frames {
		flags := byte(flagMore)
		if i == len(frames)-1 {
			flags = 0
		}
		b = appendFrame(b, flags, f)
	}
	got, err := newWire(memConn{in: bytes.NewReader(b)}, 1<<30, &budget{max: 1 << 30}, 0).readMessage(nil)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// FuzzHandshake offers any bytes as a handshake: zmq4 must not bring us down.
func FuzzHandshake(f *testing.F) {
	f.Add([]byte("GET / HTTP/1.1\r\n"))
	f.Add(append(greeting(), ready("Socket-Type", "DEALER", "Identity", "me")...))
	f.Add(append(greeting(), 4, 7, 5, 'R', 'E', 'A', 'D', 'Y', 0xff))
	cfg := (*Options)(nil).config()
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := open(memConn{in: bytes.NewReader(b)}, &cfg, &budget{max: 1 << 20}, zmq4.Router, "", true)
		if err == nil && (p.id == "" || len(p.id) > 255) {
			t.Errorf("a peer with the identity %q", p.id)
		}
	})
}
