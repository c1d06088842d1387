package agent

import (
	"encoding/json"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gokernel/gokernel/protocol"
	"github.com/gokernel/gokernel/session/wire"
)

// Bounds of the queue. A request past them is refused with an error reply.
const (
	maxQueued      = 10_000
	maxQueuedBytes = 1 << 30
	// remembered is how many requests that are done are still known, for
	// output that comes late and for requests that come twice, and
	// rememberedBytes how large their origins may be together.
	remembered      = 4096
	rememberedBytes = 32 << 20
)

// A request is one request on its way through the agent.
type request struct {
	wire.Request
	owner   string
	epoch   uint64                   // of the agent that it was first sent to
	lang    *language                // whose process performs it; set before it is queued
	execute *protocol.ExecuteRequest // without its code; nil for other types
	run     *wire.Run                // what an execute asks for beside its code; nil: nothing
	invalid error                    // what is wrong with that
	taken   time.Time                // when it came
	past    *past                    // what is remembered of an execute; guarded by history.mu
	course  *course                  // of an execute whose turn has come; the dispatcher's
	used    func() wire.Resources    // measures a run; nil for a cell
	held    *reply                   // the language's reply to a run, until the last stages are over
	cwd     string                   // working directory while it runs, "" for the process's; set before it is performed
	env     map[string]string        // added to the environment while it runs; likewise

	abort   string        // why it is not to be run, "" to run it; guarded by queue.mu
	replied atomic.Bool   // whoever sets it answers
	begun   atomic.Bool   // the runner has spoken of it
	early   atomic.Bool   // it was interrupted before that
	done    chan struct{} // closed when the language process has answered

	staging  atomic.Bool   // a stage beside the code goes on
	limited  atomic.Bool   // its time limit has passed
	overdue  chan struct{} // closed when an interrupt at the limit did not help; nil without a limit
	finished chan struct{} // closed when it is over

	cancelOnce sync.Once
	cancelled  chan struct{} // closed when it was interrupted before it ran
}

// cancel interrupts r before it runs.
func (r *request) cancel() { r.cancelOnce.Do(func() { close(r.cancelled) }) }

// mustReply reports whether r has a reply that nobody has sent.
func (r *request) mustReply() bool { return shellRequests[r.MsgType] && !r.replied.Load() }

// shellRequests are the requests of the queue that have a reply.
var shellRequests = map[string]bool{
	"execute_request": true, "complete_request": true, "inspect_request": true, "is_complete_request": true,
	"history_request": true, "comm_info_request": true,
}

func newRequest(r wire.Request, owner string, epoch uint64) *request {
	q := &request{Request: r, owner: owner, epoch: epoch, taken: time.Now(), done: make(chan struct{}), cancelled: make(chan struct{}), finished: make(chan struct{})}
	if r.MsgType == "execute_request" {
		q.execute = new(protocol.ExecuteRequest)
		if err := json.Unmarshal(r.Content, q.execute); err != nil {
			q.execute = &protocol.ExecuteRequest{StopOnError: true} // the runner will say what is wrong with it
		}
		q.execute.Code = ""
		q.run, q.invalid = parseRun(r.Metadata, owner)
		if q.invalid != nil {
			q.run = nil
		} else if q.run != nil && q.run.Limit > 0 {
			q.overdue = make(chan struct{})
		}
	}
	return q
}

// size is what r counts for in the queue's bound.
func (r *request) size() int64 {
	n := len(r.Content) + len(r.Metadata) + len(r.Origin.Header) + 512
	for _, b := range r.Buffers {
		n += len(b)
	}
	for _, id := range r.Origin.Identities {
		n += len(id)
	}
	return int64(n)
}

// outlives reports whether r is performed when its front has gone: only what
// changes the session does, a completion is for nobody then.
func (r *request) outlives() bool {
	switch r.MsgType {
	case "execute_request", "comm_open", "comm_msg", "comm_close":
		return true
	}
	return false
}

// A queue is the session's queue of requests: the shell queue of its kernel
// and the runs beside it, strictly in order. It also remembers requests that
// are done.
type queue struct {
	wake      chan struct{} // holds one token when something may be waiting
	maxQueued int

	mu      sync.Mutex // guards the fields below
	waiting []*request
	bytes   int64
	running *request
	busy    wire.Cursor            // the busy status of the running request
	latest  map[*language]*request // the last that was started
	known   map[string]*request
	gone    []*request  // of known, those that are done, oldest first
	past    int64       // bytes of what gone keeps
	changed time.Time   // when a request last came or ended
	failed  wire.Cursor // the last error reply of an execute with stop_on_error
	total   int         // executes that were sent to a runner, by earlier agents of the session too
}

func newQueue() *queue {
	return &queue{
		wake: make(chan struct{}, 1), maxQueued: maxQueued, known: map[string]*request{}, latest: map[*language]*request{},
		changed: time.Now(),
	}
}

// meet makes r known, or reports that it was already.
func (q *queue) meet(r *request) (isNew bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if _, ok := q.known[r.ID]; ok {
		return false
	}
	q.known[r.ID] = r
	return true
}

// add appends r, which is known. The error says why it cannot be taken.
func (q *queue) add(r *request) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting) >= q.maxQueued || q.bytes+r.size() > maxQueuedBytes && len(q.waiting) > 0 {
		return fmt.Errorf("the session's queue is full: %d requests with %d bytes are waiting", len(q.waiting), q.bytes)
	}
	q.waiting = append(q.waiting, r)
	q.bytes += r.size()
	q.changed = time.Now()
	q.signal()
	return nil
}

// ahead returns how many requests are before one that comes now.
func (q *queue) ahead() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.running != nil {
		return len(q.waiting) + 1
	}
	return len(q.waiting)
}

func (q *queue) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// take removes the first request and makes it the running one; nil when none
// waits. abort says why it is not to be run.
func (q *queue) take() (r *request, abort string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting) == 0 {
		return nil, ""
	}
	r = q.waiting[0]
	q.waiting[0] = nil
	q.waiting = q.waiting[1:]
	q.bytes -= r.size()
	q.running, q.latest[r.lang], q.busy = r, r, wire.Cursor{}
	if r.execute != nil && r.abort == "" && r.owner == wire.KernelOwner && r.Published.Before(q.failed) {
		r.abort = "an earlier request failed"
	}
	return r, r.abort
}

// performed says that an execute was sent to a runner, and returns how many have
// been.
func (q *queue) performed() (total int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.total++
	return q.total
}

// finish says that r, which is known and does not wait, is done.
func (q *queue) finish(r *request) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.running == r {
		q.running = nil
	}
	q.changed = time.Now()
	r.Content, r.Metadata, r.Buffers = nil, nil, nil
	q.gone = append(q.gone, r)
	q.past += r.size()
	for len(q.gone) > remembered || q.past > rememberedBytes && len(q.gone) > 1 {
		first := q.gone[0]
		q.gone[0] = nil
		q.gone = q.gone[1:]
		q.past -= first.size()
		delete(q.known, first.ID)
	}
}

// lastActive returns when a request last came or ended; now while one runs or
// waits.
func (q *queue) lastActive() time.Time {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.running != nil || len(q.waiting) > 0 {
		return time.Now()
	}
	return q.changed
}

// used notes that the session was used beside the queue.
func (q *queue) used() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.changed = time.Now()
}

// begin notes that the running request was announced by the busy status at c.
func (q *queue) begin(c wire.Cursor) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.busy = c
}

// since returns the busy status of the running request.
func (q *queue) since() (c wire.Cursor, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.busy, q.running != nil && !q.busy.IsZero()
}

// remove takes the waiting requests for which match says yes out of the queue.
func (q *queue) remove(match func(*request) bool) []*request {
	q.mu.Lock()
	defer q.mu.Unlock()
	var out, rest []*request
	for _, r := range q.waiting {
		if match(r) {
			out = append(out, r)
			q.bytes -= r.size()
		} else {
			rest = append(rest, r)
		}
	}
	q.waiting = rest
	return out
}

// abortExecutes marks all waiting executes of a language as not to be run. They
// are answered when their turn comes, so that replies keep their order.
func (q *queue) abortExecutes(l *language, why string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, r := range q.waiting {
		if r.execute != nil && r.lang == l {
			r.abort = why
		}
	}
}

// fail notes that the reply at c was an error that stops what was sent before
// it was known.
func (q *queue) fail(c wire.Cursor) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.failed = c
}

// find returns the request of a language with this id, or for an id that it does
// not know the last one that was started, which may be nil.
func (q *queue) find(l *language, id string) *request {
	q.mu.Lock()
	defer q.mu.Unlock()
	if r, ok := q.known[id]; ok && r.lang == l {
		return r
	}
	if id == "" {
		return nil
	}
	return q.latest[l]
}

// last returns the last request of a language that was started, which may be
// nil.
func (q *queue) last(l *language) *request {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.latest[l]
}

// current returns the running request, or nil.
func (q *queue) current() *request {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.running
}

// state returns what runs, which may be nil, and how many requests wait.
func (q *queue) state() (running *request, waiting int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.running, len(q.waiting)
}

// counts returns how many requests wait and how many executes were performed.
func (q *queue) counts() (waiting, total int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.waiting), q.total
}
