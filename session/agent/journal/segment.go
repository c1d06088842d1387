package journal

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"sort"
	"strings"
	"sync"

	"github.com/gokernel/gokernel/protocol"
	"github.com/gokernel/gokernel/session/wire"
)

// A class is a set of frames that are kept in the same files, because they are
// cut by the same rule.
type class int

const (
	classCore   class = iota // never cut
	classOutput              // oldest first
	classStream              // head and tail stay
	classSpill               // a file each, oldest first
	classes
)

func (c class) String() string {
	return [...]string{"core", "output", "stream", "spill"}[c]
}

// classOf returns the class of a frame that is not too large for it.
func classOf(f *wire.Frame) class {
	if f.Kind == wire.KindRequest || f.Kind == wire.KindTransfer || f.Kind == wire.KindMessage && f.Channel != protocol.IOPub {
		return classCore // requests, what callers are asked for, replies and prompts
	}
	if f.Kind != wire.KindMessage {
		return classOutput
	}
	switch f.MsgType {
	case "stream":
		return classStream
	case "status", "execute_input", "error", "comm_open", "comm_close", "input_request":
		return classCore
	}
	if strings.HasSuffix(f.MsgType, "_reply") {
		return classCore
	}
	return classOutput
}

// errGone says that a segment has been cut since it was looked up.
var errGone = errors.New("segment is gone")

// pointDistance is how many bytes of a segment lie between two points of its
// index: what a reader that begins somewhere reads too much at most.
const pointDistance = 32 << 10

// A point is a record's place in a segment.
type point struct {
	at  wire.Cursor
	off int64
}

// A segment is a file of records. Its size and first belong to the journal's
// mutex.
type segment struct {
	path  string
	class class
	id    uint64
	kept  bool // has heads of streams whose rest is cut
	mark  mark
	size  int64       // of the good part of the file
	first wire.Cursor // zero while it has no record

	mu      sync.Mutex
	refs    int
	file    *os.File // open while refs > 0
	dead    bool     // to be removed once refs is 0
	indexed bool     // points cover the whole file
	points  []point
	last    wire.Cursor // last record, when indexed
}

// acquire opens the file for reading. It must be released.
func (s *segment) acquire() (*os.File, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.acquireLocked()
}

func (s *segment) acquireLocked() (*os.File, error) {
	if s.file == nil {
		if s.dead {
			return nil, errGone
		}
		f, err := os.Open(s.path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, errGone
		}
		if err != nil {
			return nil, fmt.Errorf("open journal segment: %w", err)
		}
		s.file = f
	}
	s.refs++
	return s.file, nil
}

func (s *segment) release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.releaseLocked()
}

func (s *segment) releaseLocked() {
	s.refs--
	if s.refs > 0 {
		return
	}
	_ = s.file.Close() // only read
	s.file = nil
	if s.dead {
		_ = os.Remove(s.path) // else the next Open removes it
	}
}

// remove removes the file once nobody reads it.
func (s *segment) remove() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dead = true
	if s.refs == 0 {
		_ = os.Remove(s.path) // else the next Open removes it
	}
}

// note adds a record to the index.
func (s *segment) note(at wire.Cursor, off int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.noteLocked(at, off)
}

func (s *segment) noteLocked(at wire.Cursor, off int64) {
	s.last = at
	if n := len(s.points); n == 0 || off-s.points[n-1].off >= pointDistance {
		s.points = append(s.points, point{at, off})
	}
}

// index reads the heads of all records up to limit, unless that has been done.
func (s *segment) index(limit int64, log *slog.Logger) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.indexed {
		return nil
	}
	f, err := s.acquireLocked()
	if err != nil {
		return err
	}
	defer s.releaseLocked()
	s.points = nil
	sc := newScanner(f, s.mark, segmentHeader, limit)
	var rec record
	for {
		err := sc.next(&rec)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("read journal segment: %w", err)
		}
		s.noteLocked(rec.frame.Cursor, rec.off)
	}
	s.indexed = true
	if bad := sc.skipped + limit - sc.end; bad > 0 {
		log.Warn("part of a journal file is not readable and was skipped", "file", s.path, "bytes", bad)
	}
	return nil
}

// seek returns the offset of a record from which on a reader finds everything
// after the cursor.
func (s *segment) seek(after wire.Cursor) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := sort.Search(len(s.points), func(i int) bool { return after.Before(s.points[i].at) })
	if i == 0 {
		return segmentHeader
	}
	return s.points[i-1].off
}
