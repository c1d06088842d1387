package journal

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gokernel/gokernel/protocol"
	"github.com/gokernel/gokernel/session/wire"
)

// testLog collects what a journal warns about.
type testLog struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *testLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *testLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *testLog) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

func mustOpen(t testing.TB, dir string, o *Options) *Journal {
	t.Helper()
	return mustOpenOn(t, dir, o, disk{})
}

func mustOpenOn(t testing.TB, dir string, o *Options, store storage) *Journal {
	t.Helper()
	j, err := open(dir, o, store)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = j.Close() })
	return j
}

func header(request string) []byte { return fmt.Appendf(nil, `{"msg_id":%q}`, request) }

func message(request, msgType string, content any) *wire.Frame {
	b, err := json.Marshal(content)
	if err != nil {
		panic(err)
	}
	return &wire.Frame{
		Kind: wire.KindMessage, Request: request, Owner: wire.KernelOwner, Channel: protocol.IOPub, MsgType: msgType,
		Time: time.UnixMicro(1700000000000000).UTC(), Parent: header(request), Content: b,
	}
}

func stream(request, name, text string) *wire.Frame {
	return message(request, "stream", protocol.Stream{Name: name, Text: text})
}

func status(request, state string) *wire.Frame {
	return message(request, "status", map[string]string{"execution_state": state})
}

func request(id string) *wire.Frame {
	f := message(id, "execute_request", map[string]string{"code": "1"})
	f.Kind, f.Channel, f.Identities = wire.KindRequest, protocol.Shell, [][]byte{[]byte("peer"), {0, 1}}
	return f
}

func reply(id string) *wire.Frame {
	f := message(id, "execute_reply", map[string]string{"status": "ok"})
	f.Channel, f.Identities = protocol.Shell, [][]byte{[]byte("peer"), {0, 1}}
	return f
}

func display(request string, size int) *wire.Frame {
	return message(request, "display_data", map[string]any{
		"data": map[string]string{"text/plain": strings.Repeat("d", size)}, "metadata": struct{}{},
	})
}

// readAll returns all frames after a cursor for which match says yes.
func readAll(t testing.TB, j *Journal, after wire.Cursor, match func(*wire.Frame) bool) []*wire.Frame {
	t.Helper()
	var all []*wire.Frame
	for {
		frames, next := j.Next(after, match, 0)
		for _, f := range frames {
			if !after.Before(f.Cursor) {
				t.Fatalf("got frame %v after %v, want a later one", f.Cursor, after)
			}
			after = f.Cursor
		}
		if next.Before(after) {
			t.Fatalf("got cursor %v, want not before the last frame, %v", next, after)
		}
		all, after = append(all, frames...), next
		if len(frames) == 0 {
			return all
		}
	}
}

func cursorsOf(frames []*wire.Frame) []wire.Cursor {
	list := []wire.Cursor{}
	for _, f := range frames {
		list = append(list, f.Cursor)
	}
	return list
}

func compareFrames(t testing.TB, got, want []*wire.Frame) {
	t.Helper()
	if diff := cmp.Diff(cursorsOf(got), cursorsOf(want)); diff != "" {
		t.Fatalf("frames (-got +want):\n%s", diff)
	}
	for i := range got {
		if !reflect.DeepEqual(got[i], want[i]) {
			t.Errorf("got %.500s, want %.500s", fmt.Sprintf("%+v", got[i]), fmt.Sprintf("%+v", want[i]))
		}
	}
}

// text returns the text of the stream messages among frames.
func text(t testing.TB, frames []*wire.Frame) string {
	t.Helper()
	var b strings.Builder
	for _, f := range frames {
		if f.MsgType != "stream" {
			continue
		}
		var s protocol.Stream
		if err := json.Unmarshal(f.Content, &s); err != nil {
			t.Fatalf("content of %v: %v", f.Cursor, err)
		}
		b.WriteString(s.Text)
	}
	return b.String()
}

// diskSize returns how many bytes the files in dir have together.
func diskSize(t testing.TB, dir string) int64 {
	t.Helper()
	var n int64
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if info, err := e.Info(); err == nil {
			n += info.Size()
		}
	}
	return n
}

func allKinds() []*wire.Frame {
	big := display("r2", 300<<10)
	big.Buffers = [][]byte{bytes.Repeat([]byte{7}, 400<<10), {}, []byte("x")}
	return []*wire.Frame{
		request("r1"), status("r1", "busy"), message("r1", "execute_input", map[string]any{"code": "1", "execution_count": 1}),
		stream("r1", "stdout", "one\n"), stream("r1", "stderr", "two\n"), display("r1", 10), reply("r1"), status("r1", "idle"),
		{Kind: wire.KindProgress, Request: "run", Owner: "run", Channel: protocol.IOPub, MsgType: "progress", Time: time.UnixMicro(1).UTC(), Content: []byte(`{"stage":"executing"}`)},
		big, stream("", "stdout", "late\n"),
	}
}

func TestFramesComeBackAsTheyWere(t *testing.T) {
	// DESIGN.md section 3, AGENT.md section 5: frames are numbered and kept.
	dir := t.TempDir()
	j := mustOpen(t, dir, nil)
	want := allKinds()
	for i, f := range want {
		j.Append(f)
		if f.Cursor != (wire.Cursor{Epoch: 1, Number: uint64(i + 1)}) {
			t.Fatalf("got cursor %v for frame %d", f.Cursor, i)
		}
	}
	compareFrames(t, readAll(t, j, wire.Cursor{}, nil), want)
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	j = mustOpen(t, dir, nil)
	got := readAll(t, j, wire.Cursor{}, nil)
	want[9].Buffers[1] = nil // empty and nil are the same
	compareFrames(t, got, want)
	if got := j.Last(); got != want[len(want)-1].Cursor {
		t.Errorf("got last %v, want %v", got, want[len(want)-1].Cursor)
	}
	for _, w := range want {
		f, ok := j.Get(w.Cursor)
		if !ok || !reflect.DeepEqual(f, w) {
			t.Errorf("got another frame for %v (%v)", w.Cursor, ok)
		}
	}
	if f, ok := j.Get(wire.Cursor{Epoch: 1, Number: 99}); ok {
		t.Errorf("got %v, want no frame 99", f.Cursor)
	}
}

// AGENT 2: the journal is 0600.
func TestFilesAreForTheOwnerOnly(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "journal")
	j := mustOpen(t, dir, nil)
	for _, f := range allKinds() {
		j.Append(f)
	}
	j.SaveCursor("kernel", j.Last(), nil)
	info, err := os.Stat(dir)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o700 {
		t.Errorf("got mode %v of the directory, want 0700", info.Mode())
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) < 5 {
		t.Errorf("got %d files, want more", len(entries))
	}
	for _, e := range entries {
		if info, err := e.Info(); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("got mode %v of %s, want 0600 (%v)", info.Mode(), e.Name(), err)
		}
	}
}

func TestNextTellsWhereItHasLooked(t *testing.T) {
	for _, where := range []string{"memory", "disk"} {
		t.Run(where, func(t *testing.T) {
			dir := t.TempDir()
			j := mustOpen(t, dir, nil)
			for i := range 10 {
				f := stream("r", "stdout", strings.Repeat("x", 100))
				if i >= 5 {
					f.Owner = "run"
				}
				j.Append(f)
			}
			if where == "disk" {
				_ = j.Close()
				j = mustOpen(t, dir, nil)
			}
			at := func(n uint64) wire.Cursor { return wire.Cursor{Epoch: 1, Number: n} }
			size := stream("r", "stdout", strings.Repeat("x", 100)).Size()
			kernel := func(f *wire.Frame) bool { return f.Owner == wire.KernelOwner }
			run := func(f *wire.Frame) bool { return f.Owner == "run" }
			for _, test := range []struct {
				name  string
				after wire.Cursor
				match func(*wire.Frame) bool
				max   int
				want  []wire.Cursor
				at    wire.Cursor
			}{
				{"at least one", at(0), nil, 1, []wire.Cursor{at(1)}, at(1)},
				{"two fit", at(1), nil, 2*size + 1, []wire.Cursor{at(2), at(3)}, at(3)},
				{"others are passed over", at(3), kernel, 0, []wire.Cursor{at(4), at(5)}, at(10)},
				{"one of another owner", at(0), run, 1, []wire.Cursor{at(6)}, at(6)},
				{"none left", at(5), kernel, 0, []wire.Cursor{}, at(10)},
				{"at the end", at(10), nil, 0, []wire.Cursor{}, at(10)},
				{"beyond the end", at(11), nil, 0, []wire.Cursor{}, at(11)},
				{"of an epoch to come", wire.Cursor{Epoch: 9, Number: 3}, nil, 1, []wire.Cursor{at(1)}, at(1)},
			} {
				got, next := j.Next(test.after, test.match, test.max)
				if diff := cmp.Diff(cursorsOf(got), test.want); diff != "" || next != test.at {
					t.Errorf("%s: got %v up to %v, want %v up to %v", test.name, cursorsOf(got), next, test.want, test.at)
				}
			}
		})
	}
}

func TestChangedTellsOfEveryAppend(t *testing.T) {
	j := mustOpen(t, t.TempDir(), nil)
	a, b := j.Changed(), j.Changed()
	select {
	case <-a:
		t.Fatal("changed before anything was appended")
	default:
	}
	j.Append(status("", "starting"))
	<-a
	<-b
	select {
	case <-j.Changed():
		t.Fatal("changed by what was appended before the call")
	default:
	}
}

// AGENT 5: frames are numbered within an epoch, which a new agent begins.
func TestManyEpochs(t *testing.T) {
	dir := t.TempDir()
	var want []wire.Cursor
	const epochs = 50
	for i := range epochs {
		j := mustOpen(t, dir, nil)
		if got := j.Epoch(); got != uint64(i+1) {
			t.Fatalf("got epoch %d, want %d", got, i+1)
		}
		if i%5 != 4 { // an epoch without frames counts too
			for range 3 {
				f := stream("r", "stdout", "x")
				j.Append(f)
				want = append(want, f.Cursor)
				s := status("r", "busy")
				j.Append(s)
				want = append(want, s.Cursor)
			}
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
	}
	j := mustOpen(t, dir, nil)
	if diff := cmp.Diff(cursorsOf(readAll(t, j, wire.Cursor{}, nil)), want); diff != "" {
		t.Errorf("frames of all epochs (-got +want):\n%s", diff)
	}
	got := cursorsOf(readAll(t, j, wire.Cursor{Epoch: 40, Number: 1000}, nil))
	if diff := cmp.Diff(got, want[len(want)-8*6:]); diff != "" {
		t.Errorf("after the end of epoch 40 (-got +want):\n%s", diff)
	}
	entries, _ := os.ReadDir(dir)
	if len(entries) > 6 {
		t.Errorf("got %d files after %d epochs, want few", len(entries), epochs)
	}
}

func TestOneProcessOnly(t *testing.T) {
	dir := t.TempDir()
	j := mustOpen(t, dir, nil)
	if _, err := Open(dir, nil); err == nil || !strings.Contains(err.Error(), ErrLocked.Error()) {
		t.Errorf("got error %v, want %v", err, ErrLocked)
	}
	_ = j.Close()
	mustOpen(t, dir, nil)
}

func TestCursorsOutliveTheProcess(t *testing.T) {
	dir := t.TempDir()
	j := mustOpen(t, dir, nil)
	c, held := wire.Cursor{Epoch: 1, Number: 7}, []wire.Cursor{{Epoch: 1, Number: 3}}
	j.SaveCursor("kernel", c, held)
	j.SaveCursor("../run/1", wire.Cursor{Epoch: 1, Number: 2}, nil)
	_ = j.Close()
	j = mustOpen(t, dir, nil)
	if got, h := j.LoadCursor("kernel"); got != c || cmp.Diff(h, held) != "" {
		t.Errorf("got %v %v, want %v %v", got, h, c, held)
	}
	if got, _ := j.LoadCursor("../run/1"); got.Number != 2 {
		t.Errorf("got %v, want number 2", got)
	}
	if got, _ := j.LoadCursor("never"); !got.IsZero() {
		t.Errorf("got %v, want zero", got)
	}
	if err := os.WriteFile(filepath.Join(dir, "cursor-bad.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, _ := j.LoadCursor("bad"); !got.IsZero() {
		t.Errorf("got %v, want zero", got)
	}
}

func TestUnansweredRequests(t *testing.T) {
	// AGENT.md section 7: a new agent answers what died with the old one.
	dir := t.TempDir()
	j := mustOpen(t, dir, nil)
	for _, f := range []*wire.Frame{
		request("done"), request("running"), request("replied"), request("queued"),
		status("done", "busy"), stream("done", "stdout", "x"), reply("done"), status("done", "idle"),
		status("replied", "busy"), reply("replied"),
		status("running", "busy"),
	} {
		j.Append(f)
	}
	_ = j.Close()
	j = mustOpen(t, dir, nil)
	j.Append(request("new"))
	type row struct {
		ID               string
		Started, Replied bool
	}
	rows := func(j *Journal) []row {
		list := []row{}
		for _, u := range j.Unanswered() {
			list = append(list, row{u.Request.Request, u.Started, u.Replied})
			if len(u.Request.Identities) != 2 || len(u.Request.Content) == 0 {
				t.Errorf("request %s has lost its address or content", u.Request.Request)
			}
		}
		return list
	}
	want := []row{{"running", true, false}, {"replied", true, true}, {"queued", false, false}}
	if diff := cmp.Diff(rows(j), want); diff != "" {
		t.Errorf("unanswered (-got +want):\n%s", diff)
	}
	for _, r := range want {
		j.Append(status(r.ID, "idle"))
	}
	_ = j.Close()
	j = mustOpen(t, dir, nil)
	if diff := cmp.Diff(rows(j), []row{{"new", false, false}}); diff != "" {
		t.Errorf("unanswered later (-got +want):\n%s", diff)
	}
}

func BenchmarkAppend(b *testing.B) {
	for _, size := range []struct {
		name string
		n    int
	}{{"small", 300}, {"1MiB", 1 << 20}} {
		b.Run(size.name, func(b *testing.B) {
			j := mustOpen(b, b.TempDir(), nil)
			f := stream("0123456789abcdef", "stdout", strings.Repeat("x", size.n))
			b.SetBytes(int64(size.n))
			b.ReportAllocs()
			for b.Loop() {
				g := *f
				j.Append(&g)
			}
		})
	}
}

func BenchmarkNext(b *testing.B) {
	for _, where := range []string{"live", "replay"} {
		b.Run(where, func(b *testing.B) {
			dir := b.TempDir()
			j := mustOpen(b, dir, nil)
			const frames = 20000
			var start wire.Cursor
			for range frames {
				j.Append(stream("0123456789abcdef", "stdout", strings.Repeat("x", 300)))
			}
			if where == "live" {
				start = wire.Cursor{Epoch: 1, Number: frames - 1}
			}
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				n += len(readAll(b, j, start, nil))
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/frame")
		})
	}
}
