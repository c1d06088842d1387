package zmq

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/gokernel/gokernel/kernel"
	"github.com/gokernel/gokernel/protocol"
)

const (
	maxTopics = 1024 // subscriptions of one peer
	maxTopic  = 1024 // bytes of a subscription

	// moment is how long a subscriber that takes nothing holds up the others.
	moment = 500 * time.Millisecond
)

var errTopics = errors.New("peer subscribes to too much")

// An xpub is the XPUB socket of iopub.
//
// A subscriber has room as long as less than the bound is queued for it. One
// without room while another has is waited for, a moment each time and the grace
// period in all, so that two that read at nearly the same speed are both served.
// Then it is left behind: what is published is still queued for it, up to twice
// the bound, but nobody waits for it; so is one whose connection has taken
// nothing for the grace period. It is back when half the bound has been read. It is cut off when it fills twice the bound, or has had no
// room for the grace period. It never misses a message and goes on.
//
// watch is its one goroutine; it ends with closing.
type xpub struct {
	log     *slog.Logger
	grace   time.Duration
	events  *events
	welcome func(topic string) ([][]byte, error)
	closing <-chan struct{}
	order   chan struct{} // holds a token while somebody publishes
	kick    chan struct{} // capacity 1: there is something to watch

	mu      sync.Mutex // taken before a peer's
	subs    map[*peer]*subscriber
	waiting int           // publishers that wait for changed
	changed chan struct{} // closed and replaced when somebody came, went or read
	room    []*subscriber // scratch of offer
	full    []*subscriber
}

// A subscriber is a peer of an xpub.
type subscriber struct {
	p      *peer
	topics map[string]struct{}
	full   time.Time     // since when it holds up others, having no room; zero: it does not
	waited time.Duration // for how long it has been waited for since half the bound
	behind time.Time     // since when it has been left behind; zero: it keeps up
}

func newXPub(cfg *config, ev *events, welcome func(string) ([][]byte, error), closing <-chan struct{}) *xpub {
	return &xpub{
		log: cfg.log.With("channel", string(protocol.IOPub)), grace: cfg.grace, events: ev, welcome: welcome, closing: closing,
		order: make(chan struct{}, 1), kick: make(chan struct{}, 1),
		subs: map[*peer]*subscriber{}, changed: make(chan struct{}),
	}
}

func (x *xpub) arrived(p *peer) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.subs[p] = &subscriber{p: p, topics: map[string]struct{}{}}
	return nil
}

func (x *xpub) gone(p *peer, _ []item) {
	x.mu.Lock()
	defer x.mu.Unlock()
	delete(x.subs, p)
	x.notify()
}

// message takes a subscription or its end, the only messages that subscribers
// send; what else comes is ignored, as libzmq does.
func (x *xpub) message(p *peer, frames [][]byte) error {
	if len(frames) != 1 || len(frames[0]) == 0 || frames[0][0] > 1 {
		return nil
	}
	topic := string(frames[0][1:])
	if frames[0][0] == 0 {
		x.mu.Lock()
		defer x.mu.Unlock()
		delete(x.subs[p].topics, topic)
		return nil
	}
	var welcome [][]byte
	if utf8.ValidString(topic) { // no other can be told in JSON
		var err error
		if welcome, err = x.welcome(topic); err != nil {
			return err
		}
	}
	return x.subscribe(p, topic, welcome)
}

func (x *xpub) subscribe(p *peer, topic string, welcome [][]byte) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	s := x.subs[p]
	if _, ok := s.topics[topic]; ok {
		return nil
	}
	if len(topic) > maxTopic || len(s.topics) == maxTopics {
		return errTopics
	}
	if welcome != nil && !p.push(newItem(welcome)) {
		return errOverflow
	}
	if s.topics[topic] = struct{}{}; len(s.topics) == 1 {
		x.events.add(kernel.Event{Channel: protocol.IOPub})
	}
	x.notify()
	return nil
}

// subscribers returns how many peers are subscribed to something.
func (x *xpub) subscribers() int {
	x.mu.Lock()
	defer x.mu.Unlock()
	n := 0
	for p, s := range x.subs {
		if len(s.topics) > 0 && !p.isDead() {
			n++
		}
	}
	return n
}

func (s *subscriber) wants(topic []byte) bool {
	if s.p.isDead() {
		return false
	}
	if _, all := s.topics[""]; all {
		return true
	}
	for t := range s.topics {
		if bytes.HasPrefix(topic, []byte(t)) {
			return true
		}
	}
	return false
}

// notify wakes the publishers that wait. x.mu is held.
func (x *xpub) notify() {
	if x.waiting > 0 {
		close(x.changed)
		x.changed = make(chan struct{})
	}
}

// send queues the message for all subscribers and waits for none.
func (x *xpub) send(frames [][]byte) {
	it := newItem(frames)
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, s := range x.subs {
		if s.wants(frames[0]) {
			x.push(s, it)
		}
	}
	x.wakeWatch()
}

// push queues it for s, or cuts s off. x.mu is held.
func (x *xpub) push(s *subscriber, it item) bool {
	if s.p.push(it) {
		return true
	}
	x.cutOff(s)
	return false
}

func (x *xpub) cutOff(s *subscriber) {
	if !s.p.isDead() {
		x.log.Warn("subscriber cut off", "reason", errOverflow)
		s.p.kill()
	}
}

// publish is Tracker.Publish.
func (x *xpub) publish(ctx context.Context, frames [][]byte, written func(int)) error {
	select {
	case x.order <- struct{}{}:
		defer func() { <-x.order }()
	case <-ctx.Done():
		return ctx.Err()
	case <-x.closing:
		return net.ErrClosed
	}
	it := newItem(frames)
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		wait, again := x.offer(it, written)
		if wait == nil {
			return nil
		}
		if err := x.await(ctx, wait, again); err != nil {
			return err
		}
	}
}

// await waits for changed, at most for the time again if that is not 0.
func (x *xpub) await(ctx context.Context, changed <-chan struct{}, again time.Duration) error {
	defer func() {
		x.mu.Lock()
		x.waiting--
		x.mu.Unlock()
	}()
	var timer <-chan time.Time
	if again > 0 {
		timer = time.After(again)
	}
	select {
	case <-changed:
		return nil
	case <-timer:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-x.closing:
		return net.ErrClosed
	}
}

// offer queues the message for the subscribers, if one has room and the others
// need not be waited for any more. Otherwise it returns a channel that is closed
// when that may have changed, and the time after which to offer again.
func (x *xpub) offer(it item, written func(int)) (changed <-chan struct{}, again time.Duration) {
	x.mu.Lock()
	again = x.split(it, time.Now())
	if len(x.room) == 0 || again > 0 {
		defer x.mu.Unlock()
		x.waiting++
		return x.changed, again
	}
	d := &delivery{open: 1, written: written} // one for the end of this function
	settled := x.leaveBehind(x.full)
	keepers := 0
	for _, s := range x.room {
		if s.behind.IsZero() {
			keepers++
		}
	}
	for _, s := range x.room {
		if keepers == 0 {
			s.behind = time.Time{} // there is nobody behind whom it could be
		}
		own := it
		if s.behind.IsZero() {
			own.d = d
			d.add()
		}
		if !x.push(s, own) && own.d != nil {
			settled = append(settled, d)
		}
	}
	for _, s := range x.full {
		x.push(s, it)
	}
	x.wakeWatch()
	x.mu.Unlock()
	settleAll(settled, false)
	d.settle(false)
	return nil, 0
}

// split sorts the subscribers that want it into x.room and x.full, and returns
// how long the latter are still to be waited for. x.mu is held.
func (x *xpub) split(it item, now time.Time) (wait time.Duration) {
	x.room, x.full = x.room[:0], x.full[:0]
	for p, s := range x.subs {
		switch {
		case !s.wants(it.frames[0]):
		case p.room(it.size):
			s.waitedFor(now)
			x.room = append(x.room, s)
		default:
			x.full = append(x.full, s)
		}
	}
	for _, s := range x.full {
		if len(x.room) == 0 {
			s.waitedFor(now) // it holds up nobody
			continue
		}
		if s.full.IsZero() {
			s.full = now
		}
		if s.behind.IsZero() {
			wait = max(wait, min(moment, x.grace-s.waited)-now.Sub(s.full))
		}
	}
	return wait
}

// waitedFor says that s does not hold up others any more.
func (s *subscriber) waitedFor(now time.Time) {
	if !s.full.IsZero() {
		s.waited += min(moment, now.Sub(s.full))
		s.full = time.Time{}
	}
}

// leaveBehind marks the subscribers and returns the deliveries that no longer
// wait for them. x.mu is held.
func (x *xpub) leaveBehind(subs []*subscriber) []*delivery {
	var ds []*delivery
	for _, s := range subs {
		if s.behind.IsZero() {
			x.log.Warn("subscriber is left behind", "reason", errOverflow)
			s.behind = time.Now()
			ds = append(ds, s.p.release()...)
		}
	}
	return ds
}

// drained is called by the writer of p.
func (x *xpub) drained(p *peer) {
	x.mu.Lock()
	defer x.mu.Unlock()
	s := x.subs[p]
	if s == nil {
		return
	}
	if !s.behind.IsZero() || s.waited > 0 {
		if queued, _ := p.load(time.Now()); queued <= p.bound/2 {
			s.behind, s.waited = time.Time{}, 0
		}
	}
	x.notify()
}
