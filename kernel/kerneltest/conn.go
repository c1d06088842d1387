package kerneltest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/gokernel/gokernel/kernel"
	"github.com/gokernel/gokernel/protocol"
)

// TestConn checks that a transport keeps the contract of kernel.Conn and, where
// the kernel's end is one, of kernel.Tracker. pair returns the two ends of a
// fresh connection with one client, which may still be on its way; TestConn
// closes both.
func TestConn(t *testing.T, pair func(t *testing.T) (client, server kernel.Conn)) {
	tests := []struct {
		name string
		test func(t *testing.T, p *pairTest)
	}{
		{"requests arrive in order and replies go back", testOrder},
		{"iopub arrives in order", testIOPub},
		{"messages arrive whole", testWhole},
		{"senders may be many", testConcurrentSend},
		{"Recv ends with its context", testRecvContext},
		{"what was sent before Close arrives", testLinger},
		{"Close ends Recv and may be repeated", testClose},
		{"the client's Close leaves the kernel's end usable", testClientGone},
		{"Publish tells when it is written", testPublish},
		{"Publish ends with its context while nobody has room", testPublishContext},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			client, server := pair(t)
			ctx, cancel := context.WithTimeout(context.Background(), Timeout)
			p := &pairTest{ctx: ctx, client: client, server: server}
			t.Cleanup(func() {
				cancel()
				for _, c := range []kernel.Conn{client, server} {
					if err := c.Close(); err != nil {
						t.Errorf("Close: %v", err)
					}
				}
			})
			p.tracker, _ = server.(kernel.Tracker)
			p.waitSubscriber(t)
			test.test(t, p)
		})
	}
}

type pairTest struct {
	ctx            context.Context // ends with Timeout
	client, server kernel.Conn
	tracker        kernel.Tracker // nil: server is none
}

// waitSubscriber waits until the client is subscribed to iopub.
func (p *pairTest) waitSubscriber(t *testing.T) {
	t.Helper()
	if p.tracker == nil {
		return
	}
	for p.tracker.Subscribers() == 0 {
		select {
		case <-p.tracker.Events():
		case <-p.ctx.Done():
			t.Fatalf("no subscriber after %v", Timeout)
		}
	}
}

func message(t *testing.T, ch protocol.Channel, text string, parent *protocol.Message) *protocol.Message {
	t.Helper()
	m, err := protocol.New(ch, &protocol.Stream{Name: protocol.Stdout, Text: text}, parent)
	if err != nil {
		t.Fatal(err)
	}
	m.Header.MsgID, m.Header.Session = uuid.NewString(), "test"
	return m
}

// text returns what message was made with.
func text(m *protocol.Message) string {
	c, err := m.Decode()
	if err != nil {
		return err.Error()
	}
	if s, ok := c.(*protocol.Stream); ok {
		return s.Text
	}
	return m.Header.MsgType
}

func (p *pairTest) send(t *testing.T, c kernel.Conn, m *protocol.Message) {
	t.Helper()
	if err := c.Send(p.ctx, m); err != nil {
		t.Fatalf("Send on %s: %v", m.Channel, err)
	}
}

// recv returns the next message on ch that a test has sent: what connections say
// to each other, like iopub_welcome, is left out.
func (p *pairTest) recv(t *testing.T, c kernel.Conn, ch protocol.Channel) *protocol.Message {
	t.Helper()
	for {
		m, err := c.Recv(p.ctx)
		if err != nil {
			t.Fatalf("Recv on %s: %v", ch, err)
		}
		if m.Header.Session != "test" {
			continue
		}
		if m.Channel != ch {
			t.Fatalf("received %q on %s, want it on %s", text(m), m.Channel, ch)
		}
		return m
	}
}

func testOrder(t *testing.T, p *pairTest) {
	const n = 100
	for _, ch := range []protocol.Channel{protocol.Shell, protocol.Control, protocol.Stdin} {
		var requests []*protocol.Message
		go func() {
			for i := range n {
				if err := p.client.Send(p.ctx, message(t, ch, strconv.Itoa(i), nil)); err != nil {
					t.Errorf("Send: %v", err)
				}
			}
		}()
		for i := range n {
			m := p.recv(t, p.server, ch)
			if got := text(m); got != strconv.Itoa(i) {
				t.Fatalf("request %d on %s is %q", i, ch, got)
			}
			requests = append(requests, m)
		}
		for i, r := range requests {
			p.send(t, p.server, message(t, ch, strconv.Itoa(i), r))
		}
		for i, r := range requests {
			m := p.recv(t, p.client, ch)
			if got := text(m); got != strconv.Itoa(i) {
				t.Fatalf("reply %d on %s is %q", i, ch, got)
			}
			if got := parentID(m); got != r.Header.MsgID {
				t.Errorf("parent of reply %d = %q, want %q", i, got, r.Header.MsgID)
			}
		}
	}
}

func testIOPub(t *testing.T, p *pairTest) {
	const n = 100
	for i := range n {
		p.send(t, p.server, message(t, protocol.IOPub, strconv.Itoa(i), nil))
	}
	for i := range n {
		if got := text(p.recv(t, p.client, protocol.IOPub)); got != strconv.Itoa(i) {
			t.Fatalf("message %d on iopub is %q", i, got)
		}
	}
}

func testWhole(t *testing.T, p *pairTest) {
	out := message(t, protocol.Shell, strings.Repeat("ä\x00\U0001F600", 1000), nil)
	out.Metadata = []byte(`{"a": [1.50, "<&>"]}`)
	out.Parent = []byte(`{"msg_id":"p","unknown":{"x":1}}`)
	out.Buffers = [][]byte{{0, 1, 255}, {}, bytes.Repeat([]byte("b"), 1<<20)}
	p.send(t, p.client, out)
	in := p.recv(t, p.server, protocol.Shell)
	if in.Header != out.Header || !bytes.Equal(in.Content, out.Content) || !bytes.Equal(in.Metadata, out.Metadata) || !bytes.Equal(in.Parent, out.Parent) {
		t.Errorf("received %+v with parent %s and metadata %s, want what was sent: %+v, %s, %s",
			in.Header, in.Parent, in.Metadata, out.Header, out.Parent, out.Metadata)
	}
	if !slices.EqualFunc(in.Buffers, out.Buffers, bytes.Equal) {
		t.Errorf("%d buffers received, want the %d sent as they were", len(in.Buffers), len(out.Buffers))
	}
}

func testConcurrentSend(t *testing.T, p *pairTest) {
	const senders, each = 8, 50
	var wg sync.WaitGroup
	for s := range senders {
		wg.Go(func() {
			for i := range each {
				if err := p.server.Send(p.ctx, message(t, protocol.IOPub, fmt.Sprintf("%d %d", s, i), nil)); err != nil {
					t.Errorf("Send: %v", err)
				}
			}
		})
	}
	next := map[string]int{}
	for range senders * each {
		s, i, _ := strings.Cut(text(p.recv(t, p.client, protocol.IOPub)), " ")
		if i != strconv.Itoa(next[s]) {
			t.Errorf("message %s of sender %s, want %d", i, s, next[s])
		}
		next[s]++
	}
	wg.Wait()
}

func testRecvContext(t *testing.T, p *pairTest) {
	for _, c := range []kernel.Conn{p.server} { // a client may have been welcomed
		ctx, cancel := context.WithCancel(p.ctx)
		result := make(chan error, 1)
		go func() {
			_, err := c.Recv(ctx)
			result <- err
		}()
		cancel()
		if err := <-result; !errors.Is(err, context.Canceled) {
			t.Errorf("Recv = %v, want context.Canceled", err)
		}
	}
}

func testLinger(t *testing.T, p *pairTest) {
	const n = 50
	for i := range n {
		p.send(t, p.server, message(t, protocol.IOPub, strconv.Itoa(i), nil))
	}
	closed := make(chan error, 1)
	go func() { closed <- p.server.Close() }()
	for i := range n {
		if got := text(p.recv(t, p.client, protocol.IOPub)); got != strconv.Itoa(i) {
			t.Fatalf("message %d is %q", i, got)
		}
	}
	if err := <-closed; err != nil {
		t.Errorf("Close: %v", err)
	}
}

func testClose(t *testing.T, p *pairTest) {
	for _, c := range []kernel.Conn{p.client, p.server} {
		result := make(chan error, 1)
		go func() {
			for {
				if _, err := c.Recv(p.ctx); err != nil {
					result <- err
					return
				}
			}
		}()
		for range 2 {
			if err := c.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
		}
		if err := <-result; !errors.Is(err, io.EOF) {
			t.Errorf("Recv while closing = %v, want io.EOF", err)
		}
		if _, err := c.Recv(p.ctx); !errors.Is(err, io.EOF) {
			t.Errorf("Recv after Close = %v, want io.EOF", err)
		}
		if err := c.Send(p.ctx, message(t, protocol.Shell, "x", nil)); err == nil {
			t.Error("Send after Close = nil, want an error")
		}
	}
}

func testClientGone(t *testing.T, p *pairTest) {
	p.send(t, p.client, message(t, protocol.Shell, "x", nil))
	request := p.recv(t, p.server, protocol.Shell)
	if err := p.client.Close(); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 100 { // each may fail, none may wait
			if err := p.server.Send(p.ctx, message(t, protocol.Shell, "x", request)); errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("Send to a client that is gone: %v", err)
			}
		}
	}()
	select {
	case <-done:
	case <-p.ctx.Done():
		t.Errorf("Send to a client that is gone waits")
		<-done
	}
}

func testPublish(t *testing.T, p *pairTest) {
	if p.tracker == nil {
		t.Skip("not a Tracker")
	}
	const n = 100
	written := make(chan int, 2*n)
	for i := range n {
		if err := p.tracker.Publish(p.ctx, message(t, protocol.IOPub, strconv.Itoa(i), nil), func(n int) { written <- n }); err != nil {
			t.Fatalf("Publish: %v", err)
		}
	}
	for i := range n {
		if got := text(p.recv(t, p.client, protocol.IOPub)); got != strconv.Itoa(i) {
			t.Fatalf("message %d is %q", i, got)
		}
	}
	for i := range n {
		select {
		case got := <-written:
			if got != 1 {
				t.Errorf("message %d written to %d, want 1", i, got)
			}
		case <-p.ctx.Done():
			t.Fatalf("written was called %d times, want %d", i, n)
		}
	}
	if err := p.client.Close(); err != nil {
		t.Fatal(err)
	}
	if err := p.server.Close(); err != nil {
		t.Fatal(err)
	}
	if extra := len(written); extra != 0 {
		t.Errorf("written was called %d times too often", extra)
	}
}

func testPublishContext(t *testing.T, p *pairTest) {
	if p.tracker == nil {
		t.Skip("not a Tracker")
	}
	// The client does not read: sooner or later nobody has room.
	ctx, cancel := context.WithTimeout(p.ctx, 2*time.Second)
	defer cancel()
	big := strings.Repeat("x", 4<<20)
	var calls sync.WaitGroup
	published := 0
	for {
		calls.Add(1)
		if err := p.tracker.Publish(ctx, message(t, protocol.IOPub, big, nil), func(int) { calls.Done() }); err != nil {
			calls.Done() // it must not be called
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("Publish without room = %v, want context.DeadlineExceeded", err)
			}
			break
		}
		if published++; published > 1000 {
			t.Fatal("4 GiB were published to a client that does not read")
		}
	}
	for _, c := range []kernel.Conn{p.client, p.server} {
		if err := c.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	}
	calls.Wait() // exactly once for each that was taken
}
