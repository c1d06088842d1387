package zmq

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gokernel/gokernel/kernel"
	"github.com/gokernel/gokernel/protocol"
)

// serveKernel answers every request on c with status busy, a reply of the type
// that belongs to it and status idle, until c is closed.
func serveKernel(t testing.TB, c *Conn) {
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			m, err := c.Recv(context.Background())
			if err != nil {
				return
			}
			for _, out := range []struct {
				ch protocol.Channel
				c  protocol.Content
			}{
				{protocol.IOPub, &protocol.Status{ExecutionState: "busy"}},
				{m.Channel, &protocol.Unknown{Type: strings.Replace(m.Header.MsgType, "_request", "_reply", 1), Raw: []byte(`{"status":"ok"}`)}},
				{protocol.IOPub, &protocol.Status{ExecutionState: "idle"}},
			} {
				a, err := protocol.New(out.ch, out.c, m)
				if err != nil {
					t.Error(err)
					return
				}
				a.Header.Session = "kernel"
				if err := c.Send(context.Background(), a); err != nil && !errors.Is(err, kernel.ErrNoPeer) && !errors.Is(err, net.ErrClosed) {
					t.Error(err)
				}
			}
		}
	})
	t.Cleanup(func() {
		_ = c.Close() // again, and checked, by listen
		wg.Wait()
	})
}

func dial(t testing.TB, c *Conn, opts *DialOptions) *Client {
	t.Helper()
	if opts == nil {
		opts = &DialOptions{}
	}
	opts.Logger = testLogger(t)
	cl, err := Dial(within(t), c.Info(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cl.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return cl
}

// roundTrip sends a request and returns what comes back for it until reply and idle.
func roundTrip(t testing.TB, cl *Client, ch protocol.Channel, content protocol.Content) []*protocol.Message {
	t.Helper()
	req := newMessage(t, ch, content)
	if err := cl.Send(within(t), req); err != nil {
		t.Fatal(err)
	}
	var got []*protocol.Message
	var reply, idle bool
	for !reply || !idle {
		m, err := cl.Recv(within(t))
		if err != nil {
			t.Fatal(err)
		}
		h, err := m.ParentHeader()
		if err != nil {
			t.Fatal(err)
		}
		if h.MsgID == "" {
			continue // a welcome, or the status of a kernel that starts
		}
		if h.MsgID != req.Header.MsgID {
			t.Fatalf("got a %s for %s, want only what belongs to %s", m.Header.MsgType, h.MsgID, req.Header.MsgID)
		}
		got = append(got, m)
		reply = reply || m.Channel == ch
		idle = idle || strings.Contains(string(m.Content), "idle")
	}
	return got
}

func TestDial(t *testing.T) {
	c := listen(t, nil)
	serveKernel(t, c)
	cl := dial(t, c, nil)
	for _, ch := range []protocol.Channel{protocol.Shell, protocol.Control, protocol.Stdin} {
		if got := roundTrip(t, cl, ch, &protocol.ExecuteRequest{Code: "1"}); len(got) != 3 {
			t.Errorf("%s: got %d messages, want busy, reply and idle", ch, len(got))
		}
	}
	if err := cl.Heartbeat(within(t)); err != nil {
		t.Errorf("Heartbeat: %v", err)
	}
	if err := cl.Send(within(t), stream(t, "x")); err == nil {
		t.Error("Send on iopub: got no error")
	}
	if err := cl.Send(within(t), newMessage(t, "x", &protocol.KernelInfoRequest{})); !errors.Is(err, protocol.ErrChannel) {
		t.Errorf("Send on x: got %v, want ErrChannel", err)
	}
	if err := cl.Send(within(t), nil); !errors.Is(err, errNoMessage) {
		t.Errorf("Send of nothing: got %v", err)
	}
}

// A kernel that greets nobody and answers shell only when it is idle is ready
// when it answers on control and its status is heard.
func TestDialBusyKernel(t *testing.T) {
	c := listen(t, nil)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			m, err := c.Recv(context.Background())
			if err != nil {
				return
			}
			if m.Channel != protocol.Control {
				continue
			}
			reply, err := protocol.New(m.Channel, &protocol.KernelInfoReply{}, m)
			if err == nil {
				err = c.Send(context.Background(), reply)
			}
			if err != nil {
				t.Error(err)
			}
		}
	})
	t.Cleanup(func() { _ = c.Close(); wg.Wait() })
	dial(t, c, &DialOptions{Nudge: 20 * time.Millisecond})
}

func TestDialErrors(t *testing.T) {
	c := listen(t, nil)
	serveKernel(t, c)
	good := c.Info()
	nobody := func() *protocol.ConnectionInfo {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		i := *good
		i.ShellPort = protocol.Port(l.Addr().(*net.TCPAddr).Port)
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		return &i
	}()
	wrongKey, wrongScheme, noTransport := *good, *good, *good
	wrongKey.Key = "wrong"
	wrongScheme.SignatureScheme = "none"
	noTransport.Transport = "carrier pigeon"
	tests := []struct {
		name string
		info *protocol.ConnectionInfo
		opts *DialOptions
		want string
	}{
		{"no info", nil, nil, "no connection info"},
		{"nobody listens", nobody, nil, "cannot connect to shell"},
		{"wrong key", &wrongKey, nil, "is the key the kernel's"},
		{"unknown scheme", &wrongScheme, nil, "signature scheme"},
		{"unknown transport", &noTransport, nil, "carrier pigeon"},
		{"bad identity", good, &DialOptions{Identity: "\x00a"}, "identity"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
			defer cancel()
			_, err := Dial(ctx, tt.info, tt.opts)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an error with %q", err, tt.want)
			}
		})
	}
}

// A kernel that comes back on its ports finds its client there: with the same
// identity, subscribed, and with what was sent meanwhile.
func TestClientConnectsAgain(t *testing.T) {
	first, err := Listen(testInfo(), &Options{Linger: -1})
	if err != nil {
		t.Fatal(err)
	}
	serveKernel(t, first)
	cl := dial(t, first, &DialOptions{Identity: "constant"})
	roundTrip(t, cl, protocol.Shell, &protocol.ExecuteRequest{Code: "1"})
	info := first.Info()
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the client has noticed", func() bool { return cl.shell.state() != nil && cl.iopub.state() != nil })
	req := newMessage(t, protocol.Shell, &protocol.ExecuteRequest{Code: "2"})
	if err := cl.Send(within(t), req); err != nil {
		t.Fatal(err)
	}
	second, err := Listen(info, &Options{Linger: -1, Logger: testLogger(t)})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := second.Close(); err != nil {
			t.Error(err)
		}
	}()
	m, err := second.Recv(within(t))
	if err != nil {
		t.Fatal(err)
	}
	if m.Header.MsgID != req.Header.MsgID || string(m.Identities[0]) != "constant" {
		t.Errorf("got %s from %q, want what was sent while nobody was there", m.Header.MsgID, m.Identities)
	}
	out := stream(t, "hello again")
	if err := second.Publish(within(t), out, nil); err != nil {
		t.Fatal(err)
	}
	for {
		m, err := cl.Recv(within(t))
		if err != nil {
			t.Fatal(err)
		}
		if m.Header.MsgID == out.Header.MsgID {
			return
		}
	}
}

// What is sent right before Close still arrives.
func TestClientCloseDelivers(t *testing.T) {
	const n = 500
	c := listen(t, nil)
	var wg sync.WaitGroup
	defer wg.Wait()
	all := make(chan struct{})
	wg.Go(func() {
		for got := 0; got < n; {
			m, err := c.Recv(within(t))
			if err != nil {
				t.Errorf("after %d requests: %v", got, err)
				break
			}
			if m.Header.MsgType == "execute_request" {
				got++
				continue
			}
			reply, err := protocol.New(m.Channel, &protocol.KernelInfoReply{}, m)
			if err == nil {
				err = c.Send(within(t), reply)
			}
			if err != nil {
				t.Error(err)
			}
		}
		close(all)
	})
	cl := dial(t, c, &DialOptions{Linger: patience})
	for range n {
		if err := cl.Send(within(t), newMessage(t, protocol.Shell, &protocol.ExecuteRequest{Code: strings.Repeat("x", 1000)})); err != nil {
			t.Fatal(err)
		}
	}
	if err := cl.Close(); err != nil {
		t.Fatal(err)
	}
	<-all
	if _, err := cl.Recv(within(t)); err != io.EOF {
		t.Errorf("Recv after Close: got %v, want io.EOF", err)
	}
	if err := cl.Send(within(t), newMessage(t, protocol.Shell, &protocol.ExecuteRequest{})); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Send after Close: got %v, want net.ErrClosed", err)
	}
}

// While the kernel is away the queue of a client is bounded.
func TestClientQueueIsBounded(t *testing.T) {
	c := listen(t, nil)
	serveKernel(t, c)
	cl := dial(t, c, &DialOptions{QueueBytes: 100_000, Linger: -1})
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the client has noticed", func() bool { return cl.shell.state() != nil })
	var err error
	for i := 0; i < 20 && err == nil; i++ {
		err = cl.Send(within(t), newMessage(t, protocol.Shell, &protocol.ExecuteRequest{Code: strings.Repeat("x", 10_000)}))
	}
	if !errors.Is(err, errOverflow) {
		t.Errorf("got %v, want an error when the queue is full", err)
	}
}

func TestHeartbeatErrors(t *testing.T) {
	c := listen(t, nil)
	serveKernel(t, c)
	cl := dial(t, c, nil)
	t.Run("silence", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = l.Close() }()
		info := cl.info
		info.HBPort = protocol.Port(l.Addr().(*net.TCPAddr).Port)
		ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		defer cancel()
		if err := (&Client{info: info, cfg: cl.cfg}).Heartbeat(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want a deadline that is over", err)
		}
	})
	t.Run("gone", func(t *testing.T) {
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		if err := cl.Heartbeat(within(t)); err == nil {
			t.Error("got no error from a kernel that is gone")
		}
	})
}
