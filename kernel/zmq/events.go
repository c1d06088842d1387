package zmq

import (
	"sync"

	"github.com/gokernel/gokernel/kernel"
)

// events is a channel of arrivals that never makes the one who tells them wait.
type events struct {
	mu     sync.Mutex
	ch     chan kernel.Event
	merged bool // the last event in ch stands for several
}

func newEvents(n int) *events { return &events{ch: make(chan kernel.Event, n)} }

// add tells e. If there is no room, one event that says "look yourself" takes
// the place of the oldest.
func (ev *events) add(e kernel.Event) {
	ev.mu.Lock()
	defer ev.mu.Unlock()
	select {
	case ev.ch <- e:
		ev.merged = false
		return
	default:
	}
	if ev.merged {
		return // a full channel still has its last event
	}
	select {
	case <-ev.ch:
	default:
	}
	// Only add sends, under the lock, so that there is room now.
	ev.ch <- kernel.Event{}
	ev.merged = true
}
