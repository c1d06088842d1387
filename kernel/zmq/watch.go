package zmq

import "time"

// wakeWatch says that something is queued.
func (x *xpub) wakeWatch() {
	select {
	case x.kick <- struct{}{}:
	default:
	}
}

// watch looks after the subscribers while anything is queued, until closing.
func (x *xpub) watch() {
	for {
		select {
		case <-x.kick:
		case <-x.closing:
			return
		}
		t := time.NewTicker(max(x.grace/4, time.Millisecond))
		for busy := true; busy; {
			select {
			case now := <-t.C:
				busy = x.check(now)
			case <-x.closing:
				busy = false
			}
		}
		t.Stop()
	}
}

// check leaves behind who has taken nothing for the grace period, and cuts off
// who has been behind for as long without room. It reports whether anything is
// queued. Where nobody keeps up, nobody is behind.
func (x *xpub) check(now time.Time) (busy bool) {
	x.mu.Lock()
	var keepers int
	var stalled, behind []*subscriber
	for p, s := range x.subs {
		if len(s.topics) == 0 || p.isDead() {
			continue
		}
		queued, late := p.load(now)
		busy = busy || queued > 0
		switch {
		case !s.behind.IsZero():
			behind = append(behind, s)
		case late > x.grace:
			stalled = append(stalled, s)
		default:
			keepers++
		}
	}
	for _, s := range behind {
		queued, _ := s.p.load(now)
		switch {
		case keepers == 0:
			s.behind = now // its time begins when somebody keeps up again
		case queued > s.p.bound && now.Sub(s.behind) > x.grace:
			x.cutOff(s)
		}
	}
	if keepers == 0 {
		stalled = nil
	}
	settled := x.leaveBehind(stalled)
	x.mu.Unlock()
	settleAll(settled, false)
	return busy
}
