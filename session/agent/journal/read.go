package journal

import (
	"errors"
	"fmt"
	"io"
	"sort"
	"syscall"

	"github.com/gokernel/gokernel/session/wire"
)

// Next returns frames after a cursor, in order, for which match says yes; nil
// matches all. It stops before their sizes together exceed maxBytes, but returns
// at least one if there is one; maxBytes 0 means 1 MiB. The second result is the
// cursor up to which it has looked: go on from there. No frames means that there
// is nothing more now; wait for [Journal.Changed].
//
// match is told what the frame is, but for some frames without their parts. It
// must not call the journal. Any cursor will do, also one of an older epoch or of
// a frame that was cut; one of an epoch that is still to come is taken for the
// beginning, for it is from a journal that is no more.
func (j *Journal) Next(after wire.Cursor, match func(*wire.Frame) bool, maxBytes int) ([]*wire.Frame, wire.Cursor) {
	if after.Epoch > j.epoch {
		after = wire.Cursor{}
	}
	if match == nil {
		match = func(*wire.Frame) bool { return true }
	}
	if maxBytes <= 0 {
		maxBytes = 1 << 20
	}
	b := batch{at: after, match: match, left: maxBytes}
	for {
		v := j.look(b.at)
		if b.at.Before(v.floor) {
			err := j.readDisk(v, &b)
			switch {
			case b.full:
				return b.frames, b.at
			case errors.Is(err, errGone):
				continue // it was cut meanwhile: look again
			case err != nil:
				j.opts.Log.Warn("journal cannot be read now", "error", err)
				return b.frames, b.at
			}
			b.pass(v.floor)
		}
		for _, e := range v.recent {
			if !b.take(e.frame) {
				return b.frames, b.at
			}
		}
		return b.frames, b.at
	}
}

// Get returns the frame with this cursor, or the marker that stands at its place.
func (j *Journal) Get(c wire.Cursor) (*wire.Frame, bool) {
	if c.Number == 0 {
		return nil, false
	}
	before := wire.Cursor{Epoch: c.Epoch, Number: c.Number - 1}
	frames, _ := j.Next(before, func(f *wire.Frame) bool { return !f.Before(c) }, 1)
	if len(frames) == 0 || frames[0].Cursor != c {
		return nil, false
	}
	return frames[0], true
}

// A batch collects frames for Next.
type batch struct {
	frames []*wire.Frame
	at     wire.Cursor // everything up to here is done
	match  func(*wire.Frame) bool
	left   int
	full   bool
}

// room reports whether a frame of this size still fits.
func (b *batch) room(size int) bool {
	b.full = b.full || len(b.frames) > 0 && size > b.left
	return !b.full
}

func (b *batch) add(f *wire.Frame) {
	b.frames = append(b.frames, f)
	b.left -= f.Size()
	b.at = f.Cursor
}

func (b *batch) pass(c wire.Cursor) {
	if b.at.Before(c) {
		b.at = c
	}
}

// take adds f if it matches and reports whether there is room for more.
func (b *batch) take(f *wire.Frame) bool {
	if !b.match(f) {
		b.at = f.Cursor
		return true
	}
	if !b.room(f.Size()) {
		return false
	}
	b.add(f)
	return true
}

// A view is the journal at a moment, from a cursor on.
type view struct {
	floor   wire.Cursor // everything after it is in recent
	recent  []entry
	lists   [classes][]extent
	markers []*marker
}

// An extent is a segment as it was at that moment.
type extent struct {
	*segment
	size int64
}

func (j *Journal) look(after wire.Cursor) *view {
	j.mu.Lock()
	defer j.mu.Unlock()
	v := &view{floor: j.recent.floor, recent: j.recent.after(after)}
	if !after.Before(v.floor) {
		return v
	}
	for c, list := range j.lists {
		// Begin with the last segment that begins at or before the cursor.
		i := sort.Search(len(list), func(i int) bool { return after.Before(list[i].first) })
		for _, s := range list[max(i-1, 0):] {
			if v.floor.Before(s.first) {
				break
			}
			v.lists[c] = append(v.lists[c], extent{s, s.size})
		}
	}
	i := sort.Search(len(j.markers), func(i int) bool { return after.Before(j.markers[i].At) })
	v.markers = j.markers[i:]
	return v
}

// readDisk adds to b the frames and markers up to v.floor.
func (j *Journal) readDisk(v *view, b *batch) error {
	var sources [classes]*source
	for c := range classes {
		sources[c] = &source{j: j, list: v.lists[c], after: b.at}
		defer sources[c].close()
		if err := sources[c].advance(); err != nil {
			return err
		}
	}
	marks := v.markers
	for {
		var src *source
		next := v.floor
		for _, s := range sources {
			if s.ok && (!next.Before(s.rec.frame.Cursor)) {
				src, next = s, s.rec.frame.Cursor
			}
		}
		if len(marks) > 0 && !next.Before(marks[0].At) {
			m := marks[0]
			marks = marks[1:]
			if b.at.Before(m.At) && !b.take(m.frame(j.opts)) {
				return nil
			}
			continue
		}
		if src == nil {
			return nil
		}
		if err := src.give(b); err != nil || b.full {
			return err
		}
	}
}

// A source reads the records of one class in order, after a cursor.
type source struct {
	j     *Journal
	list  []extent // not begun yet
	after wire.Cursor
	open  *segment // acquired
	sc    *scanner
	rec   record
	ok    bool // rec is a record
}

func (s *source) close() {
	if s.open != nil {
		s.open.release()
		s.open, s.sc = nil, nil
	}
}

// advance moves to the next record after the cursor.
func (s *source) advance() error {
	s.ok = false
	for {
		if s.sc == nil {
			if len(s.list) == 0 {
				return nil
			}
			e := s.list[0]
			if err := s.begin(e); err != nil {
				if !s.j.unreadable(e.segment, err) {
					return err
				}
				s.list = s.list[1:]
				continue
			}
			s.list = s.list[1:]
		}
		err := s.sc.next(&s.rec)
		if err != nil {
			seg := s.open
			s.close()
			if !errors.Is(err, io.EOF) && !s.j.unreadable(seg, err) {
				return err
			}
			continue
		}
		if s.after.Before(s.rec.frame.Cursor) {
			s.after = s.rec.frame.Cursor
			s.ok = true
			return nil
		}
	}
}

func (s *source) begin(e extent) error {
	if err := e.index(e.size, s.j.opts.Log); err != nil {
		return err
	}
	f, err := e.acquire()
	if err != nil {
		return err
	}
	s.open = e.segment
	s.sc = newScanner(f, e.mark, e.seek(s.after), e.size)
	return nil
}

// give adds the record to b if it matches and fits, and moves on.
func (s *source) give(b *batch) error {
	if b.at.Before(s.rec.frame.Cursor) && b.match(&s.rec.frame) {
		if !b.room(s.rec.size()) {
			return nil
		}
		f, err := s.sc.load(&s.rec)
		switch {
		case err == nil:
			b.add(f)
		case errors.Is(err, errRecord):
			s.j.opts.Log.Warn("a frame in the journal is damaged and was skipped", "file", s.open.path, "error", err)
		case !s.j.unreadable(s.open, err):
			return err
		}
	}
	b.pass(s.rec.frame.Cursor)
	return s.advance()
}

// unreadable reports whether a segment will not be readable later either, and
// says so. A reader then goes on behind it.
func (j *Journal) unreadable(s *segment, err error) bool {
	if errors.Is(err, errGone) {
		return false
	}
	for _, passing := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.EINTR} {
		if errors.Is(err, passing) {
			return false
		}
	}
	j.opts.Log.Warn("a journal file cannot be read and is skipped", "file", s.path, "error", fmt.Errorf("read journal: %w", err))
	return true
}
