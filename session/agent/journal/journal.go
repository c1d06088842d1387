// Package journal keeps the frames of one session: all that clients are to see
// and all that was asked. One agent process appends, its links read. It is
// section 5 of docs/agent.md.
//
// Frames are numbered within an epoch; each [Open] begins a new one. They are
// kept until a budget is used up and never depend on who has read them. Outputs
// past their budget go oldest first, streams keep the first text of each request
// and what is newest; in place of what was cut a marker stands, a message that
// says what and how much. Requests, replies, prompts, status, execute_input,
// error, comm_open and comm_close are never cut.
//
// Files are written by plain writes without fsync: they survive the death of the
// process, not of the machine. When they cannot be written the newest frames
// stay in memory, which is bounded, and are written once that works again.
package journal

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/gokernel/gokernel/session/wire"
)

// ErrLocked is returned when another process has the journal open.
var ErrLocked = errors.New("journal is in use by another process")

// Options say how much a journal keeps. Zero values mean the defaults; all sizes
// are in bytes.
type Options struct {
	Frames  int64 // outputs other than streams on disk, 64 MiB
	Streams int64 // streams on disk, 1 GiB
	// Spilled is for outputs that are larger than Frames, or Streams, alone:
	// 1 GiB. The newest is kept whatever its size.
	Spilled int64
	// Head is how much of the first text of each request stays, 1 MiB.
	Head int64
	// Memory is for the newest frames, which are read without the disk, 4 MiB.
	Memory int
	// Unwritten is for frames in memory while the files cannot be written,
	// 8 MiB. What is never cut may take four times as much.
	Unwritten int
	// Retry is how long a journal waits after a failed write before the next
	// Append tries again, 1 s.
	Retry time.Duration
	// OnError is called when frames cannot be written, once until it works
	// again. It is called by Append or Open, and may itself append.
	OnError func(error)
	// Log receives warnings about damaged files; nil discards them.
	Log *slog.Logger
}

func (o *Options) withDefaults() *Options {
	c := Options{}
	if o != nil {
		c = *o
	}
	setDefault(&c.Frames, 64<<20)
	setDefault(&c.Streams, 1<<30)
	setDefault(&c.Spilled, 1<<30)
	setDefault(&c.Head, 1<<20)
	setDefault(&c.Memory, 4<<20)
	setDefault(&c.Unwritten, 8<<20)
	setDefault(&c.Retry, time.Second)
	if c.OnError == nil {
		c.OnError = func(error) {}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return &c
}

func setDefault[T int | int64 | time.Duration](v *T, value T) {
	if *v <= 0 {
		*v = value
	}
}

// A Journal is the journal of one session. Its methods are safe for concurrent
// use. It starts no goroutines.
type Journal struct {
	dir   string
	opts  *Options
	store storage
	epoch uint64
	lock  *os.File // nil while the directory cannot be written

	// writing is held by whoever appends or cuts; readers never take it.
	writing sync.Mutex
	number  uint64
	logs    [classes]log
	used    [classes]int64  // bytes on disk
	kept    uint64          // id of the last file of heads
	cut     [classes]uint64 // id of the last segment that was cut
	marks   markers
	heads   headList
	buf     []byte
	failed  time.Time  // when writing failed last; zero while it works
	pending error      // to be told to OnError
	gone    []*segment // cut, and to be removed once the manifest says so
	dirty   bool       // the manifest on disk is not the newest
	closed  bool

	// mu guards what readers see. It is held only for moments.
	mu      sync.Mutex
	recent  recent
	lists   [classes][]*segment // slices are replaced, never changed
	markers []*marker           // likewise
	bytes   int64               // on disk
	changed chan struct{}       // nil while nobody waits

	cursors cursors
}

// Open opens the journal in dir, or makes one, and begins a new epoch. Damage is
// repaired: a torn end is cut off, what cannot be read in the middle is skipped
// with a warning. A directory that cannot be written is reported to OnError and
// everything stays in memory. Open fails only with [ErrLocked].
func Open(dir string, opts *Options) (*Journal, error) {
	return open(dir, opts, disk{})
}

func open(dir string, opts *Options, store storage) (*Journal, error) {
	j := &Journal{dir: dir, opts: opts.withDefaults(), store: store}
	if err := j.takeLock(); errors.Is(err, ErrLocked) {
		return nil, err
	} else if err != nil {
		j.fail(err)
	}
	last := j.recover()
	j.recent.floor = last
	j.epoch = max(last.Epoch, j.readEpoch()) + 1
	if err := store.replace(j.path(epochFile), fmt.Appendf(nil, "%d\n", j.epoch)); err != nil {
		j.fail(fmt.Errorf("begin an epoch of the journal: %w", err))
	}
	j.report()
	return j, nil
}

func (j *Journal) path(name string) string { return filepath.Join(j.dir, name) }

// takeLock makes the directory and locks it.
func (j *Journal) takeLock() error {
	if err := os.MkdirAll(j.dir, 0o700); err != nil {
		return fmt.Errorf("create journal: %w", err)
	}
	if err := os.Chmod(j.dir, 0o700); err != nil {
		j.opts.Log.Warn("the journal's directory keeps its mode", "error", err)
	}
	f, err := os.OpenFile(j.path("lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("lock journal: %w", err)
	}
	err = lockFile(f)
	if errors.Is(err, ErrLocked) {
		_ = f.Close() // nothing was written
		return fmt.Errorf("open journal in %s: %w", j.dir, err)
	}
	if err != nil {
		j.opts.Log.Warn("the journal cannot be locked here", "error", err)
	}
	j.lock = f
	return nil
}

// Append numbers f, by setting its Cursor, and stores it. The journal then
// shares it: f and its slices must not be changed any more. Append never fails
// and never waits for readers; after Close it does nothing but number.
func (j *Journal) Append(f *wire.Frame) {
	j.writing.Lock()
	j.append(f)
	err := j.pending
	j.pending = nil
	j.writing.Unlock()
	if err != nil {
		j.opts.OnError(err)
	}
}

func (j *Journal) append(f *wire.Frame) {
	j.number++
	f.Cursor = wire.Cursor{Epoch: j.epoch, Number: j.number}
	if j.closed {
		return
	}
	c := j.place(f)
	var seg *segment
	var off, n int64
	if j.writable() {
		var err error
		if seg, off, n, err = j.write(f, c); err != nil {
			j.fail(err)
		}
	}
	j.mu.Lock()
	if seg != nil {
		j.grow(seg, f.Cursor, off, n)
	}
	j.recent.push(entry{frame: f, class: c}, seg != nil)
	j.recent.trim(j.opts.Memory)
	if seg == nil && j.recent.bytes > j.opts.Unwritten {
		j.recent.shed(j.opts.Unwritten, &j.marks, j.opts)
		j.markers = j.marks.list()
		j.dirty = true
	}
	if j.changed != nil {
		close(j.changed)
		j.changed = nil
	}
	j.mu.Unlock()
	if seg != nil {
		j.retain(c)
	}
}

// place returns the class where f is stored.
func (j *Journal) place(f *wire.Frame) class {
	c := classOf(f)
	if size := int64(f.Size()); c == classOutput && size > j.opts.Frames || c == classStream && size > j.opts.Streams {
		return classSpill
	}
	return c
}

// fail remembers that writing failed, to be told once.
func (j *Journal) fail(err error) {
	if j.failed.IsZero() {
		j.pending = err
		j.opts.Log.Warn("journal cannot be written; frames stay in memory", "error", err)
	}
	j.failed = time.Now()
}

func (j *Journal) report() {
	if err := j.pending; err != nil {
		j.pending = nil
		j.opts.OnError(err)
	}
}

// writable reports whether frames can be written. When that failed some time
// ago it tries with those that wait.
func (j *Journal) writable() bool {
	if j.failed.IsZero() {
		return true
	}
	if time.Since(j.failed) < j.opts.Retry {
		return false
	}
	return j.flush()
}

// flush writes what waits in memory and reports whether all is on disk.
func (j *Journal) flush() bool {
	if j.lock == nil {
		if err := j.takeLock(); err != nil {
			j.fail(err)
			return false
		}
	}
	for j.recent.unwritten < len(j.recent.entries) {
		e := j.recent.entries[j.recent.unwritten]
		var seg *segment
		var off, n int64
		if !e.marker {
			var err error
			if seg, off, n, err = j.write(e.frame, e.class); err != nil {
				j.fail(err)
				return false
			}
		}
		j.mu.Lock()
		if seg != nil {
			j.grow(seg, e.frame.Cursor, off, n)
		}
		j.recent.unwritten++
		j.mu.Unlock()
	}
	if j.dirty && !j.writeManifest() {
		return false
	}
	j.failed = time.Time{}
	j.opts.Log.Info("journal can be written again")
	for c := range classes {
		j.retain(c)
	}
	return true
}

// Changed returns a channel that is closed when something is appended after the
// call. To miss nothing, call it before Next.
func (j *Journal) Changed() <-chan struct{} {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.changed == nil {
		j.changed = make(chan struct{})
	}
	return j.changed
}

// Epoch returns the number of the epoch that Open began.
func (j *Journal) Epoch() uint64 { return j.epoch }

// Last returns the cursor of the newest frame; zero when there is none.
func (j *Journal) Last() wire.Cursor {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.lastLocked()
}

func (j *Journal) lastLocked() wire.Cursor {
	if n := len(j.recent.entries); n > 0 {
		return j.recent.entries[n-1].frame.Cursor
	}
	return j.recent.floor
}

// Bytes returns how much the frames take up on disk.
func (j *Journal) Bytes() int64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.bytes
}

// Close writes what waits in memory, if that is possible, and closes the files.
// The error says that something was not written. It is idempotent. Readers may
// go on reading.
func (j *Journal) Close() error {
	j.writing.Lock()
	defer j.writing.Unlock()
	if j.closed {
		return nil
	}
	j.closed = true
	var errs []error
	if !j.failed.IsZero() && !j.flush() {
		errs = append(errs, errors.New("close journal: the newest frames could not be written"))
	}
	if j.dirty && !j.writeManifest() {
		errs = append(errs, errors.New("close journal: the list of what was cut could not be written"))
	}
	for i := range j.logs {
		errs = append(errs, j.logs[i].close())
	}
	if j.lock != nil {
		errs = append(errs, j.lock.Close())
	}
	return errors.Join(errs...)
}
