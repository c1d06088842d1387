package journal

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/gokernel/gokernel/session/wire"
)

const (
	firstChunk = 16 << 10
	chunk      = 128 << 10
)

// A scanner reads the records of a segment file one after the other, heads
// only. What is no record it skips.
type scanner struct {
	r       io.ReaderAt
	mark    mark
	off     int64 // of the next record
	limit   int64 // nothing from here on is read
	last    wire.Cursor
	skipped int64 // bytes between good records that are none
	end     int64 // end of the last good record

	buf    []byte
	bufOff int64
}

func newScanner(r io.ReaderAt, m mark, off, limit int64) *scanner {
	return &scanner{r: r, mark: m, off: off, limit: limit, end: off}
}

// next moves to the next good record and fills rec. At the end of the file,
// also when what follows is no record, it returns io.EOF; other errors are the
// file's.
func (s *scanner) next(rec *record) error {
	for {
		ok, err := s.parse(rec)
		if err != nil {
			return err
		}
		if ok {
			s.skipped += rec.off - s.end
			s.off, s.end, s.last = rec.end, rec.end, rec.frame.Cursor
			return nil
		}
		if err := s.resync(); err != nil {
			return err
		}
	}
}

// parse reads the record at s.off and reports whether it is a good one, with a
// cursor after the one before.
func (s *scanner) parse(rec *record) (bool, error) {
	if s.limit-s.off < recordHeader {
		return false, nil
	}
	h, err := s.bytes(s.off, recordHeader)
	if err != nil {
		return false, err
	}
	headLen := int64(binary.LittleEndian.Uint32(h[8:]))
	bodyLen := binary.LittleEndian.Uint64(h[12:])
	crc, bodyCRC := binary.LittleEndian.Uint32(h[20:]), binary.LittleEndian.Uint32(h[24:])
	body := s.off + recordHeader + headLen
	if !bytes.Equal(h[:8], s.mark[:]) || headLen > maxHead || body > s.limit || bodyLen > uint64(s.limit-body) {
		return false, nil
	}
	h, err = s.bytes(s.off, int(recordHeader+headLen))
	if err != nil {
		return false, err
	}
	if headCRC(h) != crc {
		return false, nil
	}
	*rec = record{off: s.off, body: body, end: body + int64(bodyLen), bodyCRC: bodyCRC}
	if decodeHead(rec, h[recordHeader:]) != nil {
		return false, nil
	}
	return s.last.Before(rec.frame.Cursor), nil
}

// resync moves s.off to the next place that may be a record.
func (s *scanner) resync() error {
	for off := s.off + 1; s.limit-off >= recordHeader; {
		n := min(s.limit-off, chunk)
		b, err := s.bytes(off, int(n))
		if err != nil {
			return err
		}
		if i := bytes.Index(b, s.mark[:]); i >= 0 {
			s.off = off + int64(i)
			return nil
		}
		off += n - int64(len(s.mark)) + 1
	}
	return io.EOF
}

// bytes returns n bytes of the file at off, good until the next call.
func (s *scanner) bytes(off int64, n int) ([]byte, error) {
	if off >= s.bufOff && off+int64(n) <= s.bufOff+int64(len(s.buf)) {
		return s.buf[off-s.bufOff:][:n], nil
	}
	size := chunk
	if s.buf == nil {
		size = firstChunk // most reads want little
	}
	size = int(min(int64(max(size, n)), s.limit-off))
	if cap(s.buf) < size {
		s.buf = make([]byte, size)
	}
	s.buf, s.bufOff = s.buf[:size], off
	if _, err := s.r.ReadAt(s.buf, off); err != nil {
		s.buf = s.buf[:0]
		return nil, fmt.Errorf("read %d bytes at %d: %w", size, off, err)
	}
	return s.buf[:n], nil
}

// load returns the record's frame with its parts. An error that wraps
// errRecord means that they are not what was written.
func (s *scanner) load(rec *record) (*wire.Frame, error) {
	n := rec.end - rec.body
	body := make([]byte, n)
	if n <= chunk {
		b, err := s.bytes(rec.body, int(n))
		if err != nil {
			return nil, err
		}
		copy(body, b)
	} else if _, err := s.r.ReadAt(body, rec.body); err != nil {
		return nil, fmt.Errorf("read %d bytes at %d: %w", n, rec.body, err)
	}
	if crc32.Checksum(body, castagnoli()) != rec.bodyCRC {
		return nil, fmt.Errorf("%w: checksum of frame %d-%d", errRecord, rec.frame.Epoch, rec.frame.Number)
	}
	f := rec.frame
	setBody(&f, rec.parts, body)
	return &f, nil
}
