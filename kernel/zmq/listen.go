package zmq

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/go-zeromq/zmq4"

	"github.com/gokernel/gokernel/kernel"
	"github.com/gokernel/gokernel/protocol"
)

// eventQueue is how many arrivals wait for who reads Events.
const eventQueue = 64

// A Conn is the kernel's end of a connection: the five sockets that clients
// connect to. It implements kernel.Tracker; all methods are safe for concurrent
// use.
//
// It starts, for each socket, a goroutine that accepts connections, two for each
// connection, and one that watches over slow subscribers. Close ends them and
// waits for them.
type Conn struct {
	info   protocol.ConnectionInfo
	cfg    config
	codec  *codec
	events *events
	iopub  *xpub

	shell, control, stdin *router

	acceptors []*acceptor
	wg        sync.WaitGroup
	closing   chan struct{} // closed when Close begins
	closeOnce sync.Once
	closeErr  error
}

var _ kernel.Tracker = (*Conn)(nil)

// Listen opens the kernel's end at the addresses of info; nil opts means all
// defaults. A port that is 0 becomes a free one, see [Conn.Info]. For tcp an IP
// of * stands for all addresses. For ipc the sockets are files named IP-port,
// for their owner only; a file that a dead process left is replaced, and Close
// removes them. Listen keeps a copy of info.
//
// If one address cannot be had, none is kept, and the error names it.
func Listen(info *protocol.ConnectionInfo, opts *Options) (*Conn, error) {
	if info == nil {
		return nil, errors.New("listen: no connection info")
	}
	c := &Conn{info: *info, cfg: opts.config(), events: newEvents(eventQueue), closing: make(chan struct{})}
	var err error
	if c.codec, err = newCodec(info); err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	c.shell = newRouter(protocol.Shell, c.codec, c.cfg.log, c.events, c.closing)
	c.control = newRouter(protocol.Control, c.codec, c.cfg.log, c.events, c.closing)
	c.stdin = newRouter(protocol.Stdin, c.codec, c.cfg.log, c.events, c.closing)
	c.iopub = newXPub(&c.cfg, c.events, c.welcome, c.closing)
	if err := c.listen(); err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	c.wg.Go(c.iopub.watch)
	return c, nil
}

// listen binds all sockets, and only then lets anybody in.
func (c *Conn) listen() error {
	sockets := []struct {
		name    string
		port    *protocol.Port
		typ     zmq4.SocketType
		handler handler
	}{
		{"shell", &c.info.ShellPort, zmq4.Router, c.shell},
		{"control", &c.info.ControlPort, zmq4.Router, c.control},
		{"stdin", &c.info.StdinPort, zmq4.Router, c.stdin},
		{"iopub", &c.info.IOPubPort, zmq4.XPub, c.iopub},
		{"hb", &c.info.HBPort, zmq4.Router, echo{}},
	}
	listeners := make([]net.Listener, len(sockets))
	for _, given := range []bool{true, false} { // a free port must not be one that is given
		for i, s := range sockets {
			if (*s.port != 0) != given || listeners[i] != nil {
				continue
			}
			l, err := bind(&c.info, s.port)
			if err != nil {
				err = fmt.Errorf("%s socket at %s: %w", s.name, c.info.Endpoint(*s.port), err)
				return errors.Join(err, closeAll(listeners))
			}
			listeners[i] = l
		}
	}
	for i, s := range sockets {
		c.acceptors = append(c.acceptors, newAcceptor(&c.cfg, s.name, s.typ, s.handler, listeners[i]))
	}
	return nil
}

func closeAll(ls []net.Listener) error {
	var errs []error
	for _, l := range ls {
		if l != nil {
			errs = append(errs, l.Close())
		}
	}
	return errors.Join(errs...)
}

// Info returns where c listens, with the real ports, in a copy.
func (c *Conn) Info() *protocol.ConnectionInfo {
	info := c.info
	return &info
}

// welcome returns the message that greets a new subscriber to topic (JEP 65).
func (c *Conn) welcome(topic string) ([][]byte, error) {
	m, err := protocol.New(protocol.IOPub, &protocol.IOPubWelcome{Subscription: topic}, nil)
	if err != nil {
		return nil, err
	}
	m.Header.Session, m.Header.Username = c.cfg.session, c.cfg.username
	m.Identities = [][]byte{[]byte(topic)}
	return c.codec.encode(m)
}

// Recv implements kernel.Conn. Messages on control come before all others,
// those of one channel in their order. Return addresses are in
// Message.Identities.
func (c *Conn) Recv(ctx context.Context) (*protocol.Message, error) {
	if c.isClosing() {
		return nil, io.EOF
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	select {
	case m := <-c.control.in:
		return m, nil
	default:
	}
	select {
	case m := <-c.control.in:
		return m, nil
	case m := <-c.shell.in:
		return m, nil
	case m := <-c.stdin.in:
		return m, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-c.closing:
		return nil, io.EOF
	}
}

// Send implements kernel.Conn. A peer that does not read, so that twice
// Options.QueueBytes are queued for it, is cut off; nobody else notices. On
// shell, control and stdin Send then returns kernel.ErrNoPeer. After Close it
// returns net.ErrClosed.
func (c *Conn) Send(ctx context.Context, m *protocol.Message) error {
	if c.isClosing() {
		return fmt.Errorf("send: %w", net.ErrClosed)
	}
	if m == nil {
		return errNoMessage
	}
	switch m.Channel {
	case protocol.Shell:
		return c.shell.send(ctx, m)
	case protocol.Control:
		return c.control.send(ctx, m)
	case protocol.Stdin:
		return c.stdin.send(ctx, m)
	case protocol.IOPub:
		frames, err := c.codec.encode(m)
		if err != nil {
			return err
		}
		c.iopub.send(frames)
		return nil
	}
	return fmt.Errorf("send %s: %w %q", m.Header.MsgType, protocol.ErrChannel, m.Channel)
}

// Publish implements kernel.Tracker. A subscriber has room while less than
// Options.QueueBytes are queued for it. One that is left behind still gets all
// messages, but is not among the n of written, until it has caught up or, after
// Options.Grace, is cut off. written must not wait for anything: it is called
// by a goroutine that writes to a peer. m.Channel must be iopub.
func (c *Conn) Publish(ctx context.Context, m *protocol.Message, written func(n int)) error {
	if c.isClosing() {
		return fmt.Errorf("publish: %w", net.ErrClosed)
	}
	frames, err := c.codec.encode(m)
	if err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	if m.Channel != protocol.IOPub {
		return fmt.Errorf("publish %s: on channel %q, not iopub", m.Header.MsgType, m.Channel)
	}
	if err := c.iopub.publish(ctx, frames, written); err != nil {
		return fmt.Errorf("publish %s: %w", m.Header.MsgType, err)
	}
	return nil
}

// Events implements kernel.Tracker. The channel is never closed. An event on
// iopub says that a peer has made its first subscription; on the other channels
// only peers that chose an identity are told.
func (c *Conn) Events() <-chan kernel.Event { return c.events.ch }

// Subscribers implements kernel.Tracker.
func (c *Conn) Subscribers() int { return c.iopub.subscribers() }

func (c *Conn) isClosing() bool {
	select {
	case <-c.closing:
		return true
	default:
		return false
	}
}

// Close implements kernel.Conn. It lets nobody in any more, sends what is
// queued, and waits, no longer than Options.Linger, until the peers have
// closed their ends. A Publish that waits returns net.ErrClosed.
func (c *Conn) Close() error {
	c.closeOnce.Do(func() {
		close(c.closing)
		var errs []error
		for _, a := range c.acceptors {
			errs = append(errs, a.shut())
		}
		deadline := make(chan struct{})
		t := time.AfterFunc(c.cfg.linger, func() { close(deadline) })
		for _, a := range c.acceptors {
			a.wait(deadline)
		}
		t.Stop()
		c.wg.Wait()
		c.closeErr = errors.Join(errs...)
	})
	return c.closeErr
}
