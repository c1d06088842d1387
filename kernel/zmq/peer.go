package zmq

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/go-zeromq/zmq4"
	"github.com/go-zeromq/zmq4/security/null"
)

var (
	errOverflow = errors.New("peer does not read what is sent to it")
	errPings    = errors.New("peer sends pings and does not read the answers")
	errPeer     = errors.New("peer reported an error")
)

const (
	itemOverhead = 256     // bytes that a queued message counts for besides its frames
	batchBytes   = 1 << 20 // a batch ends with the message that reaches this
	batchItems   = 512
	maxPongs     = 64
)

// A handler is what a socket does with its peers. The goroutine that reads from
// a peer calls, in this order, arrived, message any number of times, and gone. An
// error ends the connection. The goroutine that writes calls drained, without
// locks held, when queued bytes have been written, perhaps before arrived. What no
// attempt was made to write goes to gone.
type handler interface {
	arrived(p *peer) error
	message(p *peer, frames [][]byte) error
	drained(p *peer)
	gone(p *peer, unsent []item)
}

// A delivery follows one message to the sockets of several peers.
type delivery struct {
	mu      sync.Mutex
	open    int // peers that it is still to reach
	reached int
	written func(n int)
}

// add makes d wait for one more peer.
func (d *delivery) add() {
	d.mu.Lock()
	d.open++
	d.mu.Unlock()
}

// settle says that one of the peers has been reached, or will not be.
func (d *delivery) settle(reached bool) {
	d.mu.Lock()
	d.open--
	if reached {
		d.reached++
	}
	last, n := d.open == 0, d.reached
	d.mu.Unlock()
	if last && d.written != nil {
		d.written(n)
	}
}

// An item is one message in the queue of a peer.
type item struct {
	frames [][]byte // shared with other queues
	size   int64
	d      *delivery // nil: nobody asks
}

func newItem(frames [][]byte) item {
	it := item{frames: frames, size: itemOverhead}
	for _, f := range frames {
		it.size += int64(len(f))
	}
	return it
}

// A peer is one connection after its handshake. serve is its reading goroutine;
// it starts the one that writes, and ends when that has ended.
type peer struct {
	id    string // its identity, or a generated one, which begins with a 0 byte
	named bool   // the identity is its own
	w     *wire
	zc    *zmq4.Conn
	bound int64 // bytes of queue above which there is no room

	wake chan struct{} // capacity 1: there is something for the writer
	dead chan struct{} // closed: the connection is to end
	once sync.Once

	mu       sync.Mutex
	queue    []item
	writing  []item // the writer's current batch
	queued   int64  // bytes of both
	pongs    [][]byte
	closing  bool // the writer is to end when the queue is empty
	finished bool // nothing can be queued any more
}

// open makes the handshake over c, which it closes if that fails.
func open(c net.Conn, cfg *config, b *budget, typ zmq4.SocketType, identity string, server bool) (p *peer, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: handshake: %v", errProtocol, r) // zmq4 trusts what READY claims
		}
		if err != nil {
			p, err = nil, errors.Join(err, ignoreClosed(c.Close()))
		}
	}()
	if t, ok := c.(*net.TCPConn); ok {
		if err := t.SetNoDelay(true); err != nil {
			return nil, err
		}
	}
	if err := c.SetDeadline(time.Now().Add(cfg.handshake)); err != nil {
		return nil, err
	}
	stall := cfg.stall
	if typ == zmq4.XPub {
		stall = 0
	}
	w := newWire(c, cfg.maxMessage, b, stall)
	zc, err := zmq4.Open(w, null.Security(), typ, zmq4.SocketIdentity(identity), server, nil)
	if err != nil {
		return nil, err
	}
	if err := c.SetDeadline(time.Time{}); err != nil {
		return nil, err
	}
	w.open = true
	p = &peer{
		id: zc.Peer.Meta["Identity"], w: w, zc: zc, bound: cfg.queueBytes,
		wake: make(chan struct{}, 1), dead: make(chan struct{}),
	}
	if p.named = p.id != "" && p.id[0] != 0 && len(p.id) <= 255; !p.named {
		p.id = "\x00" + rand.Text()
	}
	return p, nil
}

// serve reads from p until the connection ends, and returns why: nil if the peer
// closed it or kill was called.
func (p *peer) serve(h handler) error {
	var writer sync.WaitGroup
	writer.Go(func() { p.write(h) })
	err := h.arrived(p)
	for err == nil {
		var frames [][]byte
		frames, err = p.w.readMessage(func(name string, arg []byte) error { return p.command(h, name, arg) })
		if err == nil {
			err = h.message(p, frames)
		}
	}
	killed := p.isDead()
	p.kill()
	writer.Wait()
	p.mu.Lock()
	p.finished = true
	unsent := p.queue
	left := settled(unsent, nil)
	p.queue, p.queued = nil, 0
	p.mu.Unlock()
	h.gone(p, unsent)
	settleAll(left, false)
	if killed || err == io.EOF {
		return nil
	}
	return err
}

// command answers a command of the transport. The subscriptions of ZMTP 3.1
// become messages of the form that they have in 3.0.
func (p *peer) command(h handler, name string, arg []byte) error {
	switch name {
	case "PING": // two bytes of time to live, then up to 16 of context
		if len(arg) < 2 {
			return fmt.Errorf("%w: short PING", errProtocol)
		}
		return p.pong(arg[2:min(len(arg), 18)])
	case "SUBSCRIBE":
		return h.message(p, [][]byte{append([]byte{1}, arg...)})
	case "CANCEL":
		return h.message(p, [][]byte{append([]byte{0}, arg...)})
	case "ERROR":
		return errPeer
	}
	return nil
}

func (p *peer) pong(context []byte) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.pongs) == maxPongs {
		return errPings
	}
	p.pongs = append(p.pongs, append([]byte(nil), context...))
	p.signal()
	return nil
}

// room reports whether a message of size bytes may be queued by one who can
// wait. An empty queue has room for any.
func (p *peer) room(size int64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.queued == 0 || p.queued+size <= p.bound
}

// push queues it if there is room, in twice the bound, for who cannot wait. It
// reports whether it did; false also means that the peer is gone.
func (p *peer) push(it item) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.finished || p.isDead() || (p.queued > p.bound && p.queued+it.size > 2*p.bound) {
		return false
	}
	if p.queued == 0 {
		p.w.progress.Store(time.Now().UnixNano()) // the peer cannot have been late before
	}
	p.queue = append(p.queue, it)
	p.queued += it.size
	p.signal()
	return true
}

// preload queues items whatever the bound: they were accepted before.
func (p *peer) preload(items []item) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, it := range items {
		p.queued += it.size
	}
	p.queue = append(p.queue, items...)
	p.signal()
}

// signal wakes the writer.
func (p *peer) signal() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// load returns how many bytes are queued and for how long none have been taken
// by the peer: 0 if none are queued.
func (p *peer) load(now time.Time) (queued int64, stalled time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.queued == 0 {
		return 0, 0
	}
	return p.queued, now.Sub(time.Unix(0, p.w.progress.Load()))
}

// release returns the deliveries of what is queued, which no longer wait for p.
func (p *peer) release() []*delivery {
	p.mu.Lock()
	defer p.mu.Unlock()
	return settled(p.writing, settled(p.queue, nil))
}

// settled takes the deliveries from items and appends them to to.
func settled(items []item, to []*delivery) []*delivery {
	for i := range items {
		if items[i].d != nil {
			to = append(to, items[i].d)
			items[i].d = nil
		}
	}
	return to
}

func settleAll(ds []*delivery, reached bool) {
	for _, d := range ds {
		d.settle(reached)
	}
}

func (p *peer) isDead() bool {
	select {
	case <-p.dead:
		return true
	default:
		return false
	}
}

// kill ends the connection now.
func (p *peer) kill() {
	p.once.Do(func() {
		close(p.dead)
		// The error of a close has nobody to go to: what was not written is
		// settled as not delivered.
		_ = p.w.Conn.Close()
	})
}

// finish lets the writer send what is queued and then say that nothing more
// comes. The reader goes on until the peer closes its side: closing with
// unread bytes would reset the connection and lose what is still on its way.
func (p *peer) finish() {
	p.mu.Lock()
	p.closing = true
	p.signal()
	p.mu.Unlock()
}

// misbehaved reports whether err is what a peer did wrong, and not one of the
// ways in which connections end.
func misbehaved(err error) bool {
	for _, e := range []error{errTooBig, errProtocol, errOverflow, errPings, errPeer, errTopics} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}
