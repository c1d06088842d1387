package journal

import (
	"sort"

	"github.com/gokernel/gokernel/session/wire"
)

// An entry is a frame in memory.
type entry struct {
	frame  *wire.Frame
	class  class
	marker bool // stands for frames that memory had no room for; not to be written
}

// A recent is the newest frames, without a gap. The slice of entries may be
// read without the journal's mutex by whoever took it under the mutex: entries
// are appended and cut off at the front, never changed in place.
type recent struct {
	entries []entry
	// unwritten is the index of the first entry that is not on disk yet.
	unwritten int
	bytes     int
	floor     wire.Cursor // the frame before the first entry
	garbage   int         // bytes cut off that the slice's memory still holds
}

func (r *recent) push(e entry, written bool) {
	r.entries = append(r.entries, e)
	r.bytes += e.frame.Size()
	if written {
		r.unwritten++
	}
}

// trim cuts off what is on disk, oldest first, until at most limit bytes are
// left.
func (r *recent) trim(limit int) {
	for r.bytes > limit && r.unwritten > 0 {
		f := r.entries[0].frame
		r.bytes -= f.Size()
		r.garbage += f.Size()
		r.floor = f.Cursor
		r.entries = r.entries[1:]
		r.unwritten--
	}
	if r.garbage > limit {
		r.entries = append(make([]entry, 0, len(r.entries)+16), r.entries...)
		r.garbage = 0
	}
}

// after returns the entries after a cursor.
func (r *recent) after(c wire.Cursor) []entry {
	i := sort.Search(len(r.entries), func(i int) bool { return c.Before(r.entries[i].frame.Cursor) })
	return r.entries[i:]
}

// shed drops entries that could not be written until at most limit bytes are
// left: outputs first, oldest first, then, when those that are never cut alone
// are four times as many, of them too. What is dropped is told to ms, and its
// markers take its place.
func (r *recent) shed(limit int, ms *markers, o *Options) {
	pending := r.entries[r.unwritten:]
	if len(pending) == 0 {
		return
	}
	first := pending[0].frame.Cursor
	drop := make([]bool, len(pending))
	pass := func(limit int, which func(class) bool) {
		for i, e := range pending {
			if r.bytes <= limit {
				return
			}
			if drop[i] || e.marker || !which(e.class) {
				continue
			}
			drop[i] = true
			r.bytes -= e.frame.Size()
			ms.drop(keyOf(e.frame, e.class), e.frame, sizeOf(e.frame, e.class), true)
		}
	}
	if r.bytes > limit {
		pass(limit*3/4, func(c class) bool { return c != classCore })
	}
	if r.bytes > 4*limit {
		pass(3*limit, func(c class) bool { return c == classCore })
	}
	kept := append([]entry(nil), r.entries[:r.unwritten]...)
	bytes := 0
	for i, e := range pending {
		if !drop[i] && !e.marker {
			kept = append(kept, e)
		}
	}
	for _, m := range ms.list() {
		if !m.At.Before(first) {
			kept = append(kept, entry{frame: m.frame(o), class: m.Class, marker: true})
		}
	}
	tail := kept[r.unwritten:]
	sort.Slice(tail, func(i, j int) bool { return tail[i].frame.Before(tail[j].frame.Cursor) })
	for _, e := range kept {
		bytes += e.frame.Size()
	}
	r.entries, r.bytes, r.garbage = kept, bytes, 0
}

// keyOf returns which marker stands for a frame when it is cut.
func keyOf(f *wire.Frame, c class) markerKey {
	k := markerKey{Class: c, Owner: f.Owner, Request: f.Request, Name: "stderr"}
	if c == classStream && noteOf(f) == noteStdout {
		k.Name = "stdout"
	}
	return k
}

// sizeOf returns what a marker counts for a frame: text of streams, all of
// others.
func sizeOf(f *wire.Frame, c class) int64 {
	if c == classStream {
		return textSize(f.Content)
	}
	n := len(f.Metadata) + len(f.Content)
	for _, b := range f.Buffers {
		n += len(b)
	}
	return int64(n)
}
