package agent

import (
	"hash/maphash"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gokernel/gokernel/session/wire"
)

// remembersRuns is how many runs that are done the agent remembers.
const remembersRuns = 200

// A history remembers the executes of a session since its agent began: those
// that wait, the one that runs and the last that are done. Safe for concurrent
// use; its lock may be taken while a course's is held, not the other way round.
type history struct {
	seed maphash.Seed

	mu   sync.Mutex // guards the fields below
	runs []*past    // in order of arrival
	done int        // how many of them are over
}

// A past is one execute of a session.
type past struct {
	record  wire.RunRecord
	course  *course // of one that is not over; nil while it waits
	code    uint64  // hash of the request's content
	asked   string  // the packages that it asked for
	fetched int64   // packages that were installed for it
	ahead   int     // requests that were before it in the queue
}

func newHistory() *history { return &history{seed: maphash.MakeSeed()} }

// accept remembers r, which is an execute, when it has come. ahead requests are
// before it.
func (h *history) accept(r *request, ahead int, language string) {
	p := &past{
		record: wire.RunRecord{
			ID: r.ID, Owner: r.owner, Language: language, State: wire.RunQueued, Stage: wire.StageConnecting, Created: time.Now(),
		},
		code: maphash.Bytes(h.seed, r.Content), ahead: ahead,
	}
	if r.run != nil {
		packages := slices.Clone(r.run.Packages)
		slices.Sort(packages)
		p.asked = strings.Join(packages, "\n")
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	r.past = p
	h.runs = append(h.runs, p)
}

// begin notes that a run's turn has come.
func (h *history) begin(c *course) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if p := c.r.past; p != nil {
		p.record.State, p.course = wire.RunRunning, c
	}
}

// conclude notes that c is over, adds its insights to its result and forgets
// what happened long ago. The caller holds c.mu.
func (h *history) conclude(c *course) {
	h.mu.Lock()
	defer h.mu.Unlock()
	p := c.r.past
	if p == nil {
		return
	}
	p.fetched = c.counted(wire.StageInstalling, "packages")
	c.result.Insights = c.insights(p, h.runs)
	timing := c.result.Timing
	p.record.State, p.record.Ended, p.record.Timing, p.course = wire.RunDone, time.Now(), &timing, nil
	p.record.Stage = wire.StageCompleted
	if timing.Failed != "" {
		p.record.Stage = wire.StageFailed
	}
	h.count()
}

// drop notes that a run was not performed.
func (h *history) drop(r *request) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if p := r.past; p != nil && p.record.State != wire.RunDone {
		p.record.State, p.record.Stage, p.record.Ended, p.course = wire.RunDone, wire.StageFailed, time.Now(), nil
		h.count()
	}
}

// count notes that one more run is over and forgets the oldest such. The caller
// holds mu.
func (h *history) count() {
	h.done++
	if h.done <= remembersRuns {
		return
	}
	i := slices.IndexFunc(h.runs, func(p *past) bool { return p.record.State == wire.RunDone })
	h.runs = slices.Delete(h.runs, i, i+1)
	h.done--
}

// records returns the runs that are remembered, oldest first.
func (h *history) records() []wire.RunRecord {
	h.mu.Lock()
	courses := make([]*course, len(h.runs))
	list := make([]wire.RunRecord, len(h.runs))
	for i, p := range h.runs {
		list[i], courses[i] = p.record, p.course
	}
	h.mu.Unlock()
	for i, c := range courses {
		if c != nil {
			list[i].Stage = c.at()
		}
	}
	return list
}
