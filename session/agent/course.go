package agent

import (
	"encoding/json"
	"slices"
	"sync"
	"time"

	"github.com/gokernel/gokernel/protocol"
	"github.com/gokernel/gokernel/session/wire"
)

const (
	// noticeable is how long a stage other than the code itself may take before
	// a cell that leaves it open shows it.
	noticeable = 300 * time.Millisecond
	// Events of one stage come at least reportEvery apart, and while a stage goes
	// on without news every reportAgain.
	reportEvery = 100 * time.Millisecond
	reportAgain = time.Second
	// foreseen is how long a stage must have lasted before its end is foreseen.
	foreseen = 500 * time.Millisecond
)

// A visibility says when the stages of a course are shown.
type visibility uint8

const (
	hidden visibility = iota
	onNotice
	shown
)

// stageNames are the stages that take time, in order.
var stageNames = wire.Stages()

// A course is the way of one execute through its stages: it measures them,
// shows them, and says in the end where the time went. A timer of its own calls
// tick; it stops with finish. Safe for concurrent use.
type course struct {
	a   *Agent
	r   *request
	see visibility

	mu      sync.Mutex // guards the fields below
	began   time.Time  // of what is measured; the time that the caller spent comes before
	stage   int        // index in stageNames
	since   time.Time  // when the stage began
	took    []time.Duration
	now     wire.Progress // what was last reported of the stage
	last    [6]wire.Progress
	visible bool // an event was shown
	emitted time.Time
	timer   *time.Timer // nil while nothing is shown by itself
	over    bool
	result  *wire.RunResult
}

// newCourse begins the course of r, which an execute is. A cell's begins with
// its turn, a run's when the agent has taken it.
func newCourse(a *Agent, r *request, now time.Time) *course {
	c := &course{a: a, r: r, began: now, since: now, stage: -1, took: make([]time.Duration, len(stageNames))}
	if r.run == nil {
		return c
	}
	for i, name := range stageNames {
		c.took[i] = max(0, r.run.Spent[name])
	}
	see := r.run.Progress
	switch {
	case r.execute.Silent, see == wire.ProgressNever:
		c.see = hidden
	case see == wire.ProgressAlways, see == "" && r.owner != wire.KernelOwner:
		c.see = shown
	default:
		c.see = onNotice
	}
	return c
}

// enter begins a stage; the one before has ended.
func (c *course) enter(stage wire.Stage) {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := slices.Index(stageNames, stage)
	if c.over || i < 0 || i == c.stage {
		return
	}
	now := time.Now()
	c.leave(now)
	c.stage, c.since = i, now
	c.now = wire.Progress{}
	if c.see == hidden {
		return
	}
	if (c.see == shown || c.visible) && stage != wire.StageConnecting { // whoever waits knows that
		c.emit(now)
	}
	c.schedule(now)
}

// show makes the stages visible from now on, unless nobody wants to see them.
func (c *course) show() {
	c.mu.Lock()
	defer c.mu.Unlock()
	never := c.r.execute.Silent || c.r.run != nil && c.r.run.Progress == wire.ProgressNever
	if c.over || c.stage < 0 || c.see == shown || never {
		return
	}
	c.see = shown
	now := time.Now()
	if !c.visible {
		c.emit(now)
	}
	c.schedule(now)
}

// leave notes what the present stage took until now. The caller holds mu.
func (c *course) leave(now time.Time) {
	if c.stage >= 0 {
		c.took[c.stage] += now.Sub(c.since)
		c.last[c.stage] = sum(c.last[c.stage], c.now)
	}
}

// sum returns the counts of a stage that was entered twice.
func sum(first, second wire.Progress) wire.Progress {
	switch {
	case first.Done == nil:
		return second
	case second.Done == nil:
		return first
	case first.Unit == second.Unit:
		done := *first.Done + *second.Done
		second.Done = &done
	}
	return second
}

// report is a report of the present stage. A percentage never goes back.
func (c *course) report(message string, done, total int64, unit string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over || c.stage < 0 {
		return
	}
	before := c.now.Percent
	c.now = wire.Progress{Message: message}
	if unit != "" {
		c.now.Unit, c.now.Done = unit, &done
	}
	if unit != "" && total > 0 {
		percent := min(100, 100*float64(done)/float64(total))
		if before != nil {
			percent = max(percent, *before)
		}
		c.now.Total, c.now.Percent = &total, &percent
	} else {
		c.now.Percent = before
	}
	if c.see == hidden {
		return
	}
	if now := time.Now(); c.visible && now.Sub(c.emitted) >= reportEvery {
		c.emit(now)
	}
}

// schedule sets the timer for the next event that comes by itself. The code
// itself has none: what it does it shows. The caller holds mu.
func (c *course) schedule(now time.Time) {
	if c.see == hidden || stageNames[c.stage] == wire.StageExecuting {
		if c.timer != nil {
			c.timer.Stop()
		}
		return
	}
	wait := reportAgain
	if !c.visible {
		wait = noticeable - now.Sub(c.since)
	} else if quiet := now.Sub(c.emitted); quiet < reportEvery {
		wait = reportEvery - quiet
	}
	if c.timer == nil {
		c.timer = time.AfterFunc(wait, c.tick)
		return
	}
	c.timer.Reset(wait)
}

// tick shows how far the stage is.
func (c *course) tick() {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if c.over || stageNames[c.stage] == wire.StageExecuting {
		return
	}
	if !c.visible && now.Sub(c.since) < noticeable { // another stage has begun
		c.schedule(now)
		return
	}
	c.emit(now)
	c.timer.Reset(reportAgain)
}

// emit shows the present stage. The caller holds mu.
func (c *course) emit(now time.Time) {
	p := c.now
	p.Stage = stageNames[c.stage]
	if past := now.Sub(c.since); p.Total != nil && *p.Done > 0 && *p.Done < *p.Total && past >= foreseen {
		left := past.Milliseconds() * (*p.Total - *p.Done) / *p.Done
		p.Remaining = &left
	}
	c.send(&p, now)
}

// send appends p to the journal. The caller holds mu.
func (c *course) send(p *wire.Progress, now time.Time) {
	p.RunID = c.r.ID
	p.Elapsed = c.elapsed(now).Milliseconds()
	content, err := json.Marshal(p)
	if err != nil {
		c.a.log.Error("encoding progress", "error", err)
		return
	}
	kind := wire.MsgProgress
	if !c.visible {
		kind = wire.MsgProgressFirst
	}
	c.visible, c.emitted = true, now
	c.a.journal.Append(&wire.Frame{
		Kind: wire.KindProgress, Request: c.r.ID, Owner: c.r.owner, Channel: protocol.IOPub, MsgType: kind, Time: now,
		Parent: c.r.Origin.Header, Content: content,
	})
}

// elapsed returns how long the run has lasted, with what the caller spent. The
// caller holds mu.
func (c *course) elapsed(now time.Time) time.Duration {
	total := now.Sub(c.began)
	if c.r.run != nil {
		for _, name := range stageNames {
			total += max(0, c.r.run.Spent[name])
		}
	}
	return total
}

// finish ends the course and returns what goes into the reply. Once it has ended
// it does not change.
func (c *course) finish(success bool, files map[string]wire.Delivered, used *wire.Resources) *wire.RunResult {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over {
		return c.result
	}
	now := time.Now()
	c.leave(now)
	c.over = true
	if c.timer != nil {
		c.timer.Stop()
	}
	timing := wire.Timing{Stages: map[wire.Stage]time.Duration{}}
	for i, name := range stageNames {
		if c.took[i] > 0 {
			timing.Stages[name] = c.took[i]
			timing.Total += c.took[i]
		}
	}
	if !success {
		timing.Failed = wire.StageConnecting
		if c.stage >= 0 {
			timing.Failed = stageNames[c.stage]
		}
		if timing.Failed == wire.StageDownloading { // files that do not come fail no run: its code has
			timing.Failed = wire.StageExecuting
		}
	}
	c.result = &wire.RunResult{
		SessionID: c.a.spec.ID, Timing: timing, Insights: []wire.Insight{}, Files: files, Resources: used,
		TimeLimit: c.r.limited.Load(),
	}
	c.a.history.conclude(c)
	if c.visible {
		p := &wire.Progress{Stage: wire.StageCompleted, Message: c.summary(&timing)}
		if !success {
			p.Stage = wire.StageFailed
		}
		c.send(p, now)
	}
	return c.result
}

// at returns the stage that the course is in.
func (c *course) at() wire.Stage {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.result != nil && c.result.Timing.Failed != "":
		return wire.StageFailed
	case c.over:
		return wire.StageCompleted
	case c.stage < 0:
		return wire.StageConnecting
	}
	return stageNames[c.stage]
}
