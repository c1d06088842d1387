package agent

import (
	"strings"
	"testing"
	"time"

	"github.com/gokernel/gokernel/session/wire"
)

// peers D13: insights rest on what was measured in this session, and there are
// none where there is nothing to say.
func TestInsights(t *testing.T) {
	second := time.Second
	earlier := func(asked string, fetched int64, installing, executing time.Duration) *past {
		return &past{asked: asked, fetched: fetched, code: 7, record: wire.RunRecord{Timing: &wire.Timing{
			Stages: map[wire.Stage]time.Duration{wire.StageInstalling: installing, wire.StageExecuting: executing},
		}}}
	}
	failed := earlier("a", 0, second, second)
	failed.record.Timing.Failed = wire.StageExecuting
	for name, c := range map[string]struct {
		kept    bool
		owner   string
		this    past
		earlier []*past
		stages  map[wire.Stage]time.Duration
		bytes   int64
		want    []string // what each insight has in it, separated by |
	}{
		"quick": {stages: map[wire.Stage]time.Duration{wire.StageInstalling: 100 * time.Millisecond}},
		"code":  {stages: map[wire.Stage]time.Duration{wire.StageExecuting: 20 * second}},
		"small share": {stages: map[wire.Stage]time.Duration{
			wire.StageInstalling: second, wire.StageExecuting: 100 * second,
		}},
		"install, unkept": {
			owner: "r", this: past{asked: "a", fetched: 2},
			stages: map[wire.Stage]time.Duration{wire.StageInstalling: 4 * second, wire.StageExecuting: second},
			want:   []string{"installing|4.0 s of 5.0 s (80 %)|Keep the session|about 4.0 s"},
		},
		"install, kept, was there before": {
			kept: true, owner: "r", this: past{asked: "a", fetched: 2},
			earlier: []*past{earlier("a", 0, 10*time.Millisecond, 0), earlier("b", 0, 3*second, 0), failed, earlier("a", 5, 9*second, 0)},
			stages:  map[wire.Stage]time.Duration{wire.StageInstalling: 4 * second},
			want:    []string{"installing|in 1 of this session that found them there it took 10 ms|about 4.0 s"},
		},
		"start": {
			owner: "r", stages: map[wire.Stage]time.Duration{wire.StageInitializing: second},
			want: []string{"initializing|1.0 s of 1.0 s (100 %)|Keep the session"},
		},
		"start, kept": {kept: true, owner: "r", stages: map[wire.Stage]time.Duration{wire.StageInitializing: second}},
		"start, cell": {owner: wire.KernelOwner, stages: map[wire.Stage]time.Duration{wire.StageInitializing: second}},
		"queue": {
			owner: "r", this: past{ahead: 2}, stages: map[wire.Stage]time.Duration{wire.StageConnecting: second},
			want: []string{"connecting|2 requests were before it|a session each"},
		},
		"link": {owner: "r", stages: map[wire.Stage]time.Duration{wire.StageConnecting: second}},
		"upload": {
			owner: "r", bytes: 50_000_000, stages: map[wire.Stage]time.Duration{wire.StageUploading: 2 * second},
			want: []string{"uploading|50.0 MB, 25.0 MB a second|not sent again"},
		},
		"slow code": {
			this:    past{code: 7},
			earlier: []*past{earlier("", 0, 0, second), earlier("", 0, 0, second), earlier("", 0, 0, 2*second)},
			stages:  map[wire.Stage]time.Duration{wire.StageExecuting: 5 * second},
			want:    []string{"executing|5.0 times|3 earlier runs of the same code took 1.0 s to 2.0 s, 1.0 s in the median"},
		},
		"slow, but other code": {
			this:    past{code: 8},
			earlier: []*past{earlier("", 0, 0, second), earlier("", 0, 0, second), earlier("", 0, 0, 2*second)},
			stages:  map[wire.Stage]time.Duration{wire.StageExecuting: 5 * second},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if c.owner == "" {
				c.owner = wire.KernelOwner
			}
			course := &course{a: &Agent{kept: c.kept}, r: newRequest(wire.Request{ID: "r"}, c.owner, 1)}
			if c.bytes > 0 {
				course.last[2] = wire.Progress{Unit: "bytes", Done: &c.bytes}
			}
			timing := wire.Timing{Stages: c.stages}
			for _, d := range c.stages {
				timing.Total += d
			}
			course.result = &wire.RunResult{Timing: timing}
			got := course.insights(&c.this, append(c.earlier, &c.this))
			if len(got) != len(c.want) {
				t.Fatalf("got %+v, want %d insights", got, len(c.want))
			}
			for i, want := range c.want {
				text := string(got[i].Stage) + " " + got[i].Finding + " " + got[i].Evidence + " " + got[i].Suggestion
				for part := range strings.SplitSeq(want, "|") {
					if !strings.Contains(text, part) {
						t.Errorf("got %q, want %q in it", text, part)
					}
				}
				if got[i].Evidence == "" || got[i].Finding == "" {
					t.Errorf("got %+v, want a finding and its evidence", got[i])
				}
			}
		})
	}
}
