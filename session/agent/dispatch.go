package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/gokernel/gokernel/protocol"
	"github.com/gokernel/gokernel/session/wire"
)

// Names of errors that the agent itself reports in a cell.
const (
	nameDied      = wire.NameDied
	nameAgentDied = wire.NameAgentDied
	nameNotUp     = wire.NameNotUp
	nameNoReply   = wire.NameNoReply
	nameQueueFull = wire.NameQueueFull
	nameInterrupt = wire.NameInterrupt
	nameInvalid   = wire.NameInvalid
	nameLimit     = wire.NameLimit
)

var errInterrupted = errors.New("interrupted")

// whyRestart is why a process ends that is replaced.
const whyRestart = "restart"

// maxUnserved is how many processes in a row may die, ready but without having
// been given a request, before no more are started by themselves.
const maxUnserved = 3

// dispatch performs the queue until ctx ends. It starts the process of the
// session's own language before anybody asks, and again after it has died; those
// of others when they are asked for.
func (a *Agent) dispatch(ctx context.Context) {
	a.lang.start(ctx)
	for {
		select {
		case <-ctx.Done():
			return
		case p := <-a.deaths:
			a.bury(ctx, p, nil)
		case <-a.again:
			if p, _ := a.lang.get(); p == nil {
				a.lang.start(ctx)
			}
		case <-a.queue.wake:
			for ctx.Err() == nil {
				r, abort := a.queue.take()
				if r == nil {
					break
				}
				a.touch()
				a.perform(ctx, r, abort)
				a.finish(r)
				a.touch()
			}
		}
	}
}

// perform performs one request: busy, outputs, reply, idle, always.
func (a *Agent) perform(ctx context.Context, r *request, abort string) {
	a.queue.begin(a.status(r, protocol.StateBusy).Cursor)
	defer a.status(r, protocol.StateIdle)
	if abort != "" {
		a.replyAborted(r)
		return
	}
	if r.execute != nil {
		a.begin(ctx, r)
		defer r.unwatch()
	}
	if r.invalid != nil {
		a.replyFailed(r, nameInvalid, r.invalid.Error())
		return
	}
	if p, _ := r.lang.get(); r.course != nil && (p == nil || !p.isReady()) {
		r.course.enter(wire.StageInitializing)
	}
	p, err := a.up(ctx, r)
	if errors.Is(err, errInterrupted) || p != nil && closed(r.cancelled) {
		a.replyEnded(r)
		return
	}
	if err != nil {
		a.replyFailed(r, nameNotUp, fmt.Sprintf("The %s process cannot be started: %v", r.lang.name, err))
		return
	}
	if p == nil {
		a.replyAborted(r)
		return
	}
	if r.run != nil {
		r.staging.Store(true)
		if !a.prepare(ctx, r, p) {
			return
		}
		if r.staging.Store(false); closed(r.cancelled) {
			a.replyEnded(r)
			return
		}
	}
	if r.course != nil {
		r.course.enter(wire.StageExecuting)
	}
	if err := p.perform(ctx, r); err != nil {
		a.log.Warn("the runner takes no requests", "error", err) // its death, which follows, says why
	}
	a.performed(r)
	overdue := r.overdue
	rescue := time.NewTicker(rescueInterval)
	defer rescue.Stop()
	for {
		select {
		case <-r.done:
			p.endCalls(ctx)
			switch {
			case r.run != nil:
				a.conclude(ctx, r, p)
			case r.mustReply():
				a.replyFailed(r, nameNoReply, "The "+p.lang.name+" process has answered without a reply.")
			}
			return
		case <-rescue.C:
			p.rescue()
		case dead := <-a.deaths:
			if dead != p {
				a.bury(ctx, dead, nil)
				continue
			}
			if r.held == nil {
				a.bury(ctx, dead, r)
				return
			}
			a.conclude(ctx, r, p)
			a.bury(ctx, dead, nil)
			return
		case <-overdue:
			overdue = nil
			if err := p.end("its time limit"); err != nil {
				a.log.Error("ending a language process at a time limit", "error", err)
			}
		case <-ctx.Done():
			a.replyAborted(r)
			return
		}
	}
}

// performed counts r, which was sent to a runner.
func (a *Agent) performed(r *request) {
	if r.execute == nil {
		return
	}
	if err := a.account.count(a.queue.performed()); err != nil {
		a.log.Warn("what the session is may be forgotten with this agent", "error", err)
	}
}

// up returns the process of r's language when it is ready, starting it when there
// is none. It returns neither a process nor an error when r is not to be run any
// more: the process that it was meant for has died meanwhile, or ctx has ended.
func (a *Agent) up(ctx context.Context, r *request) (*process, error) {
	l, err := a.language(r)
	if err != nil {
		return nil, err
	}
	for ctx.Err() == nil {
		p, _ := l.get()
		if p == nil {
			l.choose(r)
			if p = l.start(ctx); p == nil {
				_, failure := l.get()
				return nil, failure
			}
		}
		var dead *process
		select {
		case dead = <-a.deaths: // looked at first
		default:
			select {
			case dead = <-a.deaths:
			case <-p.ready:
				return p, nil
			case <-r.cancelled:
				return nil, errInterrupted
			case <-ctx.Done():
				return nil, nil
			}
		}
		a.bury(ctx, dead, nil)
		if dead.lang != l {
			continue
		}
		if p, failure := l.get(); p == nil && failure != nil {
			return nil, failure
		}
		if r.execute != nil {
			return nil, nil
		}
	}
	return nil, nil
}

// startFailure says why a process died before it was given a request.
func (p *process) startFailure() error {
	<-p.dead
	pipe := p.pipes[1]
	pipe.mu.Lock()
	defer pipe.mu.Unlock()
	if tail := bytes.TrimSpace(pipe.tail); len(tail) > 0 {
		return fmt.Errorf("%s; it wrote:\n%s", p.cause, tail)
	}
	return errors.New(p.cause)
}

// bury handles the death of p, while r was running or, with nil, while nothing
// was: r is answered, what waits for the same language is aborted if the death
// was an accident, and in the session's own language a new process is started.
// That of another is started by the next request for it.
func (a *Agent) bury(ctx context.Context, p *process, r *request) {
	l, why := p.lang, p.expectedEnd()
	a.log.Info("the language process has ended", "language", l.name, "cause", p.cause, "expected", why)
	a.clearPrompts(func(open *prompt) bool { return open.process == p })
	switch {
	case p.served || why == whyRestart:
		l.unserved = 0
	default:
		l.unserved++
		if !p.isReady() || l.unserved > maxUnserved {
			l.set(nil, p.startFailure()) // the next request tries again, nothing else: it might die for ever
			return
		}
	}
	l.set(nil, nil)
	if r != nil {
		switch {
		case why == whyRestart || ctx.Err() != nil:
			a.replyAborted(r)
		case r.limited.Load():
			a.replyEnded(r)
		case why != "":
			a.replyFailed(r, nameDied, fmt.Sprintf("The %s process has ended: %s", l.name, p.cause))
		default:
			a.replyFailed(r, nameDied, fmt.Sprintf(
				"The %s process has died: %s. Variables are gone, files are still there; %s.", l.name, p.cause, l.next()))
		}
	}
	if why == "" {
		a.queue.abortExecutes(l, "the language process has died")
	}
	l.count.Store(0)
	if ctx.Err() != nil || !l.isOwn() {
		return
	}
	a.publish(nil, &protocol.Status{ExecutionState: protocol.StateRestarting})
	l.start(ctx)
}

// restart replaces the process of one language and returns when the old one has
// ended. What runs and what waits in that language is aborted.
func (a *Agent) restart(l *language) error {
	a.queue.abortExecutes(l, "the language process was restarted")
	p, _ := l.get()
	if p == nil {
		if !l.isOwn() {
			return nil
		}
		select {
		case a.again <- struct{}{}:
		default:
		}
		return nil
	}
	err := p.end(whyRestart)
	if l.isOwn() {
		a.queue.fail(wire.Cursor{}) // what is sent from now on knows of the restart
	}
	return err
}

// replyAborted answers r, which was not run or not to its end.
func (a *Agent) replyAborted(r *request) {
	t := replyType(r.MsgType)
	if t == "" || !r.replied.CompareAndSwap(false, true) {
		return
	}
	content := fmt.Appendf(nil, `{"status":"aborted","execution_count":%d}`, r.count())
	if r.execute == nil {
		content = []byte(`{"status":"aborted"}`)
	}
	a.message(r, r.Origin.Channel, t, nil, content, nil)
}

// replyFailed answers r with an error of ours, shown in the cell too.
func (a *Agent) replyFailed(r *request, ename, evalue string) {
	if r.replied.Swap(true) {
		return
	}
	t := replyType(r.MsgType)
	trace := []string{ename + ": " + evalue}
	if r.execute != nil && !r.execute.Silent {
		a.publish(r, &protocol.ErrorOutput{EName: ename, EValue: evalue, Traceback: trace})
	}
	if t == "" {
		return
	}
	reply := map[string]any{"status": protocol.StatusError, "ename": ename, "evalue": evalue, "traceback": trace}
	if r.execute != nil {
		reply["execution_count"] = r.count()
		reply["user_expressions"] = map[string]any{}
		reply["payload"] = []any{}
	}
	content, err := json.Marshal(reply)
	if err != nil {
		a.log.Error("encoding a reply", "error", err)
		return
	}
	var metadata []byte
	if r.course != nil {
		metadata = a.withResult(nil, r.course.finish(false, nil, r.measured()))
	}
	f := a.message(r, r.Origin.Channel, t, metadata, content, nil)
	// One that is refused came after what waits, and stops none of it.
	if r.execute != nil && r.execute.StopOnError && r.owner == wire.KernelOwner && ename != nameQueueFull {
		a.queue.fail(f.Cursor)
	}
}

// abortAll answers everything that still waits when the agent ends.
func (a *Agent) abortAll() {
	for {
		r, _ := a.queue.take()
		if r == nil {
			return
		}
		a.status(r, protocol.StateBusy)
		a.replyAborted(r)
		a.status(r, protocol.StateIdle)
		a.finish(r)
	}
}

// answerForDead answers what an earlier agent of this session had accepted and
// died over.
func (a *Agent) answerForDead() {
	if a.journal.Epoch() == 1 {
		return
	}
	for _, u := range a.journal.Unanswered() {
		f := u.Request
		r := newRequest(wire.Request{
			ID: f.Request, MsgType: f.MsgType, Content: f.Content,
			Origin: wire.Origin{Header: f.Parent, Identities: f.Identities, Channel: f.Channel},
		}, f.Owner, f.Epoch)
		r.lang = a.lang // whatever it was, its process is gone
		a.queue.meet(r)
		if !u.Started {
			a.status(r, protocol.StateBusy)
		}
		switch {
		case u.Replied:
		case u.Started:
			a.replyFailed(r, nameAgentDied, "The agent that held this session has died, and the language process with it. "+
				"Variables are gone, files are still there; a new process has been started.")
		default:
			a.replyAborted(r)
		}
		a.status(r, protocol.StateIdle)
		a.finish(r)
	}
	a.recall()
	a.publish(nil, &protocol.Status{ExecutionState: protocol.StateRestarting})
}

// interrupt interrupts what owner may: a kernel whatever runs, a run only
// itself, and then also while it waits.
func (a *Agent) interrupt(owner string) error {
	if owner != wire.KernelOwner {
		for _, r := range a.queue.remove(func(r *request) bool { return r.owner == owner }) {
			a.status(r, protocol.StateBusy)
			a.replyAborted(r)
			a.status(r, protocol.StateIdle)
			a.finish(r)
		}
	}
	r := a.queue.current()
	if r == nil || owner != wire.KernelOwner && r.owner != owner {
		return nil
	}
	return a.interruptRequest(r)
}

// interruptRequest interrupts r, which was running a moment ago, in whatever
// stage it is.
func (a *Agent) interruptRequest(r *request) error {
	if r.staging.Load() {
		r.cancel()
		if r.staging.Load() {
			return nil // else its code may have begun before it could be seen that r is cancelled
		}
	}
	if !nameable(r.ID) {
		return errors.New("the running request has an id that cannot be named to its runner")
	}
	if p, _ := r.lang.get(); p == nil || !p.isReady() {
		r.cancel()
		// It may have got ready, and r begun, before it could be seen that r is
		// cancelled.
		if p, _ = r.lang.get(); p == nil || !p.isReady() {
			return nil
		}
	}
	if !r.begun.Load() {
		r.early.Store(true)
	}
	p, _ := r.lang.get()
	if p == nil {
		return nil // it has just died
	}
	return p.interrupt(r.ID)
}
