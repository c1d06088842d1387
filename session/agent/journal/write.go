package journal

import (
	"crypto/rand"
	"fmt"
	"os"

	"github.com/gokernel/gokernel/session/wire"
)

const (
	// maxSegment is how large a segment becomes, unless one record is larger. A
	// segment is cut at once, while Append waits.
	maxSegment = 4 << 20
	// gather is up to which size a body is copied to be written with its head
	// in one call.
	gather = 256 << 10
)

// A log is where frames of a class are appended.
type log struct {
	id   uint64 // of the last segment
	seg  *segment
	file file // of seg; nil while it is not open for writing
}

func (l *log) close() error {
	if l.file == nil {
		return nil
	}
	f := l.file
	l.file = nil
	if err := f.Close(); err != nil {
		return fmt.Errorf("close journal segment: %w", err)
	}
	return nil
}

// segmentSize returns how large segments of a class become.
func (j *Journal) segmentSize(c class) int64 {
	if c == classCore {
		return maxSegment
	}
	return min(max(j.budget(c)/64, 4<<10), maxSegment)
}

func (j *Journal) budget(c class) int64 {
	return [...]int64{0, j.opts.Frames, j.opts.Streams, j.opts.Spilled}[c]
}

// write writes f to the end of its class. Readers do not see it before grow.
func (j *Journal) write(f *wire.Frame, c class) (seg *segment, off, n int64, err error) {
	l := &j.logs[c]
	if l.seg != nil && l.seg.size > segmentHeader {
		if c == classSpill || l.seg.size+int64(f.Size()) > j.segmentSize(c) {
			if err := l.close(); err != nil {
				return nil, 0, 0, err
			}
			l.seg = nil
		}
	}
	if err := j.openLog(l, c); err != nil {
		return nil, 0, 0, err
	}
	off = l.seg.size
	n, err = j.writeRecord(l.file, l.seg.mark, off, f)
	if err != nil {
		_ = l.file.Truncate(off) // a part of it would only take up room; the next record overwrites it
		return nil, 0, 0, fmt.Errorf("write journal: %w", err)
	}
	return l.seg, off, n, nil
}

// openLog makes sure that l has a segment that is open for writing.
func (j *Journal) openLog(l *log, c class) error {
	if l.file != nil {
		return nil
	}
	if l.seg != nil {
		f, err := j.store.open(l.seg.path)
		if err != nil {
			return fmt.Errorf("open journal segment: %w", err)
		}
		l.file = f
		return nil
	}
	seg, f, err := j.newSegment(c, l.id+1, false)
	if err != nil {
		return err
	}
	l.id, l.seg, l.file = seg.id, seg, f
	return nil
}

// count adds n to what a class takes up on disk. The caller holds mu.
func (j *Journal) count(c class, n int64) {
	j.used[c] += n
	j.bytes += n
}

// newSegment makes a segment file without records.
func (j *Journal) newSegment(c class, id uint64, kept bool) (*segment, file, error) {
	seg := &segment{path: j.path(segmentName(c, id, kept)), class: c, id: id, kept: kept, size: segmentHeader, indexed: true}
	_, _ = rand.Read(seg.mark[:]) // never fails
	f, err := j.store.create(seg.path)
	if err != nil {
		return nil, nil, fmt.Errorf("create journal segment: %w", err)
	}
	if _, err := f.WriteAt(newHeader(seg.mark), 0); err != nil {
		_ = f.Close()
		_ = os.Remove(seg.path)
		return nil, nil, fmt.Errorf("create journal segment: %w", err)
	}
	return seg, f, nil
}

// writeRecord writes the record of f at off and returns its size.
func (j *Journal) writeRecord(w file, m mark, off int64, f *wire.Frame) (int64, error) {
	b, body := appendRecord(j.buf[:0], m, f)
	size := int64(len(b)) + body
	parts := append([][]byte{f.Parent, f.Metadata, f.Content}, f.Buffers...)
	if body <= gather {
		for _, p := range parts {
			b = append(b, p...)
		}
		parts = nil
	}
	if cap(b) <= 2*gather {
		j.buf = b
	}
	if _, err := w.WriteAt(b, off); err != nil {
		return 0, err
	}
	off += int64(len(b))
	for _, p := range parts {
		if len(p) == 0 {
			continue
		}
		if _, err := w.WriteAt(p, off); err != nil {
			return 0, err
		}
		off += int64(len(p))
	}
	return size, nil
}

// grow makes a record that was written at the end of seg visible to readers. The
// caller holds mu.
func (j *Journal) grow(seg *segment, at wire.Cursor, off, n int64) {
	if seg.first.IsZero() {
		seg.first = at
		list := j.lists[seg.class]
		j.lists[seg.class] = append(list[:len(list):len(list)], seg)
		j.count(seg.class, segmentHeader)
	}
	seg.size = off + n
	j.count(seg.class, n)
	seg.note(at, off)
}
