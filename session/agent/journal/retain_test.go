package journal

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gokernel/gokernel/protocol"
	"github.com/gokernel/gokernel/session/wire"
)

// small are budgets that a test fills soon. Nothing comes from memory.
func small() *Options {
	return &Options{Frames: 64 << 10, Streams: 256 << 10, Spilled: 300 << 10, Head: 8 << 10, Memory: 1}
}

func markersOf(t testing.TB, frames []*wire.Frame) []string {
	t.Helper()
	list := []string{}
	for _, f := range frames {
		if s := text(t, []*wire.Frame{f}); strings.Contains(s, "[gokernel: ") {
			list = append(list, strings.TrimSpace(s))
		}
	}
	return list
}

// droppedBytes returns the number in a marker for a stream.
func droppedBytes(t testing.TB, marker string) int {
	t.Helper()
	m := regexp.MustCompile(`\[gokernel: ([\d,]+) bytes of output were dropped here; the journal keeps 256 KiB\]`).FindStringSubmatch(marker)
	if m == nil {
		t.Fatalf("got marker %q", marker)
	}
	n, err := strconv.Atoi(strings.ReplaceAll(m[1], ",", ""))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// AGENT 5: past their budget streams keep their head and their tail, with a marker
// between.
func TestStreamsKeepHeadAndTail(t *testing.T) {
	// AGENT.md section 5: past the budget streams keep head and tail, with a
	// marker that says how much is missing.
	dir := t.TempDir()
	j := mustOpen(t, dir, small())
	j.Append(request("r"))
	j.Append(status("r", "busy"))
	var all strings.Builder
	const lines = 20000
	for i := range lines {
		line := fmt.Sprintf("line %d says é \"quoted\"\n", i)
		all.WriteString(line)
		j.Append(stream("r", "stdout", line))
	}
	j.Append(reply("r"))
	j.Append(status("r", "idle"))

	check := func(j *Journal) {
		t.Helper()
		frames := readAll(t, j, wire.Cursor{}, nil)
		marks := markersOf(t, frames)
		if len(marks) != 1 {
			t.Fatalf("got %d markers %q, want one", len(marks), marks)
		}
		head, tail, _ := strings.Cut(text(t, frames), "\n"+marks[0]+"\n")
		if !strings.HasPrefix(all.String(), head) || len(head) < 7<<10 || len(head) > 8<<10 {
			t.Errorf("got a head of %d bytes, want the first 8 KiB", len(head))
		}
		if !strings.HasSuffix(all.String(), tail) || len(tail) < 16<<10 {
			t.Errorf("got a tail of %d bytes, want the end of the output", len(tail))
		}
		if got, want := droppedBytes(t, marks[0]), all.Len()-len(head)-len(tail); got != want {
			t.Errorf("got %d bytes dropped in the marker, want %d", got, want)
		}
		types := map[string]int{}
		for _, f := range frames {
			types[f.MsgType]++
			if f.MsgType == "stream" && (f.Request != "r" || f.Owner != wire.KernelOwner || string(f.Parent) != string(header("r"))) {
				t.Fatalf("got a stream of request %q, owner %q, parent %s", f.Request, f.Owner, f.Parent)
			}
		}
		if types["execute_request"] != 1 || types["status"] != 2 || types["execute_reply"] != 1 {
			t.Errorf("got %v, want request, both status and reply", types)
		}
	}
	check(j)
	if got := diskSize(t, dir); got > 300<<10 {
		t.Errorf("got %d bytes on disk, want them freed", got)
	}
	if got := j.Bytes(); got > 270<<10 || got < 200<<10 {
		t.Errorf("got %d bytes counted, want about the budget", got)
	}
	_ = j.Close()
	j = mustOpen(t, dir, small())
	check(j)
	if got := diskSize(t, dir); got > 300<<10 {
		t.Errorf("got %d bytes on disk after reopening", got)
	}
}

func TestHeadsOfManyRequestsGoToo(t *testing.T) {
	// Heads alone may not use up the budget, and the marker moves with them.
	dir := t.TempDir()
	j := mustOpen(t, dir, small())
	total := 0
	for r := range 300 {
		id := fmt.Sprintf("r%d", r)
		for range 5 {
			total += 1000
			j.Append(stream(id, "stderr", strings.Repeat("e", 999)+"\n"))
		}
	}
	frames := readAll(t, j, wire.Cursor{}, nil)
	got, dropped := 0, 0
	for _, f := range frames {
		var s protocol.Stream
		if err := json.Unmarshal(f.Content, &s); err != nil {
			t.Fatal(err)
		}
		if s.Name != "stderr" {
			t.Fatalf("got stream %q, want stderr", s.Name)
		}
		if strings.Contains(s.Text, "gokernel") {
			dropped += droppedBytes(t, s.Text)
		} else {
			got += len(s.Text)
		}
	}
	if got+dropped != total {
		t.Errorf("got %d bytes and %d dropped, want %d together", got, dropped, total)
	}
	if used := j.used[classStream]; used > 256<<10 {
		t.Errorf("got %d bytes used, want at most the budget", used)
	}
	if first := frames[len(frames)-1]; first.Number != 1500 {
		t.Errorf("got last frame %v, want the newest", first.Cursor)
	}
}

// AGENT 5: other outputs go oldest first, with a marker; what is never cut stays.
func TestOutputsGoOldestFirst(t *testing.T) {
	// AGENT.md section 5: other outputs go oldest first; what is never cut stays.
	dir := t.TempDir()
	j := mustOpen(t, dir, small())
	var never []wire.Cursor
	for i := range 200 {
		id := fmt.Sprintf("r%d", i/10)
		for _, f := range []*wire.Frame{
			request(id), status(id, "busy"), message(id, "execute_input", map[string]int{"execution_count": i}),
			message(id, "error", map[string]string{"ename": "E"}), message(id, "comm_open", map[string]string{"comm_id": "c"}),
			message(id, "comm_close", map[string]string{"comm_id": "c"}), reply(id),
		} {
			j.Append(f)
			never = append(never, f.Cursor)
		}
		p := message(id, "input_request", map[string]string{"prompt": "?"})
		p.Channel = protocol.Stdin
		j.Append(p)
		never = append(never, p.Cursor)
		j.Append(display(id, 1000))
		j.Append(message(id, "comm_msg", map[string]string{"comm_id": "c"}))
	}
	_ = j.Close()
	j = mustOpen(t, dir, small())
	frames := readAll(t, j, wire.Cursor{}, nil)
	core := readAll(t, j, wire.Cursor{}, func(f *wire.Frame) bool {
		return f.MsgType != "display_data" && f.MsgType != "comm_msg" && f.MsgType != "stream"
	})
	if diff := cmp.Diff(cursorsOf(core), never); diff != "" {
		t.Fatalf("what is never cut (-got +want):\n%s", diff)
	}
	marks := markersOf(t, frames)
	if len(marks) < 10 {
		t.Fatalf("got markers %q, want one for each request that was cut", marks)
	}
	if want := "[gokernel: 20 messages of "; !strings.HasPrefix(marks[0], want) {
		t.Errorf("got marker %q, want %q...", marks[0], want)
	}
	if want := "(10 comm_msg, 10 display_data) were dropped here; the journal keeps 64 KiB]"; !strings.HasSuffix(marks[0], want) {
		t.Errorf("got marker %q, want ...%q", marks[0], want)
	}
	seen := 0
	for i := len(frames) - 1; i >= 0 && seen < 40; i-- {
		switch frames[i].MsgType {
		case "stream":
			t.Fatalf("a marker after %d of the newest outputs", seen)
		case "display_data", "comm_msg":
			seen++
		}
	}
	for _, f := range frames {
		if f.MsgType != "stream" {
			continue
		}
		if g, ok := j.Get(f.Cursor); !ok || g.MsgType != "stream" {
			t.Errorf("got no marker for %v", f.Cursor)
		}
	}
}

func TestReaderInsideWhatWasCutMeetsTheMarker(t *testing.T) {
	j := mustOpen(t, t.TempDir(), small())
	for range 5000 {
		j.Append(stream("r", "stdout", strings.Repeat("x", 99)+"\n"))
	}
	all := readAll(t, j, wire.Cursor{}, nil)
	var at uint64
	for _, f := range all {
		if strings.Contains(string(f.Content), "gokernel") {
			at = f.Number
		}
	}
	if at == 0 {
		t.Fatal("no marker")
	}
	for _, test := range []struct {
		after uint64
		want  int
	}{{0, 1}, {at / 2, 1}, {at - 1, 1}, {at, 0}, {at + 1, 0}, {4999, 0}} {
		got := readAll(t, j, wire.Cursor{Epoch: 1, Number: test.after}, nil)
		if n := len(markersOf(t, got)); n != test.want {
			t.Errorf("after %d: got %d markers, want %d", test.after, n, test.want)
		}
		if n := got[len(got)-1].Number; n != 5000 {
			t.Errorf("after %d: got last frame %d, want 5000", test.after, n)
		}
	}
}

// AGENT 5: a frame larger than the budget has a file of its own.
func TestHugeFrameSpills(t *testing.T) {
	// AGENT.md section 5: a frame above the budget gets a file of its own and
	// pushes nothing else out.
	dir := t.TempDir()
	j := mustOpen(t, dir, small())
	for range 10 {
		j.Append(display("r", 1000))
	}
	huge := display("r", 100<<10)
	j.Append(huge)
	j.Append(display("r", 1000))
	frames := readAll(t, j, wire.Cursor{}, nil)
	if len(frames) != 12 || len(markersOf(t, frames)) != 0 {
		t.Fatalf("got %d frames, markers %q, want all 12", len(frames), markersOf(t, frames))
	}
	for range 3 {
		j.Append(display("s", 100<<10))
	}
	_ = j.Close()
	j = mustOpen(t, dir, small())
	frames = readAll(t, j, wire.Cursor{}, nil)
	marks := markersOf(t, frames)
	if len(marks) != 2 || !strings.HasPrefix(marks[0], "[gokernel: 1 message of 102,") ||
		!strings.HasSuffix(marks[0], "(1 display_data) was dropped here; the journal keeps 300 KiB of large ones]") {
		t.Errorf("got markers %q, want two of one message", marks)
	}
	if frames[10].Cursor != huge.Cursor || len(frames) != 15 {
		t.Errorf("got %v of %d frames, want the marker where the frame was", frames[10].Cursor, len(frames))
	}
	if f := frames[14]; f.Size() < 100<<10 {
		t.Errorf("got a last frame of %d bytes, want the newest whole", f.Size())
	}
}

func TestManyMarkersBecomeFew(t *testing.T) {
	var ms markers
	dropped := 0
	for i := range 5000 {
		f := display(fmt.Sprintf("r%d", i), 10)
		f.Cursor = wire.Cursor{Epoch: 1, Number: uint64(i + 1)}
		if i%2 == 1 {
			f.Owner = fmt.Sprintf("run%d", i)
		} else {
			dropped++
		}
		ms.drop(keyOf(f, classOutput), f, 10, false)
		if i%100 == 0 {
			ms.list()
		}
	}
	list := ms.list()
	if len(list) > maxMarkers {
		t.Errorf("got %d markers, want at most %d", len(list), maxMarkers)
	}
	n := 0
	for i, m := range list {
		if m.Owner == wire.KernelOwner {
			n += m.Types["display_data"]
		}
		if i > 0 && !list[i-1].At.Before(m.At) {
			t.Fatalf("marker %v follows %v", m.At, list[i-1].At)
		}
	}
	if n != dropped {
		t.Errorf("got %d outputs of the kernel counted, want %d", n, dropped)
	}
}

func TestReadersWhileFramesAreCut(t *testing.T) {
	// Every reader gets each frame once and in order, or the marker for it, at
	// whatever pace, while one appends and cuts.
	j := mustOpen(t, t.TempDir(), &Options{Frames: 32 << 10, Streams: 64 << 10, Head: 2 << 10, Memory: 4 << 10})
	const n = 6000
	var wg sync.WaitGroup
	for r := range 3 {
		wg.Go(func() {
			var after wire.Cursor
			core := 0
			for after.Number < n {
				changed := j.Changed()
				frames, next := j.Next(after, nil, 1<<(10+2*r))
				for _, f := range frames {
					if !after.Before(f.Cursor) {
						t.Errorf("reader %d got %v after %v", r, f.Cursor, after)
						return
					}
					after = f.Cursor
					if f.MsgType == "status" {
						core++
					}
				}
				after = next
				if len(frames) == 0 {
					<-changed
				}
			}
			if core != n/3 {
				t.Errorf("reader %d got %d status messages, want %d", r, core, n/3)
			}
		})
	}
	for i := range n {
		switch i % 3 {
		case 0:
			j.Append(status("r", "busy"))
		case 1:
			j.Append(stream(fmt.Sprintf("r%d", i/500), "stdout", strings.Repeat("x", 300)))
		case 2:
			j.Append(display("r", 200))
		}
	}
	wg.Wait()
}

func TestTextSize(t *testing.T) {
	for _, s := range []string{"", "plain", "two\nlines\t\"x\" \\", "é\u2028<&>", "\x1b[31mred\x1b[0m", strings.Repeat("long\n", 2000)} {
		if got := textSize(stream("r", "stdout", s).Content); got != int64(len(s)) {
			t.Errorf("got %d for %.20q, want %d", got, s, len(s))
		}
	}
	if got := textSize([]byte(`{"name": "stdout", "text": "a\u00e9\ud83d\ude00"}`)); got != 7 {
		t.Errorf("got %d for escapes, want 7", got)
	}
	if got := textSize([]byte("{")); got != 1 {
		t.Errorf("got %d for no JSON, want its size", got)
	}
}
