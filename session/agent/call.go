package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/gokernel/gokernel/session/wire"
)

// What the code of a request may ask of its agent, through its runner.
const (
	askSession = "session" // what the session is
	askTiming  = "timing"  // where the time of the last runs went
	askInstall = "install" // packages
)

const (
	// maxCallArgs is the largest size of a call's arguments in bytes.
	maxCallArgs = 1 << 20
	// maxCalling is how many calls of a process may be on their way. A runner
	// makes one at a time; when its code was interrupted those before may not be
	// over.
	maxCalling = 64
	// maxTimed is how many runs are told of.
	maxTimed = 20
)

// errGivenUp is why a call ends that its code does not wait for any more.
var errGivenUp = errors.New("the code does not wait for it any more")

// calls are those of a process that are not answered. The zero value has none.
type calls struct {
	answering sync.WaitGroup

	mu     sync.Mutex // guards the fields below
	last   *call
	number int // how many are on their way
}

// A call is what the code of a request asks for.
type call struct {
	request string
	cancel  context.CancelCauseFunc
	done    chan struct{} // closed when it has come to its end, before that is told
}

// A resultPacket is the head of an answer to a call.
type resultPacket struct {
	Type  string `json:"type"`
	Call  uint64 `json:"call"`
	Error string `json:"error,omitempty"`
}

// called takes a call of the runner and answers it, beside what the runner says
// otherwise. The call before is given up. An error says that there are too many.
func (p *process) called(h *runnerHead, args []byte) error {
	ctx, cancel := context.WithCancelCause(context.Background())
	c := &call{request: h.ID, cancel: cancel, done: make(chan struct{})}
	p.calls.mu.Lock()
	if p.calls.number >= maxCalling {
		p.calls.mu.Unlock()
		cancel(nil)
		return fmt.Errorf("more than %d calls are not answered", maxCalling)
	}
	p.calls.number++
	before := p.calls.last
	p.calls.last = c
	p.calls.mu.Unlock()
	if before != nil {
		before.cancel(errGivenUp)
	}
	args = bytes.Clone(args) // the packet's memory is used again
	head := resultPacket{Type: "result", Call: h.Call}
	method := h.Method
	p.calls.answering.Go(func() {
		defer cancel(nil)
		if before != nil {
			<-before.done
		}
		value, err := p.answerCall(ctx, c.request, method, args)
		close(c.done)
		if err != nil {
			head.Error = err.Error()
			value = []byte("{}")
		}
		if err := p.send(head, value); err != nil {
			p.lang.a.log.Debug("answering a call", "error", err) // the runner's end says why
		}
		p.calls.mu.Lock()
		defer p.calls.mu.Unlock()
		p.calls.number--
	})
	return nil
}

// interruptCall ends the call of a request's code that is not answered.
func (p *process) interruptCall(request string) {
	p.calls.mu.Lock()
	defer p.calls.mu.Unlock()
	if c := p.calls.last; c != nil && c.request == request {
		c.cancel(errInterrupted)
	}
}

// endCalls gives up what is not answered and waits for its end, or that of ctx.
func (p *process) endCalls(ctx context.Context) {
	p.calls.mu.Lock()
	c := p.calls.last
	p.calls.last = nil
	p.calls.mu.Unlock()
	if c == nil {
		return
	}
	c.cancel(errGivenUp)
	select {
	case <-c.done:
	case <-ctx.Done():
	}
}

// answerCall does what the code of a request asks for. Only the request that
// runs may ask.
func (p *process) answerCall(ctx context.Context, request, method string, args []byte) ([]byte, error) {
	a := p.lang.a
	r := a.queue.current()
	switch {
	case r == nil || r.ID != request || r.lang != p.lang || closed(r.done):
		return nil, errors.New("only a request that runs can ask its session")
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case len(args) > maxCallArgs:
		return nil, fmt.Errorf("arguments of %d bytes are too many, %d can be", len(args), maxCallArgs)
	case !validObject(args):
		return nil, errors.New("the arguments are no JSON object")
	}
	var value any
	var err error
	switch method {
	case askSession:
		value = a.info(ctx)
	case askTiming:
		runs := a.history.records()
		value = map[string]any{"runs": runs[max(0, len(runs)-maxTimed):]}
	case askInstall:
		value, err = p.installFor(ctx, r, args)
	default:
		err = fmt.Errorf("%q cannot be asked of a session", method)
	}
	if err != nil {
		return nil, err
	}
	return json.Marshal(value)
}

// An installed says which packages are in the session's own folders that were not
// there before, as "name==version".
type installed struct {
	Installed []string `json:"installed"`
}

// installFor installs packages while the code of r waits for them.
func (p *process) installFor(ctx context.Context, r *request, args []byte) (*installed, error) {
	var in struct {
		Packages []string `json:"packages"`
	}
	if err := json.Unmarshal(object(args), &in); err != nil {
		return nil, fmt.Errorf("packages: %w", err)
	}
	switch {
	case r.course == nil:
		return nil, errors.New("packages can be installed by a cell only")
	case len(in.Packages) == 0:
		return nil, errors.New("packages: there are none")
	}
	for _, spec := range in.Packages {
		if err := wire.CheckPackage(p.lang.name, spec); err != nil {
			return nil, err
		}
	}
	var env map[string]string
	if r.run != nil {
		env = r.run.Env
	}
	a := p.lang.a
	before := a.info(ctx).Packages
	r.course.enter(wire.StageInstalling)
	defer r.course.enter(wire.StageExecuting)
	err := a.install(ctx, r, p, in.Packages, env, func(message string, done, total int64, unit string) {
		r.course.show()
		r.course.report(message, done, total, unit)
	})
	if err != nil {
		return nil, err
	}
	out := &installed{Installed: []string{}}
	for _, name := range a.info(ctx).Packages {
		if !slices.Contains(before, name) {
			out.Installed = append(out.Installed, name)
		}
	}
	return out, nil
}
