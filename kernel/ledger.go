package kernel

import (
	"time"

	"github.com/gokernel/gokernel/protocol"
	"github.com/gokernel/gokernel/session/wire"
)

// What has become of the items of a delivery, and what the session is told of it.

// written is called when a frame on iopub has been written to n subscribers.
func (d *delivery) written(it *item, n int) {
	d.mu.Lock()
	d.inFlight -= it.frame.Size()
	status := it.frame.MsgType == "status"
	switch {
	case n > 0:
		it.state = delivered
		if status && d.lastStatus.Before(it.frame.Cursor) {
			d.lastStatus = it.frame.Cursor
		}
	case status && it.frame.Before(d.lastStatus):
		it.state = delivered // a client has seen a later one: this would be a lie
	default:
		d.wait(it)
	}
	d.advance()
	d.mu.Unlock()
	signal(d.wake)
}

// sent notes that it was sent. A prompt is held until it is answered, so that
// it can be offered again.
func (d *delivery) sent(it *item) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.due(func(o *item) bool { return o != it && !o.offered && sameAddress(o.frame, it.frame) })
	if it.frame.Channel == protocol.Stdin {
		it.offered = true
		d.keep(it)
		return
	}
	d.settle(it)
}

// back makes it wait again.
func (d *delivery) back(it *item) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.wait(it)
}

// failed makes it wait for another try, or gives it up.
func (d *delivery) failed(it *item, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	it.tries++
	if it.tries < maxTries {
		d.log.Warn("message not sent, will be tried again", "type", it.frame.MsgType, "error", err)
		d.wait(it)
		d.retry = time.Now().Add(retryAfter)
		return
	}
	d.log.Error("message given up", "type", it.frame.MsgType, "number", it.frame.Number, "error", err)
	d.settle(it)
}

// wait makes it wait: among those held, or in its place in the order. d.mu is
// held.
func (d *delivery) wait(it *item) {
	for i, o := range d.items {
		if o == it {
			it.state = waiting
			d.next = min(d.next, i)
			return
		}
	}
	it.due = true
}

// settle notes that it is delivered, from wherever it is. d.mu is held.
func (d *delivery) settle(it *item) {
	it.state = delivered
	d.unhold(func(o *item) bool { return o == it })
	d.advance()
}

// advance takes the items that are delivered off the front. d.mu is held.
func (d *delivery) advance() {
	n := 0
	for n < len(d.items) && d.items[n].state == delivered {
		d.bytes -= d.items[n].frame.Size()
		if c := d.items[n].frame.Cursor; d.upto.Before(c) { // what an earlier front held comes first, with lower numbers
			d.upto = c
		}
		d.items[n] = nil
		n++
	}
	if n > 0 {
		d.items = d.items[n:]
		d.next = max(0, d.next-n)
		d.changed = true
		signal(d.room)
	}
	for d.next < len(d.items) && d.items[d.next].state != waiting {
		d.next++
	}
}

// ack tells the session what has been delivered, if that has changed. It is
// called by run, and by who waited for run.
func (d *delivery) ack() {
	d.mu.Lock()
	if !d.changed {
		d.mu.Unlock()
		return
	}
	d.changed = false
	upto := d.upto
	var held []wire.Cursor
	for _, it := range d.held {
		if !upto.Before(it.frame.Cursor) {
			held = append(held, it.frame.Cursor)
		}
	}
	d.mu.Unlock()
	d.sess.Ack(upto, held)
}
