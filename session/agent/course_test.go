//go:build unix

package agent

import (
	"encoding/json"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/gokernel/gokernel/protocol"
	"github.com/gokernel/gokernel/session/agent/journal"
	"github.com/gokernel/gokernel/session/wire"
)

// A shownCourse is a course and the journal that it is shown in.
type shownCourse struct {
	*course
	t *testing.T
	j *journal.Journal
}

func startCourse(t *testing.T, owner string, spec *wire.Run, silent bool) *shownCourse {
	t.Helper()
	j, err := journal.Open(t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	a := &Agent{journal: j, log: slog.New(slog.DiscardHandler), history: newHistory()}
	r := newRequest(wire.Request{ID: "r", MsgType: "execute_request", Content: []byte(`{"code":"1"}`)}, owner, 1)
	r.run = spec
	r.execute = &protocol.ExecuteRequest{Silent: silent}
	a.history.accept(r, 0, "script")
	c := &shownCourse{newCourse(a, r, time.Now()), t, j}
	t.Cleanup(func() {
		c.finish(true, nil, nil)
		if err := j.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// events waits until n have been shown and returns them all.
func (c *shownCourse) events(n int) []wire.Progress {
	c.t.Helper()
	deadline := time.After(patience)
	for {
		changed := c.j.Changed()
		frames, _ := c.j.Next(wire.Cursor{}, func(*wire.Frame) bool { return true }, 1<<20)
		if len(frames) >= n {
			list := make([]wire.Progress, len(frames))
			for i, f := range frames {
				if err := json.Unmarshal(f.Content, &list[i]); err != nil {
					c.t.Fatal(err)
				}
				if want := map[bool]string{true: wire.MsgProgressFirst, false: wire.MsgProgress}[i == 0]; f.MsgType != want {
					c.t.Errorf("event %d is a %s, want %s", i, f.MsgType, want)
				}
			}
			return list
		}
		select {
		case <-changed:
		case <-deadline:
			c.t.Fatalf("got %d events, want %d", len(frames), n)
		}
	}
}

// peers D11: a percentage comes from counts, or is absent; it never goes back.
func TestPercentIsCounted(t *testing.T) {
	c := startCourse(t, "run", &wire.Run{}, false)
	c.enter(wire.StageInstalling)
	for i, step := range []struct {
		done, total int64
		unit        string
		want        float64 // -1: none
	}{
		{0, 0, "", -1}, {3, 0, "packages", -1}, {1, 4, "packages", 25}, {3, 4, "packages", 75}, {2, 4, "packages", 75}, {9, 4, "packages", 100},
	} {
		c.report("step", step.done, step.total, step.unit)
		c.mu.Lock()
		c.emit(time.Now())
		c.mu.Unlock()
		got := c.events(i + 2)[i+1]
		switch {
		case step.want < 0 && got.Percent != nil:
			t.Errorf("step %d: got %v %%, want none", i, *got.Percent)
		case step.want >= 0 && (got.Percent == nil || *got.Percent != step.want):
			t.Errorf("step %d: got %v, want %v %%", i, got.Percent, step.want)
		}
		if step.total == 0 && (got.Total != nil || got.Remaining != nil) {
			t.Errorf("step %d: got a total of %v or a remaining time of %v that nobody knows", i, got.Total, got.Remaining)
		}
	}
	c.enter(wire.StageExecuting)
	if got := c.events(8)[7]; got.Percent != nil || got.Stage != wire.StageExecuting {
		t.Errorf("got %+v, want a new stage without the old one's numbers", got)
	}
}

// A cell that leaves it open shows a stage only when that takes noticeable time,
// and one that is silent or wants none never.
func TestWhatIsShown(t *testing.T) {
	for name, c := range map[string]*shownCourse{
		"silent": startCourse(t, wire.KernelOwner, &wire.Run{Progress: wire.ProgressAlways}, true),
		"never":  startCourse(t, wire.KernelOwner, &wire.Run{Progress: wire.ProgressNever}, false),
		"quick":  startCourse(t, wire.KernelOwner, &wire.Run{}, false),
		"cell":   startCourse(t, wire.KernelOwner, nil, false),
	} {
		c.enter(wire.StageUploading)
		c.report("x", 1, 2, "bytes")
		if name != "quick" {
			c.since = c.since.Add(-time.Hour)
		}
		c.enter(wire.StageExecuting)
		c.finish(true, nil, nil)
		if got := c.events(0); len(got) != 0 {
			t.Errorf("%s: got %v, want nothing shown", name, got)
		}
	}
	c := startCourse(t, wire.KernelOwner, &wire.Run{Progress: wire.ProgressAuto}, false)
	c.enter(wire.StageUploading)
	c.report("sending", 1000, 4000, "bytes")
	got := c.events(1)[0] // comes by itself
	if got.Stage != wire.StageUploading || got.Elapsed < noticeable.Milliseconds() || *got.Done != 1000 {
		t.Errorf("got %+v, want the stage after it took noticeable time", got)
	}
	c.report("sending", 4000, 4000, "bytes")
	c.enter(wire.StageExecuting)
	c.finish(true, nil, nil)
	all := c.events(3)
	last := all[len(all)-1]
	if last.Stage != wire.StageCompleted || !strings.HasPrefix(last.Message, "Uploaded 4.0 kB in ") {
		t.Errorf("got %+v at the end, want one line that says what was done", last)
	}
}

// peers D12: a course that fails keeps its times and names the stage.
func TestFailedCourse(t *testing.T) {
	c := startCourse(t, "run", &wire.Run{}, false)
	c.enter(wire.StageUploading)
	c.enter(wire.StageInstalling)
	result := c.finish(false, nil, nil)
	if got := result.Timing.Failed; got != wire.StageInstalling {
		t.Errorf("got failed stage %q, want installing", got)
	}
	checkTiming(t, &result.Timing, wire.StageUploading, wire.StageInstalling)
	all := c.events(3)
	if last := all[len(all)-1]; last.Stage != wire.StageFailed || !strings.HasPrefix(last.Message, "Failed while installing, after ") {
		t.Errorf("got %+v at the end, want the stage that failed", last)
	}
	if again := c.finish(true, nil, nil); again != result {
		t.Errorf("got another result %+v from a course that is over", again)
	}
}
