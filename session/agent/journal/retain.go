package journal

import (
	"errors"
	"io"
	"slices"

	"github.com/gokernel/gokernel/session/wire"
)

// A headList says how much of the first text of requests has been kept, for the
// requests that cutting met last.
type headList []head

type head struct {
	Owner   string `json:"owner,omitempty"`
	Request string `json:"request"`
	Bytes   int64  `json:"bytes"`
}

const maxHeads = 128

// keep reports whether n more bytes of f's request belong to its head.
func (l *headList) keep(f *wire.Frame, n, limit int64) bool {
	i := slices.IndexFunc(*l, func(h head) bool { return h.Owner == f.Owner && h.Request == f.Request })
	h := head{Owner: f.Owner, Request: f.Request}
	if i >= 0 {
		h = (*l)[i]
		*l = slices.Delete(*l, i, i+1)
	}
	ok := h.Bytes+n <= limit
	if ok {
		h.Bytes += n
	} else {
		h.Bytes = limit + 1 // the first gap ends a head
	}
	if len(*l) >= maxHeads {
		*l = slices.Delete(*l, 0, 1)
	}
	*l = append(*l, h)
	return ok
}

// A cutting is a change to the files of a class that readers do not see yet.
type cutting struct {
	class class
	used  int64 // bytes on disk afterwards
	list  []*segment
	gone  []*segment
	sizes map[*segment]int64       // of files of heads that grow
	first map[*segment]wire.Cursor // of new ones
	heads log                      // where heads are appended
}

func (t *cutting) size(s *segment) int64 {
	if n, ok := t.sizes[s]; ok {
		return n
	}
	return s.size
}

// retain cuts what is over the budget of a class, with some room to spare, so
// that it need not be done at every append.
func (j *Journal) retain(c class) {
	budget := j.budget(c)
	if c == classCore || j.used[c] <= budget {
		return
	}
	goal := budget
	if c != classSpill {
		goal -= j.segmentSize(c)
	}
	t := &cutting{
		class: c, used: j.used[c], list: slices.Clone(j.lists[c]),
		sizes: make(map[*segment]int64), first: make(map[*segment]wire.Cursor),
	}
	for t.used > goal {
		i := j.oldest(t)
		if i < 0 {
			break
		}
		s := t.list[i]
		t.list = slices.Delete(t.list, i, i+1)
		t.gone = append(t.gone, s)
		t.used -= t.size(s)
		j.cutSegment(t, s)
	}
	_ = t.heads.close() // written, and whatever cannot be read later is skipped
	if len(t.gone) > 0 {
		j.publish(t)
	}
}

// oldest returns the index of the segment to cut next, or -1.
func (j *Journal) oldest(t *cutting) int {
	var kept int64
	raw := -1
	for i, s := range t.list {
		if s.kept {
			kept += t.size(s)
		} else if raw < 0 {
			raw = i
		}
	}
	if kept > j.budget(t.class)/4 && t.list[0] != t.heads.seg {
		return 0 // files of heads stand first
	}
	if raw >= 0 && t.list[raw] != j.logs[t.class].seg {
		return raw
	}
	return -1
}

// cutSegment moves the heads of streams in s to a file of heads and counts the
// rest as dropped.
func (j *Journal) cutSegment(t *cutting, s *segment) {
	if !s.kept {
		j.cut[s.class] = s.id
	}
	f, err := s.acquire()
	if err != nil {
		j.opts.Log.Warn("a journal file was cut unread", "file", s.path, "error", err)
		return
	}
	defer s.release()
	sc := newScanner(f, s.mark, segmentHeader, t.size(s))
	for {
		var rec record
		if err := sc.next(&rec); err != nil {
			if !errors.Is(err, io.EOF) {
				j.opts.Log.Warn("a journal file was cut unread", "file", s.path, "error", err)
			}
			return
		}
		frame, err := sc.load(&rec)
		if err != nil {
			frame = &rec.frame // all that is known of it
		}
		size := sizeOf(frame, t.class)
		if t.class == classStream && !s.kept && err == nil && j.isHead(frame, size) && j.keepHead(t, frame) {
			continue
		}
		j.marks.drop(keyOf(frame, t.class), frame, size, false)
	}
}

// isHead reports whether f belongs to the first text of its request.
func (j *Journal) isHead(f *wire.Frame, size int64) bool {
	k := keyOf(f, classStream)
	for _, k.Name = range []string{"stdout", "stderr"} {
		if j.marks.byKey[k] != nil {
			return false
		}
	}
	return j.heads.keep(f, size, min(j.opts.Head, j.opts.Streams/8))
}

// keepHead appends f to the files of heads and reports whether that worked.
func (j *Journal) keepHead(t *cutting, f *wire.Frame) bool {
	l := &t.heads
	if l.seg != nil && t.size(l.seg)+int64(f.Size()) > j.segmentSize(t.class) {
		_ = l.close() // as in retain
		l.seg = nil
	}
	if l.seg == nil && !j.openHeads(t) {
		return false
	}
	off := t.size(l.seg)
	n, err := j.writeRecord(l.file, l.seg.mark, off, f)
	if err != nil {
		j.fail(err)
		_ = l.file.Truncate(off) // as in write
		if off == segmentHeader {
			t.forget(l)
		}
		return false
	}
	if l.seg.first.IsZero() && t.first[l.seg].IsZero() {
		t.first[l.seg] = f.Cursor
	}
	t.sizes[l.seg] = off + n
	t.used += n
	l.seg.note(f.Cursor, off)
	return true
}

// forget removes the empty file of heads that l has open.
func (t *cutting) forget(l *log) {
	s := l.seg
	_ = l.close() // nothing is in it
	l.seg = nil
	t.list = slices.DeleteFunc(t.list, func(o *segment) bool { return o == s })
	t.used -= t.sizes[s]
	delete(t.sizes, s)
	s.remove()
}

// openHeads opens the last file of heads, or a new one when that is full.
func (j *Journal) openHeads(t *cutting) bool {
	n := 0
	for n < len(t.list) && t.list[n].kept {
		n++
	}
	if n > 0 && t.size(t.list[n-1]) < j.segmentSize(t.class)/2 {
		if f, err := j.store.open(t.list[n-1].path); err == nil {
			t.heads.seg, t.heads.file = t.list[n-1], f
			return true
		}
	}
	seg, f, err := j.newSegment(t.class, j.kept+1, true)
	if err != nil {
		j.fail(err)
		return false
	}
	j.kept = seg.id
	t.heads.seg, t.heads.file = seg, f
	t.list = slices.Insert(t.list, n, seg)
	t.sizes[seg] = seg.size
	t.used += seg.size
	return true
}

// publish makes a cutting what readers see, and removes files, unless what was
// cut cannot be written down now.
func (j *Journal) publish(t *cutting) {
	marks := j.marks.list()
	j.dirty = true
	ok := j.writeManifestOf(t, marks)
	j.mu.Lock()
	j.lists[t.class] = t.list
	j.markers = marks
	for s, n := range t.sizes {
		s.size = n
	}
	for s, c := range t.first {
		s.first = c
	}
	j.count(t.class, t.used-j.used[t.class])
	j.mu.Unlock()
	j.gone = append(j.gone, t.gone...)
	if ok {
		j.removeGone()
	}
}

// removeGone removes the files that the manifest on disk says are cut.
func (j *Journal) removeGone() {
	for _, s := range j.gone {
		s.remove()
	}
	j.gone = nil
}
