package kernel

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/gokernel/gokernel/protocol"
	"github.com/gokernel/gokernel/session/wire"
)

// Bounds of what a kernel holds for its clients. Past the first two it takes no
// frames from the session, which keeps them in its journal; past the next the
// oldest frame that waits for an absent client is given up and logged.
const (
	maxItems     = 16_384
	maxItemBytes = 64 << 20 // one frame always fits
	maxHeld      = 4096
	maxHeldBytes = 64 << 20
	// maxInFlight bounds what has been published and is not known to be written.
	maxInFlight = 16 << 20
)

const (
	// patience is how long one call of Tracker.Publish may wait until it is
	// looked whether anybody is left who subscribes.
	patience = time.Second
	// A frame that cannot be sent for another reason than that nobody is there
	// is tried again after retryAfter, and given up after maxTries.
	retryAfter = 100 * time.Millisecond
	maxTries   = 5
	// drainLimit is how long the last frames of a session may take.
	drainLimit = time.Second
	// ackEvery is how often the session is told what was delivered while there
	// is always more.
	ackEvery = 20 * time.Millisecond
)

// A state is what has become of an item.
type state uint8

const (
	waiting   state = iota // to be sent
	sending                // with the Conn, which has not said that it is written
	delivered              // sent, or moved to those held
)

// An item is a frame on its way to clients.
type item struct {
	frame   *wire.Frame
	state   state
	again   bool // it has been sent before: it needs another date
	tries   int
	offered bool // held: a prompt that was sent and is not answered
	due     bool // held: its address may be back
}

// A delivery brings frames to clients in order and tells the session what has
// arrived. Its methods may be called from any goroutine; run is the only one that
// sends.
//
// Frames on iopub go by Tracker.Publish when the Conn is a Tracker and count as
// delivered when they are written to somebody; otherwise, and on other channels,
// when they are sent. A reply or prompt whose address is away is held until it is
// back, and holds nothing else up. While nobody subscribes to iopub, replies and
// prompts overtake what waits there. A session's first "starting" counts as
// delivered when it comes before the gate has been open.
type delivery struct {
	conn    Conn
	tracker Tracker // nil: the Conn is none
	sess    Session
	session string // its id
	log     *slog.Logger
	front   *serving
	events  <-chan Event // only run takes them; nil when there are none

	wake chan struct{} // holds a token when run may have something to do
	room chan struct{} // holds a token when add may have room

	mu         sync.Mutex // guards the fields below
	items      []*item    // in order; none before it is undelivered
	next       int        // no item before it waits
	bytes      int        // of items
	inFlight   int        // bytes of items in state sending
	held       []*item    // in order of arrival
	heldBytes  int
	upto       wire.Cursor // all up to here are delivered or held
	changed    bool        // the session has not been told of upto or held
	published  wire.Cursor // the last frame that was handed to the Conn or held
	lastStatus wire.Cursor // the last status that was delivered
	gate       gate
	retry      time.Time // nothing is sent before
	prompted   bool      // there has been a prompt
	over       bool      // run has ended
}

func newDelivery(conn Conn, sess Session, front *serving) *delivery {
	d := &delivery{
		conn: conn, sess: sess, session: sess.ID(), log: front.log, front: front,
		wake: make(chan struct{}, 1), room: make(chan struct{}, 1),
	}
	if t, ok := conn.(Tracker); ok {
		d.tracker, d.events = t, t.Events()
		if t.Subscribers() > 0 {
			d.gate.subscribed(time.Now())
		}
	} else {
		d.gate.unlock()
	}
	return d
}

// add takes f. It waits while too much is undelivered, and reports false when ctx
// ends before.
func (d *delivery) add(ctx context.Context, f *wire.Frame) bool {
	for {
		d.mu.Lock()
		if len(d.items) == 0 || len(d.items) < maxItems && d.bytes+f.Size() <= maxItemBytes {
			it := &item{frame: f}
			if f.Kind != wire.KindMessage || !d.gate.passed && isFirstStart(f) {
				it.state = delivered
			}
			d.items = append(d.items, it)
			d.bytes += f.Size()
			d.prompted = d.prompted || f.Channel == protocol.Stdin
			d.advance()
			d.mu.Unlock()
			signal(d.wake)
			return true
		}
		d.mu.Unlock()
		select {
		case <-d.room:
		case <-ctx.Done():
			return false
		}
	}
}

// isFirstStart reports whether f says that a new session's language process is
// starting. Behind a gate that has not been open it is old news: it would come
// ahead of the busy of the request that opens the gate, where clients expect
// nothing.
func isFirstStart(f *wire.Frame) bool {
	return f.Number == 1 && f.MsgType == "status" && len(f.Parent) == 0 && stateOf(f) == protocol.StateStarting
}

// run sends what there is to send until ctx ends or the Conn is closed.
func (d *delivery) run(ctx context.Context) {
	defer d.closed()
	p := patient{ctx: ctx}
	defer p.stop()
	var acked time.Time
	for {
		d.takeEvents()
		now := time.Now()
		it, wait := d.pick(now, d.tracker == nil || d.tracker.Subscribers() > 0)
		if it != nil && !d.send(ctx, &p, it) {
			return
		}
		if it == nil || now.Sub(acked) >= ackEvery {
			d.ack()
			acked = now
		}
		if it == nil && !d.sleep(ctx, wait) {
			return
		}
	}
}

// closed notes that nothing more is delivered, which ends the serving.
func (d *delivery) closed() {
	d.front.stop(errConnClosed) // has no effect when ctx has ended
	d.mu.Lock()
	d.over = true
	d.mu.Unlock()
	signal(d.room)
}

// sleep waits until there may be something to do, or as long as wait says if it
// is not 0. It reports false when ctx has ended.
func (d *delivery) sleep(ctx context.Context, wait time.Duration) bool {
	var timer <-chan time.Time
	if wait > 0 {
		t := time.NewTimer(wait)
		defer t.Stop()
		timer = t.C
	}
	select {
	case <-d.wake:
	case <-timer:
	case e, ok := <-d.events:
		d.event(e, ok)
	case <-ctx.Done():
		return false
	}
	return true
}

// pick returns what is to be sent next and marks it as being sent. When there is
// nothing it returns nil and after which time to look again, 0 for when woken.
func (d *delivery) pick(now time.Time, subscribed bool) (*item, time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.retry.After(now) {
		return nil, d.retry.Sub(now)
	}
	if d.tracker != nil {
		d.gate.look(now, subscribed)
	}
	if !d.gate.passed {
		return nil, d.gate.wait(now)
	}
	for _, it := range d.held {
		if it.due {
			it.due = false
			return it, 0
		}
	}
	iopub := subscribed && d.gate.open && d.inFlight < maxInFlight
	for i := d.next; i < len(d.items); i++ {
		it := d.items[i]
		if it.state != waiting {
			continue
		}
		if it.frame.Channel == protocol.IOPub && !iopub {
			if subscribed && d.gate.open {
				return nil, 0 // in order: what is behind waits for room, too
			}
			continue
		}
		it.state = sending
		return it, 0
	}
	return nil, d.gate.wait(now)
}

// send sends it. It reports false when the Conn is closed or ctx has ended.
func (d *delivery) send(ctx context.Context, p *patient, it *item) bool {
	f := it.frame
	if f.Channel == protocol.IOPub {
		d.front.note(f)
	}
	d.mu.Lock()
	m := d.message(it)
	it.again = true
	if d.published.Before(f.Cursor) {
		d.published = f.Cursor
	}
	d.mu.Unlock()
	if d.log.Enabled(ctx, slog.LevelDebug) {
		d.log.Debug("message goes out", "channel", m.Channel, "type", m.Header.MsgType, "id", m.Header.MsgID)
	}
	var err error
	if f.Channel == protocol.IOPub && d.tracker != nil {
		d.fly(f.Size())
		err = d.tracker.Publish(p.context(), m, func(n int) { d.written(it, n) })
		if err == nil {
			return true
		}
		d.fly(-f.Size())
	} else if err = d.conn.Send(ctx, m); err == nil {
		d.sent(it)
		return true
	}
	switch {
	case ctx.Err() != nil || errors.Is(err, net.ErrClosed) || errors.Is(err, io.ErrClosedPipe):
		d.back(it)
		return false
	case errors.Is(err, context.DeadlineExceeded):
		d.back(it) // Publish waits for room, or everybody has gone meanwhile
	case errors.Is(err, ErrNoPeer) && f.Channel != protocol.IOPub:
		d.hold(it)
	default:
		d.failed(it, err)
	}
	return true
}

// fly adds n bytes to those in flight.
func (d *delivery) fly(n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.inFlight += n
}

// message returns the message that it is. Its id never changes; its date is new
// each time, for clients refuse a signature that they have seen. d.mu is held.
func (d *delivery) message(it *item) *protocol.Message {
	f := it.frame
	date := f.Time
	if it.again || date.IsZero() {
		date = time.Now()
	}
	return &protocol.Message{
		Channel: f.Channel, Identities: f.Identities,
		Header: protocol.Header{
			MsgID: f.MsgID(d.session), Session: d.front.id, Username: d.front.opts.Username,
			Date: date.UTC().Format("2006-01-02T15:04:05.000000Z"), MsgType: f.MsgType, Version: protocol.Version,
		},
		Parent: f.Parent, Metadata: f.Metadata, Content: f.Content, Buffers: f.Buffers,
	}
}

// drain waits a moment for what there is to be delivered.
func (d *delivery) drain(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, drainLimit)
	defer cancel()
	for {
		d.mu.Lock()
		done := len(d.items) == 0 || d.over
		d.mu.Unlock()
		if done {
			return
		}
		select {
		case <-d.room:
		case <-ctx.Done():
			return
		}
	}
}

// A patient is a context that ends after at most [patience]. It is for one
// goroutine.
type patient struct {
	ctx    context.Context
	short  context.Context
	cancel context.CancelFunc
	until  time.Time
}

// context returns the context, a new one when the last is half over.
func (p *patient) context() context.Context {
	now := time.Now()
	if p.short == nil || now.After(p.until) {
		p.stop()
		p.short, p.cancel = context.WithTimeout(p.ctx, patience)
		p.until = now.Add(patience / 2)
	}
	return p.short
}

func (p *patient) stop() {
	if p.cancel != nil {
		p.cancel()
	}
}
