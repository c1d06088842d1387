package kernel_test

import (
	"context"
	"encoding/json"
	"errors"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gokernel/gokernel/kernel"
	"github.com/gokernel/gokernel/kernel/kerneltest"
	"github.com/gokernel/gokernel/protocol"
	"github.com/gokernel/gokernel/session/wire"
)

func number(n int64) *int64 { return &n }

func percent(p float64) *float64 { return &p }

// A shownProgress is a stage report as a client sees it.
type shownProgress struct {
	Data struct {
		Plain    string        `json:"text/plain"`
		HTML     string        `json:"text/html"`
		Progress wire.Progress `json:"application/vnd.gokernel.progress+json"`
	} `json:"data"`
	Metadata  map[string]any `json:"metadata"`
	Transient struct {
		DisplayID string `json:"display_id"`
	} `json:"transient"`
}

func TestStageReportsAreOneDisplayThatIsUpdated(t *testing.T) {
	installing := &wire.Progress{
		RunID: "r", Stage: wire.StageInstalling, Percent: percent(60), Elapsed: 6200, Remaining: number(4100),
		Done: number(3), Total: number(5), Unit: "packages",
	}
	completed := &wire.Progress{RunID: "r", Stage: wire.StageCompleted, Message: "Installed 5 packages in 10.3 s", Elapsed: 10300}
	c, sess, _ := start(t, kerneltest.Config{Handler: func(r *kerneltest.Run) {
		r.Progress(true, &wire.Progress{RunID: "r", Stage: wire.StageUploading, Elapsed: 12})
		r.Progress(false, installing)
		r.Publish(&protocol.Stream{Name: protocol.Stdout, Text: "x"})
		r.Progress(false, completed)
		r.OK()
	}}, nil)
	m, _ := c.Execute("x")
	c.Expect(m, "iopub status busy", "iopub display_data", "iopub update_display_data", "iopub stream",
		"iopub update_display_data", "shell execute_reply ok", "iopub status idle")
	ids := map[string]bool{}
	var shown []shownProgress
	for i, r := range c.Messages(m) {
		if !strings.Contains(r.Header.MsgType, "display_data") {
			continue
		}
		if want := (&wire.Frame{Cursor: cursor(uint64(i) + 1)}).MsgID(sess.ID()); r.Header.MsgID != want {
			t.Errorf("msg_id = %q, want that of the frame, %q", r.Header.MsgID, want)
		}
		var d shownProgress
		c.Decode(r, &d)
		if d.Metadata == nil {
			t.Errorf("%s has no metadata", r.Header.MsgType)
		}
		ids[d.Transient.DisplayID] = true
		shown = append(shown, d)
	}
	if id := "gokernel-progress-" + sess.Requests()[0].ID; len(ids) != 1 || !ids[id] {
		t.Errorf("display ids = %v, want %q only", ids, id)
	}
	if got, want := shown[1].Data.Plain, "Installing packages: 3 of 5 (60 %), about 4 s left"; got != want {
		t.Errorf("text = %q, want %q", got, want)
	}
	if got := shown[1].Data.HTML; !strings.Contains(got, `<progress max="100" value="60.0"`) || !strings.Contains(got, "3 of 5 (60 %)") {
		t.Errorf("HTML = %q, want a bar at 60 and the text", got)
	}
	for i, want := range []*wire.Progress{installing, completed} {
		if got := shown[i+1].Data.Progress; mustJSON(t, got) != mustJSON(t, want) {
			t.Errorf("object for programs = %s, want %s", mustJSON(t, got), mustJSON(t, want))
		}
	}
	last := shown[2].Data
	if last.Plain != completed.Message || strings.Contains(last.HTML, "progress") || strings.Count(last.HTML, "<") != 2 {
		t.Errorf("the end = %q and %q, want the agent's sentence as one line", last.Plain, last.HTML)
	}
	sess.WaitAcked(t)
}

func mustJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// Packages are named by whoever publishes them.
func TestNamesInStageReportsCannotWriteMarkup(t *testing.T) {
	tag := regexp.MustCompile(`<[^>]*>`)
	for _, name := range []string{
		`<script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`, `</span></div><style>*{display:none}</style>`,
		"a\nb\x1b[2J\u202egnp.exe", `&lt;b&gt;`, strings.Repeat("<b>", 1000), `' onmouseover='x`,
	} {
		for _, stage := range []wire.Stage{wire.StageInstalling, wire.StageFailed} {
			c, _, _ := start(t, kerneltest.Config{Handler: func(r *kerneltest.Run) {
				r.Progress(true, &wire.Progress{
					RunID: "r", Stage: stage, Message: name, Percent: percent(5), Done: number(1), Total: number(20), Unit: name,
				})
				r.OK()
			}}, nil)
			m, _ := c.Execute("x")
			var d shownProgress
			c.Decode(c.Messages(m)[1], &d)
			for _, found := range tag.FindAllString(d.Data.HTML, -1) {
				switch word := strings.Fields(strings.Trim(found, "<>/"))[0]; word {
				case "div", "span", "progress":
					if strings.ContainsAny(strings.TrimPrefix(found, "</"), "'") || strings.Contains(found, "on") && strings.Contains(found, "=x") {
						t.Errorf("%q became the tag %q", name, found)
					}
				default:
					t.Errorf("%q became the tag %q", name, found)
				}
			}
			if strings.ContainsAny(d.Data.Plain, "\n\x1b\u202e") || strings.ContainsAny(d.Data.HTML, "\n\x1b\u202e") {
				t.Errorf("%q became %q and %q, want no control characters", name, d.Data.Plain, d.Data.HTML)
			}
			if n := len([]rune(d.Data.Plain)); n > 600 {
				t.Errorf("%d characters are shown, want few", n)
			}
		}
	}
}

// AGENT 6: the display that an older front has shown is updated by a newer one.
func TestANewFrontUpdatesTheDisplayOfTheOldOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		goOn := make(chan struct{})
		sess := kerneltest.NewSession(t, kerneltest.Config{Kept: true, Handler: func(r *kerneltest.Run) {
			r.Progress(true, &wire.Progress{RunID: "r", Stage: wire.StageInstalling}) // frame 2, after busy
			r.Wait(goOn)
			r.Progress(false, &wire.Progress{RunID: "r", Stage: wire.StageCompleted, Message: "Installed 1 package in 2 s"})
			r.OK()
		}})
		first := newTracker()
		ctx, cancel := context.WithCancelCause(t.Context())
		done := make(chan error)
		go func() { done <- kernel.New(sess, nil).Serve(ctx, first) }()
		first.subscribe(1)
		first.request(t, protocol.Shell, execute("a"), "c", "")
		wantAcked(t, sess, 2)
		cancel(errTestOver)
		if err := <-done; !errors.Is(err, errTestOver) {
			t.Fatalf("Serve = %v, want its context's cause", err)
		}
		close(goOn) // nobody looks
		synctest.Wait()

		sess.Reattach()
		second := newTracker()
		serve(t, sess, second, nil)
		second.subscribe(1)
		time.Sleep(time.Second)
		wantAcked(t, sess, 5)
		if got, want := second.types(&second.iopub), []string{"update_display_data", "status"}; !slices.Equal(got, want) {
			t.Fatalf("the second front published %q, want %q", got, want)
		}
		var before, after shownProgress
		for m, d := range map[*protocol.Message]*shownProgress{first.iopub[1]: &before, second.iopub[0]: &after} {
			if err := json.Unmarshal(m.Content, d); err != nil {
				t.Fatal(err)
			}
		}
		if before.Transient.DisplayID != after.Transient.DisplayID || before.Transient.DisplayID == "" {
			t.Errorf("display ids = %q and %q, want the same", before.Transient.DisplayID, after.Transient.DisplayID)
		}
		if got := second.iopub[0].Header.MsgID; got != "fake-1-3" {
			t.Errorf("msg_id = %q, want fake-1-3", got)
		}
	})
}

func TestFramesThatAreNoMessagesAreAcknowledgedAndNotShown(t *testing.T) {
	c, sess, _ := start(t, kerneltest.Config{Handler: func(r *kerneltest.Run) {
		for _, f := range []wire.Frame{
			{Kind: wire.KindTransfer, MsgType: wire.MsgNeed, Content: []byte(`{"files":[0]}`)},
			{Kind: wire.KindProgress, MsgType: wire.MsgProgress, Content: []byte(`[`)},
			{Kind: wire.KindProgress, MsgType: "progress_new", Content: []byte(`{}`)},
			{Kind: "new", MsgType: "new", Content: []byte(`{}`)},
		} {
			f.Request, f.Channel, f.Parent = r.Request.ID, protocol.IOPub, r.Request.Origin.Header
			r.Emit(&f)
		}
		r.OK()
	}}, nil)
	m, _ := c.Execute("x")
	c.Expect(m, "iopub status busy", "shell execute_reply ok", "iopub status idle")
	sess.WaitAcked(t)
}
