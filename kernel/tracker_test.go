package kernel_test

import (
	"context"
	"fmt"
	"io"
	"sync"
	"testing"

	"github.com/google/uuid"

	"github.com/gokernel/gokernel/kernel"
	"github.com/gokernel/gokernel/protocol"
)

// A tracker is a kernel.Tracker whose peers are the test: they come, go, and
// read when it says so.
type tracker struct {
	in     chan *protocol.Message
	events chan kernel.Event

	mu          sync.Mutex // guards the fields below
	changed     chan struct{}
	subscribers int
	manual      bool // written is called by the test only
	absent      map[string]bool
	iopub       []*protocol.Message // by Publish
	live        []*protocol.Message // by Send, on iopub
	replies     []*protocol.Message
	unwritten   []func(int)
	publishErr  error // of the next Publish
}

func newTracker() *tracker {
	return &tracker{
		in: make(chan *protocol.Message, 64), events: make(chan kernel.Event, 64),
		changed: make(chan struct{}), absent: map[string]bool{},
	}
}

var _ kernel.Tracker = (*tracker)(nil)

// do changes the tracker's state.
func (tr *tracker) do(f func()) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	f()
	close(tr.changed)
	tr.changed = make(chan struct{})
}

// subscribe sets how many subscribers there are and tells when one came.
func (tr *tracker) subscribe(n int) {
	came := false
	tr.do(func() { came, tr.subscribers = n > tr.subscribers, n })
	if came {
		tr.events <- kernel.Event{Channel: protocol.IOPub}
	}
}

// arrive makes the peer with this identity be there on all channels.
func (tr *tracker) arrive(identity string) {
	tr.do(func() { delete(tr.absent, identity) })
	for _, ch := range []protocol.Channel{protocol.Shell, protocol.Control, protocol.Stdin} {
		tr.events <- kernel.Event{Channel: ch, Identity: []byte(identity)}
	}
}

func (tr *tracker) leave(identity string) { tr.do(func() { tr.absent[identity] = true }) }

// write says for all that is published and not written that n have got it.
func (tr *tracker) write(n int) {
	var all []func(int)
	tr.do(func() { all, tr.unwritten = tr.unwritten, nil })
	for _, written := range all {
		written(n)
	}
}

// request makes a client send a message.
func (tr *tracker) request(t *testing.T, ch protocol.Channel, c protocol.Content, identity string, parent string) *protocol.Message {
	t.Helper()
	m, err := protocol.New(ch, c, nil)
	if err != nil {
		t.Fatal(err)
	}
	m.Header.MsgID, m.Identities = uuid.NewString(), [][]byte{[]byte(identity)}
	if parent != "" {
		m.Parent = fmt.Appendf(nil, `{"msg_id":%q}`, parent)
	}
	tr.in <- m
	return m
}

// types returns the types of the messages in list, which is one of the fields.
func (tr *tracker) types(list *[]*protocol.Message) []string {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	var types []string
	for _, m := range *list {
		types = append(types, m.Header.MsgType)
	}
	return types
}

func (tr *tracker) last(list *[]*protocol.Message) *protocol.Message {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	if len(*list) == 0 {
		return &protocol.Message{}
	}
	return (*list)[len(*list)-1]
}

func (tr *tracker) Recv(ctx context.Context) (*protocol.Message, error) {
	select {
	case m, ok := <-tr.in:
		if !ok {
			return nil, io.EOF
		}
		return m, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (tr *tracker) Send(ctx context.Context, m *protocol.Message) error {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	switch {
	case m.Channel == protocol.IOPub:
		tr.live = append(tr.live, m)
	case len(m.Identities) == 0 || tr.absent[string(m.Identities[0])]:
		return kernel.ErrNoPeer
	default:
		tr.replies = append(tr.replies, m)
	}
	return ctx.Err()
}

func (tr *tracker) Publish(ctx context.Context, m *protocol.Message, written func(int)) error {
	for {
		tr.mu.Lock()
		changed := tr.changed
		if err := tr.publishErr; err != nil {
			tr.publishErr = nil
			tr.mu.Unlock()
			return err
		}
		if tr.subscribers > 0 {
			tr.iopub = append(tr.iopub, m)
			manual := tr.manual
			if manual {
				tr.unwritten = append(tr.unwritten, written)
			}
			tr.mu.Unlock()
			if !manual {
				written(1)
			}
			return nil
		}
		tr.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (tr *tracker) Events() <-chan kernel.Event { return tr.events }

func (tr *tracker) Subscribers() int {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return tr.subscribers
}

func (tr *tracker) Close() error { return nil }
