package kernel

import (
	"slices"
	"time"

	"github.com/gokernel/gokernel/protocol"
	"github.com/gokernel/gokernel/session/wire"
)

// hold keeps it, whose address is away, until that is back. That cannot be missed:
// run, which calls hold, takes the events itself.
func (d *delivery) hold(it *item) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.log.Debug("nobody is there: held", "channel", it.frame.Channel, "type", it.frame.MsgType, "number", it.frame.Number)
	it.offered = false
	d.keep(it)
}

// keep moves it to those held, if it is not there. Past the bounds the oldest
// reply is given up, never a prompt, for which code waits. d.mu is held.
func (d *delivery) keep(it *item) {
	it.state = delivered
	d.changed = true
	if !slices.Contains(d.held, it) {
		d.held = append(d.held, it)
		d.heldBytes += it.frame.Size()
	}
	for len(d.held) > maxHeld || d.heldBytes > maxHeldBytes && len(d.held) > 1 {
		i := slices.IndexFunc(d.held, func(o *item) bool { return o.frame.Channel != protocol.Stdin && o != it })
		if i < 0 {
			break
		}
		old := d.held[i]
		d.log.Warn("reply given up: its client is away and too many wait", "type", old.frame.MsgType, "number", old.frame.Number)
		d.unhold(func(o *item) bool { return o == old })
	}
	d.advance()
}

// unhold takes out of those held what match says. d.mu is held.
func (d *delivery) unhold(match func(*item) bool) {
	n := len(d.held)
	d.held = slices.DeleteFunc(d.held, func(it *item) bool {
		if !match(it) {
			return false
		}
		d.heldBytes -= it.frame.Size()
		return true
	})
	d.changed = d.changed || len(d.held) < n
}

// dropHeld takes out of those held the frames that match says: nobody needs them
// any more.
func (d *delivery) dropHeld(match func(*wire.Frame) bool) {
	d.mu.Lock()
	d.unhold(func(it *item) bool { return match(it.frame) })
	d.mu.Unlock()
	signal(d.wake)
}

// due marks those held that match says to be tried again. d.mu is held.
func (d *delivery) due(match func(*item) bool) {
	for _, it := range d.held {
		if match(it) {
			it.due = true
			signal(d.wake)
		}
	}
}

func sameAddress(a, b *wire.Frame) bool {
	return a.Channel == b.Channel && addressOf(a.Identities) == addressOf(b.Identities)
}

// finished notes that the request with this id has been answered, so that nobody
// waits for what it asked its client any more.
func (d *delivery) finished(request string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.prompted || request == "" {
		return
	}
	d.unhold(func(it *item) bool { return it.frame.Channel == protocol.Stdin && it.frame.Request == request })
	for _, it := range d.items {
		if it.state == waiting && it.frame.Channel == protocol.Stdin && it.frame.Request == request {
			it.state = delivered
		}
	}
	d.advance()
	signal(d.wake)
}

// takeEvents takes the events that are there. They are taken before something is
// sent, so that an old one does not make a prompt go out twice.
func (d *delivery) takeEvents() {
	for d.events != nil {
		select {
		case e, ok := <-d.events:
			d.event(e, ok)
		default:
			return
		}
	}
}

// event notes who has arrived: who is back gets what was held, and an unanswered
// prompt once more.
func (d *delivery) event(e Event, ok bool) {
	if !ok {
		d.events = nil
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.due(func(it *item) bool {
		f := it.frame
		return e.Channel == "" || e.Channel == f.Channel && string(e.Identity) == addressOf(f.Identities)
	})
}

// request notes that a client has asked for something, which may open the gate,
// and returns the last frame that had been published.
func (d *delivery) request(info bool) wire.Cursor {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.gate.request(time.Now(), info) {
		signal(d.wake)
	}
	return d.published
}
