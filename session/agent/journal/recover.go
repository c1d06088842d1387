package journal

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sort"
	"strings"

	"github.com/gokernel/gokernel/session/wire"
)

const (
	manifestFile = "manifest.json"
	epochFile    = "epoch"
)

// A manifest says what retention has done to the files. It is replaced before
// files are removed, so that at no moment frames are gone without a marker.
type manifest struct {
	Version int               `json:"version"`
	Cut     map[string]uint64 `json:"cut"`  // by class: segments up to this one are gone
	Kept    map[string]int64  `json:"kept"` // files of heads and how much of them counts
	Heads   headList          `json:"heads"`
	Markers []*marker         `json:"markers"`
}

// writeManifest writes the manifest of what readers see.
func (j *Journal) writeManifest() bool {
	if !j.writeManifestOf(&cutting{class: classStream, list: j.lists[classStream]}, j.markers) {
		return false
	}
	j.removeGone()
	return true
}

// writeManifestOf writes the manifest of what readers will see after t.
func (j *Journal) writeManifestOf(t *cutting, marks []*marker) bool {
	m := manifest{Version: formatVersion, Cut: make(map[string]uint64), Kept: make(map[string]int64), Heads: j.heads, Markers: marks}
	for c, id := range j.cut {
		m.Cut[class(c).String()] = id
	}
	streams := j.lists[classStream]
	if t.class == classStream {
		streams = t.list
	}
	for _, s := range streams {
		if s.kept {
			m.Kept[segmentName(classStream, s.id, true)] = t.size(s)
		}
	}
	b, err := json.Marshal(m)
	if err == nil {
		err = j.store.replace(j.path(manifestFile), b)
	}
	if err != nil {
		j.fail(fmt.Errorf("write journal manifest: %w", err))
		return false
	}
	j.dirty = false
	return true
}

// readManifest returns nil when there is none or it cannot be read.
func (j *Journal) readManifest() *manifest {
	b, err := os.ReadFile(j.path(manifestFile))
	if errors.Is(err, fs.ErrNotExist) {
		return &manifest{}
	}
	m := new(manifest)
	if err == nil {
		err = json.Unmarshal(b, m)
	}
	if err != nil {
		j.opts.Log.Warn("the journal's manifest cannot be read; what it said was cut is forgotten", "error", err)
		return nil
	}
	return m
}

func (j *Journal) readEpoch() uint64 {
	var n uint64
	b, err := os.ReadFile(j.path(epochFile))
	if err != nil {
		return 0
	}
	if _, err := fmt.Sscan(string(b), &n); err != nil {
		j.opts.Log.Warn("the journal's epoch file cannot be read", "error", err)
	}
	return n
}

// recover finds what is in the directory and returns the last cursor.
func (j *Journal) recover() wire.Cursor {
	entries, err := os.ReadDir(j.dir)
	if err != nil {
		j.opts.Log.Warn("the journal's directory cannot be read", "error", err)
		return wire.Cursor{}
	}
	m := j.readManifest()
	if m != nil {
		j.adopt(m)
	}
	for _, e := range entries {
		name := e.Name()
		if strings.HasSuffix(name, tempSuffix) {
			_ = os.Remove(j.path(name)) // of a write that was not finished
			continue
		}
		c, id, kept, ok := parseName(name)
		if !ok || !e.Type().IsRegular() {
			continue
		}
		size := int64(-1)
		if kept {
			j.kept = max(j.kept, id)
			if m != nil {
				size, ok = m.Kept[name]
			}
		} else {
			j.logs[c].id = max(j.logs[c].id, id)
			ok = id > j.cut[c]
		}
		if !ok {
			_ = os.Remove(j.path(name)) // was cut; only its removal is missing
			continue
		}
		if s := j.openSegment(c, id, kept, size); s != nil {
			j.lists[c] = append(j.lists[c], s)
		}
	}
	var last wire.Cursor
	for c := range classes {
		if at := j.settle(c); last.Before(at) {
			last = at
		}
	}
	for _, m := range j.markers {
		if last.Before(m.At) {
			last = m.At
		}
	}
	return last
}

// adopt takes over what a manifest says.
func (j *Journal) adopt(m *manifest) {
	for c := range classes {
		j.cut[c] = m.Cut[c.String()]
		j.logs[c].id = j.cut[c]
	}
	j.heads = m.Heads
	for _, mark := range m.Markers {
		if mark == nil || mark.Class < 0 || mark.Class >= classes {
			continue // of a newer version
		}
		if j.marks.byKey == nil {
			j.marks.byKey = make(map[markerKey]*marker)
		}
		j.marks.byKey[mark.markerKey] = mark
	}
	j.markers = j.marks.list()
}

// openSegment returns the segment in a file, of which size bytes count, or all
// when it is negative. It returns nil when nothing in it can be read.
func (j *Journal) openSegment(c class, id uint64, kept bool, size int64) *segment {
	s := &segment{path: j.path(segmentName(c, id, kept)), class: c, id: id, kept: kept, size: size}
	info, err := os.Stat(s.path)
	if err != nil {
		j.opts.Log.Warn("a journal file cannot be read and is skipped", "file", s.path, "error", err)
		return nil
	}
	if s.size < 0 || s.size > info.Size() {
		s.size = info.Size()
	}
	if s.size <= segmentHeader {
		_ = os.Remove(s.path) // nothing has been written to it
		return nil
	}
	if err := j.readFirst(s); err != nil {
		j.opts.Log.Warn("nothing in a journal file can be read; it is put aside", "file", s.path, "error", err)
		if err := os.Rename(s.path, s.path+".damaged"); err != nil {
			j.opts.Log.Warn("a damaged journal file cannot be renamed", "error", err)
		}
		return nil
	}
	return s
}

func (j *Journal) readFirst(s *segment) error {
	f, err := s.acquire()
	if err != nil {
		return err
	}
	defer s.release()
	if s.mark, err = readHeader(f); err != nil {
		return err
	}
	var rec record
	if err := newScanner(f, s.mark, segmentHeader, s.size).next(&rec); err != nil {
		if errors.Is(err, io.EOF) {
			return fmt.Errorf("%w: no record in it", errRecord)
		}
		return err
	}
	s.first = rec.frame.Cursor
	return nil
}

// settle puts the segments of a class in order, cuts the torn end off the last
// one, which is then appended to, and returns the cursor of the last record.
func (j *Journal) settle(c class) wire.Cursor {
	list := j.lists[c]
	sort.Slice(list, func(i, k int) bool {
		if list[i].kept != list[k].kept {
			return list[i].kept
		}
		return list[i].id < list[k].id
	})
	var last wire.Cursor
	if n := len(list); n > 0 {
		s := list[n-1]
		if !s.kept {
			j.cutTail(s)
			j.logs[c].seg = s
		}
		if err := s.index(s.size, j.opts.Log); err != nil {
			j.opts.Log.Warn("a journal file cannot be read", "file", s.path, "error", err)
		}
		last = s.last
		if last.IsZero() {
			last = s.first
		}
	}
	for _, s := range list {
		j.count(c, s.size)
	}
	return last
}

// cutTail cuts off what follows the last good record of s.
func (j *Journal) cutTail(s *segment) {
	f, err := s.acquire()
	if err != nil {
		j.opts.Log.Warn("a journal file cannot be read", "file", s.path, "error", err)
		return
	}
	defer s.release()
	sc := newScanner(f, s.mark, segmentHeader, s.size)
	end := int64(segmentHeader)
	for {
		var rec record
		if err := sc.next(&rec); err != nil {
			break
		}
		// Only the last one can be torn, so that only its body is to be read.
		if rec.end == s.size {
			if _, err := sc.load(&rec); err != nil {
				break
			}
		}
		end = rec.end
	}
	if end == s.size {
		return
	}
	j.opts.Log.Warn("the torn end of a journal file was cut off", "file", s.path, "bytes", s.size-end)
	s.size = end
	w, err := j.store.open(s.path)
	if err != nil {
		return // what is written next overwrites it
	}
	_ = w.Truncate(end) // likewise
	_ = w.Close()
}
