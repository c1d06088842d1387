package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gokernel/gokernel/session"
)

// A recorder is what a terminal was sent. Safe for concurrent use.
type recorder struct {
	mu   sync.Mutex
	text strings.Builder
	more chan struct{} // gets a token with each write, if there is room
}

func newRecorder() *recorder { return &recorder{more: make(chan struct{}, 1)} }

func (r *recorder) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	select {
	case r.more <- struct{}{}:
	default:
	}
	return r.text.Write(p)
}

func (r *recorder) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.String()
}

// waitFor waits until what was written holds text.
func (r *recorder) waitFor(t *testing.T, text string) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	for !strings.Contains(r.String(), text) {
		select {
		case <-r.more:
		case <-deadline:
			t.Fatalf("got %q, want %q in it", r.String(), text)
		}
	}
}

// rendered returns the lines that a terminal shows of text.
func rendered(text string) string {
	var lines []string
	for _, line := range strings.Split(text, "\n") {
		if i := strings.LastIndex(line, eraseLine); i >= 0 {
			line = line[i+len(eraseLine):]
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

// onTerminal returns a screen whose stdout and stderr are one terminal.
func onTerminal() (*screen, *recorder) {
	r := newRecorder()
	s := newScreen(r, r)
	s.out.terminal, s.err.terminal = true, true
	return s, r
}

func TestScreenKeepsOutputAndBarApart(t *testing.T) {
	s, r := onTerminal()
	s.start(func() int { return 40 }, func(int) string { return "BAR" })
	r.waitFor(t, "BAR")
	fmt.Fprintln(s.stdout(), "one")
	fmt.Fprint(s.stdout(), "tw")
	s.draw() // must not go over "tw"
	fmt.Fprintln(s.stdout(), "o")
	s.draw()
	fmt.Fprint(s.stderr(), "open")
	s.draw()
	s.result("42")
	s.stop()
	if got, want := rendered(r.String()), "one\ntwo\nopen\n42\n"; got != want {
		t.Errorf("the terminal shows %q, want %q; it was sent %q", got, want, r.String())
	}
	if n := strings.Count(r.String(), "BAR"); n < 2 {
		t.Errorf("the bar was drawn %d times, want it again after a line", n)
	}
	s.stop() // again does nothing
	s.draw()
	if strings.HasSuffix(r.String(), "BAR") {
		t.Error("it was drawn after stop")
	}
}

// On a pipe stdout carries what the code wrote, and nothing else.
func TestScreenLeavesPipesAlone(t *testing.T) {
	out, terminal := newRecorder(), newRecorder()
	s := newScreen(out, terminal)
	s.err.terminal = true
	s.start(func() int { return 40 }, func(int) string { return "BAR" })
	fmt.Fprint(s.stdout(), "a\nb")
	terminal.waitFor(t, "BAR") // an open line elsewhere does not matter
	s.result("c")
	s.stop()
	if got, want := out.String(), "a\nb\nc\n"; got != want {
		t.Errorf("stdout got %q, want %q", got, want)
	}
	if got := rendered(terminal.String()); got != "" {
		t.Errorf("the terminal shows %q, want nothing", got)
	}
}

func TestScreenNotice(t *testing.T) {
	s, r := onTerminal()
	s.start(func() int { return 12 }, func(int) string { return "BAR" })
	s.notice("interrupting\x1b[31m now")
	r.waitFor(t, "interruptin") // cut to fit, no escape
	s.stop()
	if strings.Contains(r.String(), "[31m") {
		t.Errorf("got %q, want no colours", r.String())
	}
}

func TestScreenPrompt(t *testing.T) {
	s, r := onTerminal()
	s.start(func() int { return 40 }, func(int) string { return "BAR" })
	r.waitFor(t, "BAR")
	answered := s.ask("name? ")
	before := r.String()
	s.draw()
	if r.String() != before {
		t.Errorf("it was drawn over what is typed: %q", r.String())
	}
	_, _ = io.WriteString(r, "Ada\n") // the terminal's echo
	answered(true)
	s.result("done")
	answered = s.ask("word? ")
	answered(false) // nothing was echoed
	s.result("end")
	s.stop()
	if got, want := rendered(r.String()), "name? Ada\ndone\nword? \nend\n"; got != want {
		t.Errorf("the terminal shows %q, want %q", got, want)
	}
}

// A failure to write to stdout is kept; one to draw is not.
func TestScreenFailure(t *testing.T) {
	broken := writerFunc(func([]byte) (int, error) { return 0, errors.New("no space") })
	s := newScreen(io.Discard, broken)
	s.say("x")
	if err := s.failure(); err != nil {
		t.Errorf("got %v for stderr, want nil", err)
	}
	s = newScreen(broken, io.Discard)
	s.result("x")
	if err := s.failure(); err == nil || !strings.Contains(err.Error(), "stdout: no space") {
		t.Errorf("got %v, want the reason", err)
	}
}

func TestFit(t *testing.T) {
	for _, c := range []struct {
		text    string
		columns int
		want    string
	}{{"abc", 3, "abc"}, {"abcd", 3, "abc"}, {"日本語", 5, "日本"}, {"日本語", 6, "日本語"}, {"é日", 2, "é"}, {"x", 0, ""}} {
		if got := fit(c.text, c.columns); got != c.want {
			t.Errorf("%q in %d columns: got %q, want %q", c.text, c.columns, got, c.want)
		}
	}
}

func ref[T any](v T) *T { return &v }

// An event has the fields that its readers were promised, and no made-up numbers.
func TestEventLine(t *testing.T) {
	line := eventLine(&session.Progress{
		RunID: "r", Stage: session.StageInstalling, Percent: ref(50.0), Message: "numpy", Elapsed: 12, Remaining: ref(int64(12)),
		Done: ref(int64(1)), Total: ref(int64(2)), Unit: "packages",
	})
	want := `{"run_id":"r","stage":"installing","percent":50,"message":"numpy","elapsed_ms":12,"remaining_ms":12,"done":1,"total":2,"unit":"packages"}`
	if line != want {
		t.Errorf("got %s, want %s", line, want)
	}
	line = eventLine(&session.Progress{RunID: "r", Stage: session.StageExecuting, Elapsed: 3})
	var fields map[string]any
	if err := json.Unmarshal([]byte(line), &fields); err != nil {
		t.Fatal(err)
	}
	if v := fields["percent"]; v != nil {
		t.Errorf("got the percentage %v, want none", v)
	}
}

func TestPlainProgress(t *testing.T) {
	start := time.Now()
	var l plainProgress
	for _, c := range []struct {
		after time.Duration
		p     session.Progress
		want  string
	}{
		{0, session.Progress{Stage: session.StageUploading, Done: ref(int64(0)), Total: ref(int64(2048)), Unit: "bytes"}, "uploading  0 B/2.0 KiB  0.0s"},
		{time.Millisecond, session.Progress{Stage: session.StageUploading, Done: ref(int64(10)), Total: ref(int64(2048)), Unit: "bytes"}, ""},
		{2 * time.Second, session.Progress{Stage: session.StageUploading, Percent: ref(50.0), Done: ref(int64(1024)), Total: ref(int64(2048)), Unit: "bytes", Elapsed: 2000, Remaining: ref(int64(2000))},
			"uploading  1.0 KiB/2.0 KiB  50%  about 2.0s left  2.0s"},
		{2 * time.Second, session.Progress{Stage: session.StageInstalling, Message: "six\n1.0", Done: ref(int64(1)), Unit: "packages", Elapsed: 2100}, "installing  1 packages  six 1.0  2.1s"},
		{9 * time.Second, session.Progress{Stage: session.StageInstalling, Message: "six\n1.0", Done: ref(int64(1)), Unit: "packages", Elapsed: 9000}, ""},
		{9 * time.Second, session.Progress{Stage: session.StageCompleted, Elapsed: 9100}, "completed  9.1s"},
		{9 * time.Second, session.Progress{Stage: session.StageFailed, Message: "Failed after 9 s", Elapsed: 9100}, "failed  Failed after 9 s"},
	} {
		if got := l.line(&c.p, start.Add(c.after)); got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
}

func TestBar(t *testing.T) {
	b := &bar{start: time.Now()}
	if got := b.text(80); !strings.Contains(got, "initializing") {
		t.Errorf("got %q before the first event, want the first stage", got)
	}
	b.event(session.Progress{Stage: session.StageDownloading, Percent: ref(50.0)})
	if got, want := b.text(80), "["+strings.Repeat("=", 12)+strings.Repeat(" ", 12)+"] "; !strings.HasPrefix(got, want) {
		t.Errorf("got %q, want %q first", got, want)
	}
	if got := b.text(20); strings.Contains(got, "[") {
		t.Errorf("got %q where there is no room for a bar", got)
	}
	b.event(session.Progress{Stage: session.StageExecuting})
	if got := b.text(80); strings.Contains(got, "[") || !strings.Contains(got, "executing") {
		t.Errorf("got %q, want no bar without a percentage", got)
	}
}
