package journal

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gokernel/gokernel/session/wire"
)

const childDir = "GOKERNEL_TEST_JOURNAL_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		appendForEver(dir)
	}
	os.Exit(m.Run())
}

// appendForEver is what a child process does until it is killed: it appends and
// says on its standard output which frame is stored.
func appendForEver(dir string) {
	j, err := Open(dir, &Options{Frames: 64 << 10, Streams: 256 << 10, Head: 4 << 10})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	for i := 0; ; i++ {
		f := status("r", "busy")
		switch i % 4 {
		case 1:
			f = stream("r", "stdout", strings.Repeat("x", i%5000))
		case 2:
			f = display("r", 5000)
		case 3:
			if i%32 == 3 {
				f = stream("r", "stderr", strings.Repeat("y", 300<<10)) // more than one write
			}
		}
		j.Append(f)
		if f.MsgType == "status" {
			fmt.Println(f.Number)
		}
	}
}

// AGENT 5: the journal survives the death of processes.
func TestKilledWhileAppending(t *testing.T) {
	// AGENT.md section 5: what is appended survives the death of the process.
	dir := t.TempDir()
	var want []wire.Cursor
	for round := range 4 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), childDir+"="+dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for n := 0; n < 100*(round+1) && lines.Scan(); n++ {
			var c wire.Cursor
			if _, err := fmt.Sscan(lines.Text(), &c.Number); err != nil {
				t.Errorf("child said %q", lines.Text())
				break
			}
			c.Epoch = uint64(2*round + 1)
			want = append(want, c)
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Error(err)
		}
		for lines.Scan() { // what it did before it died
			c := wire.Cursor{Epoch: uint64(2*round + 1)}
			if _, err := fmt.Sscan(lines.Text(), &c.Number); err == nil {
				want = append(want, c)
			}
		}
		_ = cmd.Wait() // it was killed

		var log testLog
		j := mustOpen(t, dir, &Options{Frames: 64 << 10, Streams: 256 << 10, Head: 4 << 10, Log: log.logger()})
		if got := j.Epoch(); got != uint64(2*round+2) {
			t.Fatalf("got epoch %d, want %d", got, 2*round+2)
		}
		frames := readAll(t, j, wire.Cursor{}, nil)
		got := cursorsOf(readAll(t, j, wire.Cursor{}, func(f *wire.Frame) bool { return f.MsgType == "status" }))
		// The last one may have been stored without being said, or half said.
		if len(got) > len(want) && len(got) <= len(want)+1 {
			want = append(want, got[len(got)-1])
		}
		if diff := cmp.Diff(got, want); diff != "" {
			t.Fatalf("round %d: frames that are never cut (-got +want):\n%s", round, diff)
		}
		if frames[len(frames)-1].Cursor != j.Last() {
			t.Errorf("got last %v, want %v", j.Last(), frames[len(frames)-1].Cursor)
		}
		if s := log.String(); strings.Contains(s, "not readable") || strings.Contains(s, "damaged") {
			t.Errorf("a kill damaged more than the end: %s", s)
		}
		_ = j.Close()
	}
}

// files returns the paths of a class's segments.
func files(t testing.TB, dir string, c class) []string {
	t.Helper()
	list, err := filepath.Glob(filepath.Join(dir, c.String()+"-*.log"))
	if err != nil || len(list) == 0 {
		t.Fatalf("no files of class %v (%v)", c, err)
	}
	return list
}

func TestDamagedFiles(t *testing.T) {
	// Append 20 status messages, damage the file, and see what is left.
	const n = 20
	size := func(b []byte) int { return (len(b) - segmentHeader) / n } // all records are equally long
	all := func() (list []uint64) {
		for i := range uint64(n) {
			list = append(list, i+1)
		}
		return list
	}
	without := func(gone ...int) (list []uint64) {
		for _, i := range all() {
			if !bytes.Contains([]byte(fmt.Sprint(gone)), []byte(fmt.Sprintf(" %d ", i))) {
				list = append(list, i)
			}
		}
		return list
	}
	for _, test := range []struct {
		name   string
		damage func([]byte) []byte
		want   []uint64
		warn   string
	}{
		{"nothing", func(b []byte) []byte { return b }, all(), ""},
		{"torn head", func(b []byte) []byte { return b[:len(b)-size(b)+10] }, without(0, 20, 0), "torn end"},
		{"torn body", func(b []byte) []byte { return b[:len(b)-3] }, without(0, 20, 0), "torn end"},
		{"zeros at the end", func(b []byte) []byte { return append(b, make([]byte, 1000)...) }, all(), "torn end"},
		{"last body wrong", func(b []byte) []byte { b[len(b)-2] ^= 1; return b }, without(0, 20, 0), "torn end"},
		{"head wrong", func(b []byte) []byte { b[segmentHeader+5*size(b)+recordHeader+3] ^= 1; return b }, without(0, 6, 0), "skipped"},
		{"length wrong", func(b []byte) []byte { b[segmentHeader+5*size(b)+9] ^= 0x40; return b }, without(0, 6, 0), "skipped"},
		{"body wrong", func(b []byte) []byte { b[segmentHeader+6*size(b)-2] ^= 1; return b }, without(0, 6, 0), "skipped"},
		{"first wrong", func(b []byte) []byte { b[segmentHeader] ^= 1; return b }, without(0, 1, 0), "skipped"},
		{"a record twice", func(b []byte) []byte {
			r := bytes.Clone(b[segmentHeader+2*size(b) : segmentHeader+3*size(b)])
			copy(b[segmentHeader+7*size(b):], r)
			return b
		}, without(0, 8, 0), "skipped"},
		{"no header", func(b []byte) []byte { b[0] = 0; return b }, nil, "put aside"},
		{"empty", func([]byte) []byte { return nil }, nil, ""},
		{"noise", func([]byte) []byte { return bytes.Repeat([]byte("noise"), 1000) }, nil, "put aside"},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			j := mustOpen(t, dir, nil)
			for range n {
				j.Append(status("r", "busy"))
			}
			_ = j.Close()
			path := files(t, dir, classCore)[0]
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, test.damage(b), 0o600); err != nil {
				t.Fatal(err)
			}
			var log testLog
			j = mustOpen(t, dir, &Options{Log: log.logger()})
			if j.Epoch() != 2 {
				t.Errorf("got epoch %d, want 2", j.Epoch())
			}
			j.Append(status("r", "idle"))
			var got []uint64
			frames := readAll(t, j, wire.Cursor{}, nil)
			for _, f := range frames[:len(frames)-1] {
				got = append(got, f.Number)
			}
			if !reflect.DeepEqual(got, test.want) {
				t.Errorf("got frames %v, want %v", got, test.want)
			}
			if s := log.String(); (s != "") != (test.warn != "") || !strings.Contains(s, test.warn) {
				t.Errorf("got warnings %q, want %q", s, test.warn)
			}
			// And once more, now that something was appended after the damage.
			_ = j.Close()
			j = mustOpen(t, dir, nil)
			if again := readAll(t, j, wire.Cursor{}, nil); !reflect.DeepEqual(cursorsOf(again), cursorsOf(frames)) {
				t.Errorf("got %v after reopening, want %v", cursorsOf(again), cursorsOf(frames))
			}
		})
	}
}

func TestOutputThatLooksLikeARecordIsNone(t *testing.T) {
	// What code prints may be a record of another journal; after damage it is
	// searched through.
	other := t.TempDir()
	j := mustOpen(t, other, nil)
	for range 5 {
		j.Append(status("forged", "idle"))
	}
	_ = j.Close()
	forged, err := os.ReadFile(files(t, other, classCore)[0])
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	j = mustOpen(t, dir, nil)
	f := message("r", "error", nil)
	f.Buffers = [][]byte{forged}
	j.Append(f)
	j.Append(status("r", "idle"))
	_ = j.Close()
	path := files(t, dir, classCore)[0]
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[segmentHeader+8] ^= 0xff // length of the first record's head
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	j = mustOpen(t, dir, nil)
	frames := readAll(t, j, wire.Cursor{}, nil)
	if len(frames) != 1 || frames[0].Request != "r" || frames[0].Number != 2 {
		t.Errorf("got %v, want the second frame only", cursorsOf(frames))
	}
}

func TestDiedWhileCutting(t *testing.T) {
	// At each write of a cutting the process may die; nothing comes twice and
	// nothing is gone without a marker.
	for stop := range 16 {
		dir := t.TempDir()
		frozen := &failing{stopAfter: -1}
		j := mustOpenOn(t, dir, small(), frozen)
		total := 0
		for j.used[classStream] < 255<<10 {
			total += 500
			j.Append(stream("r", "stdout", strings.Repeat("x", 500)))
		}
		before := len(j.lists[classStream])
		frozen.set(stop)
		for range 20 {
			j.Append(stream("r", "stdout", strings.Repeat("x", 500)))
		}
		after := len(readAll(t, j, wire.Cursor{}, nil))
		_ = j.lock.Close() // as if it died: nothing is flushed
		j.closed = true

		k := mustOpen(t, dir, small())
		frames := readAll(t, k, wire.Cursor{}, nil)
		got := 0
		for _, f := range frames {
			if s := text(t, []*wire.Frame{f}); strings.Contains(s, "gokernel") {
				got += droppedBytes(t, s)
			} else {
				got += len(s)
			}
		}
		if got < total || got > total+20*500 || got%500 != 0 {
			t.Errorf("stop after %d: got %d bytes, %d frames of %d (%d files), want at least %d", stop, got, len(frames), after, before, total)
		}
	}
}

// failing is a disk that fails on demand.
type failing struct {
	disk
	mu        sync.Mutex
	full      bool
	stopAfter int // writes; negative: never
	writes    int
}

var errFull = errors.New("no space left on device")

func (d *failing) set(stopAfter int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stopAfter = stopAfter
}

func (d *failing) setFull(full bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.full = full
}

func (d *failing) check() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.full || d.stopAfter == 0 {
		return errFull
	}
	if d.stopAfter > 0 {
		d.stopAfter--
	}
	d.writes++
	return nil
}

func (d *failing) create(path string) (file, error) {
	if err := d.check(); err != nil {
		return nil, err
	}
	f, err := d.disk.create(path)
	return &failingFile{f, d}, err
}

func (d *failing) open(path string) (file, error) {
	f, err := d.disk.open(path)
	return &failingFile{f, d}, err
}

func (d *failing) replace(path string, b []byte) error {
	if err := d.check(); err != nil {
		return err
	}
	return d.disk.replace(path, b)
}

type failingFile struct {
	file
	disk *failing
}

func (f *failingFile) WriteAt(b []byte, off int64) (int, error) {
	if err := f.disk.check(); err != nil {
		n, _ := f.file.WriteAt(b[:len(b)/2], off) // as much as there was room for
		return n, err
	}
	return f.file.WriteAt(b, off)
}

// AGENT 5: a full disk means bounded memory, said once.
func TestFullDisk(t *testing.T) {
	// AGENT.md section 5: a full disk means bounded memory, said once.
	dir := t.TempDir()
	store := new(failing)
	store.set(-1)
	var said []error
	var j *Journal
	o := &Options{Memory: 64 << 10, Unwritten: 256 << 10, Retry: time.Nanosecond, OnError: func(err error) {
		said = append(said, err)
		j.Append(stream("", "stderr", "the disk is full\n"))
	}}
	j = mustOpenOn(t, dir, o, store)
	j.Append(request("r"))
	store.setFull(true)
	for i := range 3000 {
		j.Append(stream("r", "stdout", strings.Repeat("x", 999)+"\n"))
		if i%10 == 0 {
			j.Append(status("r", "busy"))
		}
	}
	if len(said) != 1 || !errors.Is(said[0], errFull) {
		t.Errorf("got errors %v, want one", said)
	}
	if got := j.recent.bytes; got > 300<<10 {
		t.Errorf("got %d bytes in memory, want at most 256 KiB", got)
	}
	check := func(when string, j *Journal) {
		t.Helper()
		frames := readAll(t, j, wire.Cursor{}, nil)
		marks, got, core := 0, 0, 0
		for _, f := range frames {
			switch s := text(t, []*wire.Frame{f}); {
			case strings.Contains(s, "gokernel"):
				marks++
				var n string
				if !strings.HasSuffix(s, "the journal could not be written]\n") {
					t.Errorf("%s: got marker %q", when, s)
				}
				if _, err := fmt.Sscanf(strings.TrimSpace(s), "[gokernel: %s bytes", &n); err != nil {
					t.Errorf("%s: marker %q: %v", when, s, err)
				}
				var d int
				_, _ = fmt.Sscan(strings.ReplaceAll(n, ",", ""), &d)
				got += d
			case f.Request == "r":
				got += len(s)
			}
			if f.MsgType == "status" {
				core++
			}
		}
		// The message of OnError may be among the dropped.
		if marks == 0 || marks > 2 || got < 3000*1000 || got > 3000*1000+20 || core != 300 {
			t.Errorf("%s: got %d bytes with %d markers and %d status messages, want 3000000, 1 and 300", when, got, marks, core)
		}
	}
	check("while full", j)
	store.setFull(false)
	j.Append(status("r", "idle"))
	check2 := func() {
		if !j.failed.IsZero() || j.recent.unwritten != len(j.recent.entries) {
			t.Errorf("got %d of %d frames written once there was room", j.recent.unwritten, len(j.recent.entries))
		}
	}
	check2()
	store.setFull(true)
	j.Append(stream("s", "stdout", "x"))
	if len(said) != 2 {
		t.Errorf("got %d errors, want the second time said too", len(said))
	}
	store.setFull(false)
	if err := j.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	j = mustOpen(t, dir, nil)
	frames := readAll(t, j, wire.Cursor{}, nil)
	idle := 0
	for _, f := range frames {
		if noteOf(f) == noteIdle {
			idle++
		}
	}
	if idle != 1 || frames[0].Kind != wire.KindRequest {
		t.Errorf("got %d idle messages of %d frames after reopening", idle, len(frames))
	}
	if n := len(markersOf(t, frames)); n == 0 || n > 2 {
		t.Errorf("got %d markers after reopening, want one or two", n)
	}
}

func TestFullDiskWithFramesThatAreNeverCut(t *testing.T) {
	store := new(failing)
	store.set(-1)
	j := mustOpenOn(t, t.TempDir(), &Options{Unwritten: 64 << 10, Retry: time.Hour}, store)
	store.setFull(true)
	for range 5000 {
		j.Append(status("r", "busy"))
	}
	if got := j.recent.bytes; got > 5*64<<10 {
		t.Errorf("got %d bytes in memory, want it bounded", got)
	}
	marks := markersOf(t, readAll(t, j, wire.Cursor{}, nil))
	if len(marks) != 1 || !strings.Contains(marks[0], "status) were dropped here; the journal could not be written") {
		t.Errorf("got markers %q, want one", marks)
	}
	if err := j.Close(); err == nil {
		t.Error("close said nothing of the frames that were not written")
	}
}

func TestDirectoryThatCannotBeMade(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var said []error
	j := mustOpen(t, filepath.Join(path, "journal"), &Options{Retry: time.Nanosecond, OnError: func(err error) { said = append(said, err) }})
	j.Append(status("r", "busy"))
	j.SaveCursor("kernel", j.Last(), nil)
	if len(said) != 1 {
		t.Errorf("got errors %v, want one", said)
	}
	if got := readAll(t, j, wire.Cursor{}, nil); len(got) != 1 {
		t.Errorf("got %d frames, want the one in memory", len(got))
	}
	if c, _ := j.LoadCursor("kernel"); c != j.Last() {
		t.Errorf("got cursor %v, want %v", c, j.Last())
	}
	// Once the directory can be made, what waited is written.
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	j.Append(status("r", "idle"))
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	j = mustOpen(t, filepath.Join(path, "journal"), nil)
	if got := readAll(t, j, wire.Cursor{}, nil); len(got) != 2 {
		t.Errorf("got %d frames on disk, want 2", len(got))
	}
}

func FuzzScanner(f *testing.F) {
	m := mark{1, 2, 3, 4, 5, 6, 7, 8}
	var file []byte
	for i, frame := range allKinds() {
		frame.Cursor = wire.Cursor{Epoch: 1, Number: uint64(i + 1)}
		if frame.Size() > 1000 {
			continue
		}
		file, _ = appendRecord(file, m, frame)
		file = append(append(append(file, frame.Parent...), frame.Metadata...), frame.Content...)
	}
	f.Add(file)
	f.Add(file[100:])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		sc := newScanner(bytes.NewReader(b), m, 0, int64(len(b)))
		var last wire.Cursor
		for {
			var rec record
			if err := sc.next(&rec); err != nil {
				break
			}
			if !last.Before(rec.frame.Cursor) || rec.end > int64(len(b)) {
				t.Fatalf("got %v up to byte %d of %d after %v", rec.frame.Cursor, rec.end, len(b), last)
			}
			last = rec.frame.Cursor
			if g, err := sc.load(&rec); err == nil && g.Size() != rec.size() {
				t.Fatalf("got size %d, want %d", g.Size(), rec.size())
			}
		}
	})
}

func FuzzDecodeHead(f *testing.F) {
	m := mark{1}
	for _, frame := range allKinds() {
		frame.Cursor = wire.Cursor{Epoch: 1, Number: 1}
		b, body := appendRecord(nil, m, frame)
		f.Add(b[recordHeader:], body)
	}
	f.Fuzz(func(t *testing.T, b []byte, body int64) {
		if body < 0 {
			return
		}
		r := record{end: body}
		if decodeHead(&r, b) != nil {
			return
		}
		var sum uint64
		for _, n := range r.parts {
			sum += n
		}
		if sum != uint64(body) || len(r.parts) < 3 {
			t.Fatalf("got parts %v of a body of %d bytes", r.parts, body)
		}
	})
}
