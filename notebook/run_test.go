package notebook_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/gokernel/gokernel/kernel"
	"github.com/gokernel/gokernel/kernel/kerneltest"
	"github.com/gokernel/gokernel/notebook"
	"github.com/gokernel/gokernel/protocol"
	"github.com/gokernel/gokernel/session/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errTestOver = errors.New("the test is over")

// language is a small language: a line is a command with an argument.
func language(r *kerneltest.Run) {
	code, ok := r.Code()
	if !ok {
		r.OK()
		return
	}
	r.Publish(&protocol.ExecuteInput{Code: code, ExecutionCount: r.Count})
	for _, line := range strings.Split(code, "\n") {
		command, arg, _ := strings.Cut(line, " ")
		switch command {
		case "print":
			r.Publish(&protocol.Stream{Name: "stdout", Text: arg + "\n"})
		case "fail":
			r.Error("Failure", arg)
			return
		case "hang":
			<-r.Interrupted()
			r.Error("KeyboardInterrupt", "")
			return
		}
	}
	r.OK()
}

// start serves cfg with a real kernel and returns the client's end.
func start(t *testing.T, cfg kerneltest.Config) kernel.Conn {
	t.Helper()
	if cfg.Handler == nil {
		cfg.Handler = language
	}
	client, end := kernel.Pipe()
	ctx, cancel := context.WithCancelCause(context.Background())
	done := make(chan struct{})
	sess := kerneltest.NewSession(t, cfg)
	go func() {
		defer close(done)
		if err := kernel.New(sess, nil).Serve(ctx, end); err != nil && !errors.Is(err, errTestOver) {
			t.Errorf("Serve: %v", err)
		}
	}()
	t.Cleanup(func() {
		cancel(errTestOver)
		<-done
		for _, c := range []kernel.Conn{end, client} {
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		}
	})
	return client
}

// cells returns a notebook with a code cell for each source; "#tag,tag " at its
// start gives tags.
func cells(t *testing.T, sources ...string) *notebook.Notebook {
	t.Helper()
	nb := notebook.New()
	for i, source := range sources {
		var tags string
		if rest, ok := strings.CutPrefix(source, "#"); ok {
			tags, source, _ = strings.Cut(rest, " ")
		}
		c := nb.NewCell(notebook.Code, source)
		c.ID = fmt.Sprintf("c%d", i+1)
		if tags != "" {
			if err := c.Metadata.Set("tags", strings.Split(tags, ",")); err != nil {
				t.Fatal(err)
			}
		}
		nb.Cells = append(nb.Cells, c)
	}
	return nb
}

func run(t *testing.T, conn kernel.Conn, nb *notebook.Notebook, opts *notebook.Options) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), kerneltest.Timeout)
	defer cancel()
	return notebook.Run(ctx, conn, nb, opts)
}

// shown returns for each cell its count and outputs in a line.
func shown(nb *notebook.Notebook) []string {
	var lines []string
	for _, c := range nb.Cells {
		count := "-"
		if c.ExecutionCount != nil {
			count = fmt.Sprint(*c.ExecutionCount)
		}
		line := count
		for _, o := range c.Outputs {
			line += fmt.Sprintf(" %s:%s", o.Type, strings.TrimSpace(o.Text+o.EName+" "+o.EValue))
		}
		lines = append(lines, line)
	}
	return lines
}

func TestRun(t *testing.T) {
	const failed = "error:Failure boom"
	tests := []struct {
		name    string
		sources []string
		opts    notebook.Options
		want    []string
		err     string // "" for none
	}{
		{"all", []string{"print a\nprint b", "print c"}, notebook.Options{}, []string{"1 stream:a\nb", "2 stream:c"}, ""},
		{"empty ones", []string{"", " \n", "print c"}, notebook.Options{}, []string{"-", "-", "1 stream:c"}, ""},
		{"skipped", []string{"#skip-execution print a", "print b"}, notebook.Options{}, []string{"-", "1 stream:b"}, ""},
		{"first error", []string{"print a", "fail boom", "print c"}, notebook.Options{},
			[]string{"1 stream:a", "2 " + failed, "-"}, "cell 2 (id c2): Failure: boom"},
		{"errors allowed", []string{"fail boom", "print c"}, notebook.Options{AllowErrors: true}, []string{"1 " + failed, "2 stream:c"}, ""},
		{"error allowed by tag", []string{"#x,raises-exception fail boom", "fail boom", "print c"}, notebook.Options{},
			[]string{"1 " + failed, "2 " + failed, "-"}, "cell 2 (id c2): Failure: boom"},
		{"timeout", []string{"print a", "hang", "print c"}, notebook.Options{Timeout: 50 * time.Millisecond},
			[]string{"1 stream:a", "2 error:KeyboardInterrupt", "-"}, "cell 2 (id c2): timed out after 50ms"},
		{"timeout with errors allowed", []string{"#raises-exception hang", "print c"}, notebook.Options{Timeout: 50 * time.Millisecond, AllowErrors: true},
			[]string{"1 error:KeyboardInterrupt", "-"}, "cell 1 (id c1): timed out after 50ms"},
		{"no cells", nil, notebook.Options{}, nil, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			nb := cells(t, tt.sources...)
			err := run(t, start(t, kerneltest.Config{}), nb, &tt.opts)
			if tt.err == "" && err != nil || tt.err != "" && (err == nil || err.Error() != tt.err) {
				t.Errorf("Run error = %v, want %q", err, tt.err)
			}
			if diff := cmp.Diff(tt.want, shown(nb)); diff != "" {
				t.Errorf("cells (-want +got):\n%s", diff)
			}
			if err := nb.Validate(); err != nil {
				t.Errorf("what Run has written: %v", err)
			}
		})
	}
}

func TestRunErrorsCanBeTold(t *testing.T) {
	nb := cells(t, "print a", "fail boom")
	err := run(t, start(t, kerneltest.Config{}), nb, nil)
	var failed *notebook.CellError
	if !errors.As(err, &failed) {
		t.Fatalf("Run error = %v, want a CellError", err)
	}
	if failed.Index != 1 || failed.Cell != nb.Cells[1] || failed.EName != "Failure" || failed.EValue != "boom" {
		t.Errorf("CellError = %+v", failed)
	}
	err = run(t, start(t, kerneltest.Config{}), cells(t, "hang"), &notebook.Options{Timeout: time.Millisecond})
	var late *notebook.TimeoutError
	if !errors.As(err, &late) || !late.Stopped || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Run error = %v, want a TimeoutError of a cell that stopped", err)
	}
}

func TestRunWritesMetadata(t *testing.T) {
	nb := cells(t, "print a")
	spec := notebook.Kernelspec{Name: "mine", DisplayName: "Mine", Language: "fake"}
	if err := run(t, start(t, kerneltest.Config{}), nb, &notebook.Options{Kernelspec: spec}); err != nil {
		t.Fatal(err)
	}
	if got := nb.KernelName(); got != "mine" {
		t.Errorf("KernelName = %q, want mine", got)
	}
	if got := nb.Language(); got != "fake" {
		t.Errorf("Language = %q, want fake", got)
	}
	var times map[string]time.Time
	if !nb.Cells[0].Metadata.Get("execution", &times) {
		t.Fatalf("metadata.execution = %s, want times", nb.Cells[0].Metadata["execution"])
	}
	var keys []string
	for key := range times {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	want := []string{"iopub.execute_input", "iopub.status.busy", "iopub.status.idle", "shell.execute_reply"}
	if !slices.Equal(keys, want) {
		t.Errorf("times = %v, want %v", keys, want)
	}
	if times["iopub.status.idle"].Before(times["iopub.status.busy"]) {
		t.Errorf("idle at %v, before busy at %v", times["iopub.status.idle"], times["iopub.status.busy"])
	}

	err := run(t, start(t, kerneltest.Config{}), nb, &notebook.Options{Kernelspec: notebook.Kernelspec{Name: "other"}, NoTiming: true})
	if err != nil {
		t.Fatal(err)
	}
	if got := nb.KernelName(); got != "mine" {
		t.Errorf("KernelName after a run with another = %q, want it kept", got)
	}
}

func TestRunReportsProgress(t *testing.T) {
	nb := cells(t, "print a", "", "#raises-exception fail boom")
	var got []string
	names := []string{"started", "output", "finished", "skipped"}
	opts := &notebook.Options{Progress: func(e notebook.Event) {
		if e.Cell != nb.Cells[e.Index] {
			t.Errorf("event %+v has another cell than %d", e, e.Index)
		}
		if e.Elapsed < 0 || e.Kind == notebook.CellOutput && e.Output == nil {
			t.Errorf("event %+v", e)
		}
		got = append(got, fmt.Sprintf("%d %s %d/%d %v", e.Index, names[e.Kind], e.Done, e.Total, e.Err))
	}}
	if err := run(t, start(t, kerneltest.Config{}), nb, opts); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"0 started 0/2 <nil>", "0 output 0/2 <nil>", "0 finished 1/2 <nil>", "1 skipped 1/2 <nil>",
		"2 started 1/2 <nil>", "2 output 1/2 <nil>", "2 finished 2/2 cell 3 (id c3): Failure: boom",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

func TestRunIsCancelled(t *testing.T) {
	why := errors.New("the user has had enough")
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	nb := cells(t, "print a\nhang", "print b")
	opts := &notebook.Options{Progress: func(e notebook.Event) {
		if e.Kind == notebook.CellOutput {
			cancel(why)
		}
	}}
	err := notebook.Run(ctx, start(t, kerneltest.Config{}), nb, opts)
	if !errors.Is(err, why) || !strings.HasPrefix(err.Error(), "cell 1 (id c1): interrupted") {
		t.Errorf("Run error = %v, want one with the cause", err)
	}
	want := []string{"1 stream:a error:KeyboardInterrupt", "-"}
	if diff := cmp.Diff(want, shown(nb)); diff != "" {
		t.Errorf("cells (-want +got):\n%s", diff)
	}
}

func TestRunRefusesInput(t *testing.T) {
	cfg := kerneltest.Config{Handler: func(r *kerneltest.Run) {
		var req protocol.ExecuteRequest
		if err := json.Unmarshal(r.Request.Content, &req); err != nil || req.AllowStdin {
			t.Errorf("allow_stdin = %v (%v), want false", req.AllowStdin, err)
		}
		// A kernel that asks all the same.
		if _, err := r.Input("name? "); err == nil {
			t.Error("input was given")
		}
		r.Error("KeyboardInterrupt", "")
	}}
	nb := cells(t, "ask")
	err := run(t, start(t, cfg), nb, nil)
	var failed *notebook.CellError
	if !errors.As(err, &failed) || failed.EName != "KeyboardInterrupt" {
		t.Errorf("Run error = %v, want the cell interrupted", err)
	}
}

func TestRunInjectsParameters(t *testing.T) {
	var ran []string
	cfg := kerneltest.Config{
		Handler: func(r *kerneltest.Run) {
			if code, ok := r.Code(); ok {
				ran = append(ran, code)
			}
			r.OK()
		},
		Runner: func(context.Context) (*wire.Runner, error) {
			runner := kerneltest.Runner()
			runner.LanguageInfo.Name = "python"
			return runner, nil
		},
	}
	opts := &notebook.Options{Parameters: []notebook.Parameter{{Name: "x", Value: 2}}}
	if err := run(t, start(t, cfg), cells(t, "import a", "#parameters x = 1", "x"), opts); err != nil {
		t.Fatal(err)
	}
	want := []string{"import a", "x = 1", "# Parameters\nx = 2", "x"}
	if diff := cmp.Diff(want, ran); diff != "" {
		t.Errorf("code that ran (-want +got):\n%s", diff)
	}
	err := run(t, start(t, kerneltest.Config{}), cells(t, "x"), opts)
	if err == nil || !strings.Contains(err.Error(), `this one's language is "fake"`) {
		t.Errorf("Run error = %v, want parameters refused", err)
	}
}
