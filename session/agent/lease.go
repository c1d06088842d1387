package agent

import (
	"context"
	"errors"
	"fmt"
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
		switch left, reason, held := a.runOut(time.Now()); {
		case held:
			timer.Stop()
		case left <= 0:
			a.end(reason)
			return
		default:
			timer.Reset(left)
		}
	}
}

// runOut is remaining, and when nothing is left the session is over from then
// on: who comes in between holds it, who comes later is turned away, and nobody
// is let in to find that it ends.
func (a *Agent) runOut(now time.Time) (left time.Duration, reason string, held bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	left, reason, held = a.remainingLocked(now)
	if !held && left <= 0 && a.over == "" {
		a.over = reason
	}
	return left, reason, held
}

// remaining returns how long the session still has and why it will end then,
// or that something holds it.
func (a *Agent) remaining(now time.Time) (left time.Duration, reason string, held bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.remainingLocked(now)
}

func (a *Agent) remainingLocked(now time.Time) (left time.Duration, reason string, held bool) {
	if len(a.fronts) > 0 || a.kept && (a.transfers > 0 || a.busyLocked()) {
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

// busyLocked reports whether the session runs something or is about to; code
// that waits for input() when nobody could give it does not count.
func (a *Agent) busyLocked() bool {
	r, waiting := a.queue.state()
	if r == nil {
		return waiting > 0
	}
	if len(a.fronts) > 0 {
		return true
	}
	for _, p := range a.prompts {
		if p.request == r {
			return false
		}
	}
	return true
}

// errOver is wrapped by errors about what comes when the session ends.
var errOver = errors.New("the session ends")

// ends returns an error that wraps errOver when the session ends for good.
func (a *Agent) ends() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.endsLocked()
}

func (a *Agent) endsLocked() error {
	if a.over == "" {
		return nil
	}
	return fmt.Errorf("%w: %s", errOver, a.over)
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
