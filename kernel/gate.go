package kernel

import "time"

// A gate keeps frames back until clients are ready to see them: while they wait
// for the kernel, clients throw away what comes on iopub. It opens a second after
// the later of the first subscriber and the last kernel_info_request, or with the
// next other request. Once it has been open, only iopub has to pass it again,
// after a time without any subscriber.
type gate struct {
	open   bool
	passed bool // it has been open
	some   bool // somebody has subscribed since it was closed
	since  time.Time
}

// quiet is how long clients must have been quiet for the gate to open by itself.
const quiet = time.Second

func (g *gate) unlock() { g.open, g.passed = true, true }

func (g *gate) subscribed(now time.Time) {
	if !g.some {
		g.some, g.since = true, now
	}
}

// request reports whether the gate has changed.
func (g *gate) request(now time.Time, info bool) bool {
	if g.open {
		return false
	}
	if info {
		g.since = now
		return g.some
	}
	g.unlock()
	return true
}

// look opens the gate when it is time, and closes it when the last subscriber
// has gone.
func (g *gate) look(now time.Time, subscribed bool) {
	if subscribed {
		g.subscribed(now)
	}
	if !g.open && g.some && now.Sub(g.since) >= quiet {
		g.unlock()
	}
	if g.open && g.some && !subscribed {
		g.open, g.some = false, false
	}
}

// wait returns after which time the gate is to be looked at, 0 for never.
func (g *gate) wait(now time.Time) time.Duration {
	if g.open || !g.some {
		return 0
	}
	return max(1, quiet-now.Sub(g.since))
}
