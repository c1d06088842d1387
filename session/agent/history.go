package agent

import (
	"cmp"
	"encoding/json"
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
	h.mu.Lock()
	defer h.mu.Unlock()
	h.add(r, ahead, language)
}

// add is accept. The caller holds mu.
func (h *history) add(r *request, ahead int, language string) {
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
	r.past = p
	h.runs = append(h.runs, p)
}

// recall remembers what earlier agents of the session have run, by what the
// journal has of it, which is answered by now.
func (a *Agent) recall() {
	executes := func(f *wire.Frame) bool {
		return f.Kind == wire.KindRequest && f.MsgType == "execute_request" || f.MsgType == "execute_reply"
	}
	open := map[string]*past{}
	h := a.history
	h.mu.Lock()
	defer h.mu.Unlock()
	for cursor := (wire.Cursor{}); ; {
		frames, upto := a.journal.Next(cursor, executes, batch)
		for _, f := range frames {
			if f.Kind == wire.KindRequest {
				r := newRequest(wire.Request{ID: f.Request, MsgType: f.MsgType, Metadata: f.Metadata, Content: f.Content}, f.Owner, f.Epoch)
				language := a.config.Language
				if r.run != nil {
					language = cmp.Or(r.run.Language, language)
				}
				h.add(r, 0, language)
				r.past.record.Created = f.Time
				open[r.ID] = r.past
			} else if p := open[f.Request]; p != nil {
				delete(open, f.Request)
				p.record.State, p.record.Stage, p.record.Ended = wire.RunDone, wire.StageFailed, f.Time
				if result := resultOf(f.Metadata); result != nil {
					p.record.Timing = &result.Timing
					if result.Timing.Failed == "" {
						p.record.Stage = wire.StageCompleted
					}
				}
				h.count()
			}
		}
		if upto == cursor {
			return
		}
		cursor = upto
	}
}

// resultOf returns the result of a run in the metadata of its reply, or nil.
func resultOf(metadata []byte) *wire.RunResult {
	var m map[string]json.RawMessage
	result := new(wire.RunResult)
	if json.Unmarshal(metadata, &m) != nil || json.Unmarshal(m[wire.RunKey], result) != nil {
		return nil
	}
	return result
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
