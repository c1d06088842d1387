// Package kerneltest helps to test kernels and connections: a [Client] that
// sends requests and keeps a transcript, a [Session] that is scripted in Go, and
// [TestConn], which every kernel.Conn passes.
package kerneltest

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/gokernel/gokernel/kernel"
	"github.com/gokernel/gokernel/protocol"
)

// Timeout is how long a Client waits for what it expects until it fails the test.
const Timeout = 20 * time.Second

// A Client is a client of a kernel in a test. Its methods fail the test when
// they do not get what they wait for; they are for the test's goroutine.
//
// One goroutine receives; it ends when the connection is closed, at the latest
// when the test ends, which waits for it.
type Client struct {
	tb   testing.TB
	conn kernel.Conn
	id   string // of the client session
	done chan struct{}

	mu      sync.Mutex // guards the fields below
	seen    []*protocol.Message
	closed  bool
	changed chan struct{} // closed and replaced when there is more
}

// NewClient returns a client on conn, the client's end of a connection, which it
// closes when the test ends.
func NewClient(tb testing.TB, conn kernel.Conn) *Client {
	tb.Helper()
	c := &Client{tb: tb, conn: conn, id: uuid.NewString(), done: make(chan struct{}), changed: make(chan struct{})}
	go c.receive()
	tb.Cleanup(c.Close)
	return c
}

// Close closes the connection and waits for all that the client started. It is
// idempotent.
func (c *Client) Close() {
	if err := c.conn.Close(); err != nil {
		c.tb.Errorf("closing the client's connection: %v", err)
	}
	<-c.done
}

func (c *Client) receive() {
	defer close(c.done)
	for {
		m, err := c.conn.Recv(context.Background())
		c.mu.Lock()
		if err != nil {
			c.closed = true
		} else {
			c.seen = append(c.seen, m)
		}
		close(c.changed)
		c.changed = make(chan struct{})
		c.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// Request sends content on ch and returns the message, without waiting for an
// answer.
func (c *Client) Request(ch protocol.Channel, content protocol.Content) *protocol.Message {
	c.tb.Helper()
	m, err := protocol.New(ch, content, nil)
	if err != nil {
		c.tb.Fatalf("making %s: %v", content.MsgType(), err)
	}
	return c.Send(m)
}

// Send sends m in the client's name and returns it. A message without an id gets
// one.
func (c *Client) Send(m *protocol.Message) *protocol.Message {
	c.tb.Helper()
	if m.Header.MsgID == "" {
		m.Header.MsgID = uuid.NewString()
	}
	m.Header.Session, m.Header.Username = c.id, "tester"
	ctx, cancel := context.WithTimeout(context.Background(), Timeout)
	defer cancel()
	if err := c.conn.Send(ctx, m); err != nil {
		c.tb.Fatalf("sending %s: %v", m.Header.MsgType, err)
	}
	return m
}

// Execute sends an execute_request for code, with stop_on_error and allow_stdin,
// and waits for its reply and idle. It returns the request and the reply.
func (c *Client) Execute(code string) (*protocol.Message, *protocol.ExecuteReply) {
	c.tb.Helper()
	m := c.Request(protocol.Shell, &protocol.ExecuteRequest{Code: code, StoreHistory: true, AllowStdin: true, StopOnError: true})
	c.Idle(m)
	var reply protocol.ExecuteReply
	c.Decode(c.Reply(m), &reply)
	return m, &reply
}

// Decode decodes the content of m into v.
func (c *Client) Decode(m *protocol.Message, v any) {
	c.tb.Helper()
	if err := json.Unmarshal(m.Content, v); err != nil {
		c.tb.Fatalf("content of %s: %v", m.Header.MsgType, err)
	}
}

// Reply waits for the reply to the request m.
func (c *Client) Reply(m *protocol.Message) *protocol.Message {
	c.tb.Helper()
	return c.WaitFor("the reply to "+m.Header.MsgType, func(r *protocol.Message) bool {
		return r.Channel == m.Channel && parentID(r) == m.Header.MsgID
	})
}

// Idle waits until the kernel is idle again after the request m.
func (c *Client) Idle(m *protocol.Message) *protocol.Message {
	c.tb.Helper()
	return c.WaitFor("idle after "+m.Header.MsgType, func(r *protocol.Message) bool {
		return parentID(r) == m.Header.MsgID && line(r) == "iopub status idle"
	})
}

// WaitFor returns the first message received, or yet to be received, that match
// accepts. what describes it in a failure.
func (c *Client) WaitFor(what string, match func(*protocol.Message) bool) *protocol.Message {
	c.tb.Helper()
	timer := time.NewTimer(Timeout)
	defer timer.Stop()
	looked := 0
	for {
		c.mu.Lock()
		seen, closed, changed := c.seen, c.closed, c.changed
		c.mu.Unlock()
		for ; looked < len(seen); looked++ {
			if match(seen[looked]) {
				return seen[looked]
			}
		}
		if closed {
			c.tb.Fatalf("the connection ended while waiting for %s; received:\n%s", what, strings.Join(c.Transcript(nil), "\n"))
		}
		select {
		case <-changed:
		case <-timer.C:
			c.tb.Fatalf("nothing after %v while waiting for %s; received:\n%s", Timeout, what, strings.Join(c.Transcript(nil), "\n"))
		}
	}
}

// Expect waits for the reply to m, if its type has one, and for idle, and then
// compares the transcript of all that m caused with want, whose lines look like
// "iopub status busy" or "shell execute_reply ok".
func (c *Client) Expect(m *protocol.Message, want ...string) {
	c.tb.Helper()
	if slices.ContainsFunc(want, func(l string) bool { return !strings.HasPrefix(l, "iopub ") && strings.Contains(l, "_reply ") }) {
		c.Reply(m)
	}
	c.Idle(m)
	if got := c.Transcript(m); !slices.Equal(got, want) {
		c.tb.Errorf("transcript of %s =\n%s\nwant\n%s", m.Header.MsgType, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// Messages returns what was received with m as parent, or all of it when m is nil.
func (c *Client) Messages(m *protocol.Message) []*protocol.Message {
	c.mu.Lock()
	defer c.mu.Unlock()
	if m == nil {
		return slices.Clone(c.seen)
	}
	var all []*protocol.Message
	for _, r := range c.seen {
		if parentID(r) == m.Header.MsgID {
			all = append(all, r)
		}
	}
	return all
}

// Transcript returns [Client.Messages] as lines.
func (c *Client) Transcript(m *protocol.Message) []string {
	var lines []string
	for _, r := range c.Messages(m) {
		lines = append(lines, line(r))
	}
	return lines
}

// line returns a message as channel, type and, if it has one, its state or status.
func line(m *protocol.Message) string {
	l := string(m.Channel) + " " + m.Header.MsgType
	var state struct {
		State  string `json:"execution_state"`
		Status string `json:"status"`
	}
	if json.Unmarshal(m.Content, &state) != nil {
		return l + " (malformed)"
	}
	switch {
	case m.Header.MsgType == "status":
		return l + " " + state.State
	case strings.HasSuffix(m.Header.MsgType, "_reply") && state.Status != "":
		return l + " " + state.Status
	}
	return l
}

func parentID(m *protocol.Message) string {
	h, err := m.ParentHeader()
	if err != nil {
		return ""
	}
	return h.MsgID
}
