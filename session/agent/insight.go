package agent

import (
	"fmt"
	"slices"
	"time"

	"github.com/gokernel/gokernel/session/wire"
)

// A stage is worth a word when it took worthTime and worthShare of the run.
const (
	worthTime  = 200 * time.Millisecond
	worthShare = 0.2
	// The code is slow when it took so many times the median of at least so many
	// earlier runs of the same code.
	slowFactor = 2
	slowRuns   = 3
)

// insights returns what there is to say about the run that p is, against those
// before it. There is nothing when nothing took long. The caller holds the locks
// of the course and of the history.
func (c *course) insights(p *past, all []*past) []wire.Insight {
	list := []wire.Insight{}
	timing := &c.result.Timing
	if timing.Total < worthTime {
		return list
	}
	add := func(i *wire.Insight) {
		if i != nil {
			list = append(list, *i)
		}
	}
	worth := func(stage wire.Stage) bool {
		return timing.Stages[stage] >= worthTime && timing.Share(stage) >= worthShare
	}
	if worth(wire.StageInitializing) {
		add(c.aboutStart(timing))
	}
	if worth(wire.StageConnecting) {
		add(c.aboutWait(p, timing))
	}
	if worth(wire.StageUploading) {
		add(c.aboutUpload(timing))
	}
	if worth(wire.StageInstalling) {
		add(c.aboutInstall(p, all, timing))
	}
	if timing.Failed == "" && timing.Stages[wire.StageExecuting] >= worthTime {
		add(aboutCode(p, all, timing))
	}
	return list
}

// took says how long a stage took, of what.
func took(stage wire.Stage, t *wire.Timing) string {
	return fmt.Sprintf("%s took %s of %s (%.0f %%)", stage, short(t.Stages[stage]), short(t.Total), 100*t.Share(stage))
}

func (c *course) aboutStart(t *wire.Timing) *wire.Insight {
	if c.r.owner == wire.KernelOwner || c.a.isKept() {
		return nil // it is paid once
	}
	return &wire.Insight{
		Stage: wire.StageInitializing, Finding: "The session was started for this run and ends with it.",
		Evidence: took(wire.StageInitializing, t),
		Suggestion: fmt.Sprintf("Keep the session and use it again: the next run would begin about %s earlier.",
			short(t.Stages[wire.StageInitializing])),
	}
}

func (c *course) aboutWait(p *past, t *wire.Timing) *wire.Insight {
	if p.ahead == 0 {
		return nil
	}
	return &wire.Insight{
		Stage: wire.StageConnecting, Finding: "The run waited for its turn in the session.",
		Evidence:   fmt.Sprintf("%s; %s before it in the queue", took(wire.StageConnecting, t), requests(p.ahead)),
		Suggestion: fmt.Sprintf("Runs that need nothing of each other can have a session each: this one would have ended about %s earlier.", short(t.Stages[wire.StageConnecting])),
	}
}

func requests(n int) string {
	if n == 1 {
		return "1 request was"
	}
	return fmt.Sprintf("%d requests were", n)
}

func (c *course) aboutUpload(t *wire.Timing) *wire.Insight {
	bytes := c.counted(wire.StageUploading, "bytes")
	if bytes == 0 {
		return nil
	}
	d := t.Stages[wire.StageUploading]
	i := &wire.Insight{
		Stage: wire.StageUploading, Finding: "Sending files took a large part of the run.",
		Evidence: fmt.Sprintf("%s for %s, %s a second", took(wire.StageUploading, t), bytesText(bytes), bytesText(int64(float64(bytes)/d.Seconds()))),
	}
	if !c.a.isKept() {
		i.Suggestion = fmt.Sprintf("Keep the session: files that have not changed are not sent again, which would save about %s.", short(d))
	}
	return i
}

func (c *course) aboutInstall(p *past, all []*past, t *wire.Timing) *wire.Insight {
	d := t.Stages[wire.StageInstalling]
	i := &wire.Insight{
		Stage: wire.StageInstalling, Finding: "Installing packages took a large part of the run.", Evidence: took(wire.StageInstalling, t),
	}
	var ready []time.Duration
	for _, other := range all {
		if other != p && other.asked == p.asked && other.fetched == 0 && succeeded(other) {
			ready = append(ready, other.record.Timing.Stages[wire.StageInstalling])
		}
	}
	saved := d
	if len(ready) > 0 {
		m := median(ready)
		saved -= m
		i.Evidence += fmt.Sprintf("; in %d of this session that found them there it took %s (median)", len(ready), short(m))
	}
	switch {
	case p.fetched == 0:
		i.Finding = "Looking whether packages are there took a large part of the run."
	case !c.a.isKept():
		i.Suggestion = fmt.Sprintf("Keep the session and use it again: its packages stay, and the next run would save about %s.", short(saved))
	default:
		i.Suggestion = fmt.Sprintf("The packages are in the session now: the next run with them would save about %s.", short(saved))
	}
	return i
}

// aboutCode compares the code with earlier runs of the same.
func aboutCode(p *past, all []*past, t *wire.Timing) *wire.Insight {
	var earlier []time.Duration
	for _, other := range all {
		if other != p && other.code == p.code && succeeded(other) {
			earlier = append(earlier, other.record.Timing.Stages[wire.StageExecuting])
		}
	}
	if len(earlier) < slowRuns {
		return nil
	}
	m, d := median(earlier), t.Stages[wire.StageExecuting]
	if d < slowFactor*m || d-m < worthTime {
		return nil
	}
	return &wire.Insight{
		Stage:   wire.StageExecuting,
		Finding: fmt.Sprintf("The code took %.1f times as long as it usually does in this session.", float64(d)/float64(max(m, time.Millisecond))),
		Evidence: fmt.Sprintf("%s; %d earlier runs of the same code took %s to %s, %s in the median",
			took(wire.StageExecuting, t), len(earlier), short(slices.Min(earlier)), short(slices.Max(earlier)), short(m)),
	}
}

func succeeded(p *past) bool {
	return p.record.Timing != nil && p.record.Timing.Failed == ""
}

func median(list []time.Duration) time.Duration {
	list = slices.Sorted(slices.Values(list))
	return list[len(list)/2]
}
