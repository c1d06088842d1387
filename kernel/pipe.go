package kernel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/gokernel/gokernel/protocol"
)

// Bounds of what a pipe holds in each direction.
const (
	pipeBytes    = 8 << 20 // of outputs and requests; one message always fits
	pipeMessages = 1024    // that a Send of the client or a Publish adds to
	pipeAtMost   = 65_536  // messages that Sends of the kernel add to
)

// errCutOff is why a pipe broke.
var errCutOff = errors.New("the client does not read")

// Pipe returns the two ends of a connection in memory. The client is subscribed
// to iopub from the start. The kernel's end is a [Tracker]: a message counts as
// written when the client has received it.
//
// A client that does not read makes the kernel's outputs wait, which wait in
// Publish, but nothing else: replies and what Send puts on iopub find room, until
// 65,536 messages are unread; then the client is cut off, as if it had closed. A
// kernel that does not read makes the client's Send wait.
//
// After Close on one end the other still receives what was sent before, and
// then io.EOF; what it sends returns io.ErrClosedPipe. A pipe starts no
// goroutines.
func Pipe() (client, kernel Conn) {
	p := &pipe{changed: make(chan struct{})}
	return &clientEnd{p}, &kernelEnd{p: p, events: make(chan Event)}
}

// A pipe is what both ends share.
type pipe struct {
	mu           sync.Mutex    // guards the fields below
	changed      chan struct{} // closed and replaced at every change that somebody may wait for
	toClient     line
	toKernel     line
	clientClosed bool
	kernelClosed bool
}

// A line holds what goes in one direction.
type line struct {
	items   []pipeItem
	bytes   int
	waiters int // on the pipe's changed, for this line
}

type pipeItem struct {
	m       *protocol.Message
	written func(n int) // nil: nobody asks
}

// notify wakes all that wait. p.mu is held.
func (p *pipe) notify() {
	if p.toClient.waiters+p.toKernel.waiters > 0 {
		close(p.changed)
		p.changed = make(chan struct{})
	}
}

// wait waits for a change of l, with p.mu held, which it gives up meanwhile.
func (p *pipe) wait(ctx context.Context, l *line) error {
	changed := p.changed
	l.waiters++
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		l.waiters--
	}()
	select {
	case <-changed:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (l *line) full(m *protocol.Message) bool {
	return len(l.items) > 0 && (len(l.items) >= pipeMessages || l.bytes+size(m) > pipeBytes)
}

// put appends m to l. p.mu is held.
func (p *pipe) put(l *line, m *protocol.Message, written func(int)) {
	l.items = append(l.items, pipeItem{m, written})
	l.bytes += size(m)
	p.notify()
}

// recv takes the first message of l. mine and theirs are the closed flags of the
// two ends.
func (p *pipe) recv(ctx context.Context, l *line, mine, theirs *bool) (*protocol.Message, error) {
	p.mu.Lock()
	for {
		if *mine || len(l.items) == 0 && *theirs {
			p.mu.Unlock()
			return nil, io.EOF
		}
		if len(l.items) > 0 {
			break
		}
		if err := p.wait(ctx, l); err != nil {
			p.mu.Unlock()
			return nil, err
		}
	}
	it := l.items[0]
	l.items[0] = pipeItem{}
	l.items = l.items[1:]
	l.bytes -= size(it.m)
	p.notify()
	p.mu.Unlock()
	if it.written != nil {
		it.written(1)
	}
	return it.m, nil
}

// sendWaiting appends m to l when it has room.
func (p *pipe) sendWaiting(ctx context.Context, l *line, m *protocol.Message, written func(int)) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		if p.clientClosed || p.kernelClosed {
			return io.ErrClosedPipe
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if !l.full(m) {
			p.put(l, m, written)
			return nil
		}
		if err := p.wait(ctx, l); err != nil {
			return err
		}
	}
}

// closeClient closes the client's end and tells who asked that what it has not
// received was written to nobody.
func (p *pipe) closeClient() {
	p.mu.Lock()
	unread := p.toClient.items
	p.toClient.items, p.toClient.bytes = nil, 0
	p.clientClosed = true
	p.notify()
	p.mu.Unlock()
	for _, it := range unread {
		if it.written != nil {
			it.written(0)
		}
	}
}

// A clientEnd is the client's end of a pipe.
type clientEnd struct{ p *pipe }

func (c *clientEnd) Recv(ctx context.Context) (*protocol.Message, error) {
	return c.p.recv(ctx, &c.p.toClient, &c.p.clientClosed, &c.p.kernelClosed)
}

func (c *clientEnd) Send(ctx context.Context, m *protocol.Message) error {
	if err := c.p.sendWaiting(ctx, &c.p.toKernel, m, nil); err != nil {
		return fmt.Errorf("sending %s to the kernel: %w", m.Header.MsgType, err)
	}
	return nil
}

func (c *clientEnd) Close() error {
	c.p.closeClient()
	return nil
}

// A kernelEnd is the kernel's end of a pipe.
type kernelEnd struct {
	p      *pipe
	events chan Event // nothing ever comes: the client is there from the start
}

var _ Tracker = (*kernelEnd)(nil)

func (k *kernelEnd) Recv(ctx context.Context) (*protocol.Message, error) {
	return k.p.recv(ctx, &k.p.toKernel, &k.p.kernelClosed, &k.p.clientClosed)
}

func (k *kernelEnd) Send(ctx context.Context, m *protocol.Message) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	p := k.p
	p.mu.Lock()
	if p.clientClosed || p.kernelClosed {
		p.mu.Unlock()
		return fmt.Errorf("sending %s to the client: %w", m.Header.MsgType, io.ErrClosedPipe)
	}
	if len(p.toClient.items) < pipeAtMost {
		p.put(&p.toClient, m, nil)
		p.mu.Unlock()
		return nil
	}
	p.mu.Unlock()
	p.closeClient()
	return fmt.Errorf("sending %s to the client: %w: %w", m.Header.MsgType, io.ErrClosedPipe, errCutOff)
}

func (k *kernelEnd) Publish(ctx context.Context, m *protocol.Message, written func(n int)) error {
	if err := k.p.sendWaiting(ctx, &k.p.toClient, m, written); err != nil {
		return fmt.Errorf("publishing %s: %w", m.Header.MsgType, err)
	}
	return nil
}

func (k *kernelEnd) Events() <-chan Event { return k.events }

func (k *kernelEnd) Subscribers() int {
	k.p.mu.Lock()
	defer k.p.mu.Unlock()
	if k.p.clientClosed || k.p.kernelClosed {
		return 0
	}
	return 1
}

func (k *kernelEnd) Close() error {
	k.p.mu.Lock()
	defer k.p.mu.Unlock()
	k.p.kernelClosed = true
	k.p.notify()
	return nil
}
