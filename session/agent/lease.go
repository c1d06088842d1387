package agent

import (
	"context"
	"time"

	"github.com/gokernel/gokernel/session/wire"
)

// A session is held while something is attached to it, while it is busy or while
// a file is transferred or a command runs;
// waiting for input() with nobody attached is not busy. An owned session that
// nothing holds ends after its grace, busy or not when its owner was lost; a
// kept one after its lease.

// touch makes the lease look again at what holds the session.
func (a *Agent) touch() {
	select {
	case a.tick <- struct{}{}:
	default:
	}
}

// watchLease ends the session when nothing holds it any more.
func (a *Agent) watchLease(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-a.tick:
		case <-timer.C:
		}
		left, reason, held := a.remaining(time.Now())
		if held {
			timer.Stop()
			continue
		}
		if left <= 0 {
			a.end(reason)
			return
		}
		timer.Reset(left)
	}
}

// remaining returns how long the session still has and why it will end then,
// or that something holds it.
func (a *Agent) remaining(now time.Time) (left time.Duration, reason string, held bool) {
	busy := a.busy()
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.fronts) > 0 || a.kept && (busy || a.transfers > 0) {
		a.idleFrom = time.Time{}
		return 0, "", true
	}
	if a.idleFrom.IsZero() {
		a.idleFrom = now
	}
	if a.kept {
		return a.idleFrom.Add(a.term).Sub(now), "its lease ran out", false
	}
	grace := a.grace
	if !a.attached {
		grace = 2 * a.grace
	}
	return a.idleFrom.Add(grace).Sub(now), "its front is gone", false
}

// busy reports whether the session runs something or is about to; code that
// waits for input() when nobody could give it does not count.
func (a *Agent) busy() bool {
	waiting, _ := a.queue.counts()
	r := a.queue.current()
	if r == nil {
		return waiting > 0
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.prompts) == 0 || len(a.fronts) > 0
}

// ownerLost interrupts what a front that went without a word runs in an owned
// session.
func (a *Agent) ownerLost(owner string) {
	if a.isKept() {
		return
	}
	a.log.Info("a link is lost", "kernel", owner == wire.KernelOwner)
	if err := a.interrupt(owner); err != nil {
		a.log.Warn("interrupting for a front that is lost", "error", err)
	}
}
