package agent

import (
	"fmt"
	"time"

	"github.com/gokernel/gokernel/protocol"
)

// limitGrace is how long code that has passed its time limit may take to end
// after it was interrupted, before its process is ended.
const limitGrace = 2 * time.Second

// watchLimit ends r when its time is over, wherever it stands: it is taken out
// of the queue, its stage is ended, or its code is interrupted and, when that
// does not help, its process ended. It returns when r is done.
func (a *Agent) watchLimit(r *request) {
	timer := time.NewTimer(r.run.Limit)
	defer timer.Stop()
	select {
	case <-r.finished:
		return
	case <-timer.C:
	}
	r.limited.Store(true)
	for range a.queue.remove(func(other *request) bool { return other == r }) {
		a.status(r, protocol.StateBusy)
		a.replyEnded(r)
		a.status(r, protocol.StateIdle)
		a.finish(r)
		return
	}
	if err := a.interruptRequest(r); err != nil {
		a.log.Warn("interrupting a run at its time limit", "error", err)
	}
	timer.Reset(a.limitGrace)
	select {
	case <-r.finished:
	case <-timer.C:
		close(r.overdue) // its process is the dispatcher's to end
	}
}

// replyEnded answers a run that was ended by an interrupt or by its time limit
// while its code did not run.
func (a *Agent) replyEnded(r *request) {
	if r.limited.Load() {
		a.replyFailed(r, nameLimit, fmt.Sprintf("The run was ended at its time limit, %s after the session had taken it.", short(r.run.Limit)))
		return
	}
	a.replyFailed(r, nameInterrupt, "")
}
