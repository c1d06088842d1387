package zmq

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/go-zeromq/zmq4"

	"github.com/gokernel/gokernel/protocol"
)

const (
	firstRedial = 20 * time.Millisecond
	lastRedial  = 2 * time.Second
	steady      = time.Second // a connection that lasted as long was a good one
)

var errNotConnected = errors.New("not connected yet")

// A link is the client's end of one channel: a DEALER, or a SUB that subscribes
// to everything. Its goroutine, run, keeps it connected until it is closed. What
// is sent while it is not connected waits; what was being written when a
// connection broke may or may not have arrived, and is not sent again.
type link struct {
	channel  protocol.Channel
	typ      zmq4.SocketType
	identity string
	network  string
	addr     string
	cfg      *config
	codec    *codec
	log      *slog.Logger
	budget   budget
	in       chan *protocol.Message
	closing  <-chan struct{}
	filter   func(*protocol.Message) bool // reports whether a message is for others
	dropped  drops

	ctx    context.Context // of run; ends when it must
	cancel context.CancelFunc

	mu      sync.Mutex
	peer    *peer // nil: not connected
	pending []item
	bytes   int64 // of pending
	closed  bool
	err     error // why it is not connected
}

func (c *Client) newLink(ch protocol.Channel, typ zmq4.SocketType, port protocol.Port) (*link, error) {
	network, addr, err := address(&c.info, port)
	if err != nil {
		return nil, err
	}
	l := &link{
		channel: ch, typ: typ, network: network, addr: addr, cfg: &c.cfg, codec: c.codec,
		log: c.cfg.log.With("channel", string(ch)), budget: budget{max: 2 * c.cfg.maxMessage},
		in: make(chan *protocol.Message, inboundQueue), closing: c.closing, filter: c.filter, err: errNotConnected,
	}
	if typ == zmq4.Dealer {
		l.identity = c.identity
	}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	return l, nil
}

// run connects, again and again, until the link is closed and has nothing left
// to send, or its context ends.
func (l *link) run() {
	defer l.cancel()
	for wait := firstRedial; ; wait = min(2*wait, lastRedial) {
		start := time.Now()
		err := l.connect()
		l.mu.Lock()
		l.err = err
		done := l.closed && len(l.pending) == 0
		l.mu.Unlock()
		if done || l.ctx.Err() != nil {
			return
		}
		l.log.Debug("connection ended", "error", err)
		if time.Since(start) > steady {
			wait = firstRedial
		}
		select {
		case <-time.After(wait):
		case <-l.ctx.Done():
			return
		}
	}
}

// connect makes one connection and serves it to its end.
func (l *link) connect() error {
	p, err := dialPeer(l.ctx, l.network, l.addr, l.cfg, &l.budget, l.typ, l.identity)
	if err != nil {
		return err
	}
	defer context.AfterFunc(l.ctx, p.kill)()
	return p.serve(l)
}

// dialPeer connects to addr and makes the handshake.
func dialPeer(ctx context.Context, network, addr string, cfg *config, b *budget, typ zmq4.SocketType, identity string) (*peer, error) {
	d := net.Dialer{Timeout: cfg.handshake}
	c, err := d.DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	defer context.AfterFunc(ctx, func() {
		_ = c.SetDeadline(time.Unix(1, 0)) // fails only if c is closed already
	})()
	p, err := open(c, cfg, b, typ, identity, false)
	if ctx.Err() != nil {
		if p != nil {
			p.kill()
		}
		return nil, ctx.Err()
	}
	return p, err
}

func (l *link) arrived(p *peer) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.typ == zmq4.Sub {
		l.pending = []item{newItem([][]byte{{1}})}
	}
	p.preload(l.pending)
	l.peer, l.pending, l.bytes, l.err = p, nil, 0, nil
	if l.closed {
		p.finish()
	}
	return nil
}

func (l *link) message(_ *peer, frames [][]byte) error {
	m, err := l.codec.decode(frames, l.channel)
	if err != nil {
		l.dropped.log(l.log, err)
		return nil
	}
	if !l.filter(m) {
		return nil
	}
	select {
	case l.in <- m:
	case <-l.closing:
	case <-l.ctx.Done():
	}
	return nil
}

func (l *link) drained(*peer) {}

func (l *link) gone(p *peer, unsent []item) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.peer != p {
		return // it had not arrived: what is pending is still there
	}
	l.peer = nil
	if l.typ == zmq4.Sub {
		return
	}
	for _, it := range unsent {
		l.bytes += it.size
	}
	l.pending = append(unsent, l.pending...)
}

// send queues the message, for this connection or the next one.
func (l *link) send(frames [][]byte) error {
	it := newItem(frames)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return net.ErrClosed
	}
	if l.peer != nil {
		if l.peer.push(it) {
			return nil
		}
		if !l.peer.isDead() {
			return errOverflow
		}
	}
	if len(l.pending) > 0 && l.bytes+it.size > l.cfg.queueBytes {
		return errOverflow
	}
	l.pending = append(l.pending, it)
	l.bytes += it.size
	return nil
}

// state returns nil if the link is connected, else why it is not.
func (l *link) state() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

// shut lets run send what is queued and end.
func (l *link) shut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	switch {
	case l.peer != nil:
		l.peer.finish()
	case len(l.pending) == 0:
		l.cancel()
	}
}
