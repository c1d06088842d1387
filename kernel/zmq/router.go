package zmq

import (
	"context"
	"fmt"
	"log/slog"
	"sync"

	"github.com/gokernel/gokernel/kernel"
	"github.com/gokernel/gokernel/protocol"
)

// inboundQueue is how many messages of one channel wait for Recv. Behind it the
// peers wait, as TCP makes them.
const inboundQueue = 64

// A router is the ROUTER socket of one channel: peers are addressed by their
// identity, and the newest connection with an identity is the one that has it.
type router struct {
	channel protocol.Channel
	codec   *codec
	log     *slog.Logger
	events  *events
	in      chan *protocol.Message
	closing <-chan struct{} // closed: what comes is thrown away

	mu      sync.Mutex
	peers   map[string]*peer
	dropped map[*peer]*drops
}

func newRouter(ch protocol.Channel, c *codec, log *slog.Logger, ev *events, closing <-chan struct{}) *router {
	return &router{
		channel: ch, codec: c, log: log.With("channel", string(ch)), events: ev, closing: closing,
		in: make(chan *protocol.Message, inboundQueue), peers: map[string]*peer{}, dropped: map[*peer]*drops{},
	}
}

func (r *router) arrived(p *peer) error {
	r.mu.Lock()
	old := r.peers[p.id]
	r.peers[p.id] = p
	r.dropped[p] = &drops{}
	r.mu.Unlock()
	if old != nil {
		old.kill()
	}
	if p.named {
		r.events.add(kernel.Event{Channel: r.channel, Identity: []byte(p.id)})
	}
	return nil
}

func (r *router) drained(*peer) {}

func (r *router) gone(p *peer, _ []item) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.peers[p.id] == p {
		delete(r.peers, p.id)
	}
	delete(r.dropped, p)
}

func (r *router) message(p *peer, frames [][]byte) error {
	addressed := make([][]byte, 0, 1+len(frames))
	addressed = append(append(addressed, []byte(p.id)), frames...)
	m, err := r.codec.decode(addressed, r.channel)
	if err != nil {
		r.mu.Lock()
		d := r.dropped[p]
		r.mu.Unlock()
		d.log(r.log, err)
		return nil
	}
	select {
	case r.in <- m:
	case <-r.closing:
	case <-p.dead:
	}
	return nil
}

// send queues m for the peer that it is addressed to.
func (r *router) send(ctx context.Context, m *protocol.Message) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	frames, err := r.codec.encode(m)
	if err != nil {
		return err
	}
	if len(m.Identities) == 0 {
		return fmt.Errorf("send %s on %s: no return address: %w", m.Header.MsgType, r.channel, kernel.ErrNoPeer)
	}
	r.mu.Lock()
	p := r.peers[string(m.Identities[0])]
	r.mu.Unlock()
	if p == nil || p.isDead() {
		return fmt.Errorf("send %s on %s: %w", m.Header.MsgType, r.channel, kernel.ErrNoPeer)
	}
	if !p.push(newItem(frames[1:])) {
		if !p.isDead() {
			r.log.Warn("peer cut off", "reason", errOverflow)
			p.kill()
		}
		return fmt.Errorf("send %s on %s: %w", m.Header.MsgType, r.channel, kernel.ErrNoPeer)
	}
	return nil
}

// An echo is the heartbeat: it sends back what comes, whatever it is.
type echo struct{}

func (echo) arrived(*peer) error { return nil }
func (echo) drained(*peer)       {}
func (echo) gone(*peer, []item)  {}
func (echo) message(p *peer, frames [][]byte) error {
	if !p.push(newItem(frames)) {
		return errOverflow
	}
	return nil
}
