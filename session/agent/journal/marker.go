package journal

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/gokernel/gokernel/protocol"
	"github.com/gokernel/gokernel/session/wire"
)

// maxMarkers is how many markers a journal has at most; beyond that the oldest
// ones of an owner become one.
const maxMarkers = 1024

// A markerKey says what a marker stands for: frames of a kind that one request
// caused.
type markerKey struct {
	Class   class  `json:"class"`
	Owner   string `json:"owner,omitempty"`
	Request string `json:"request,omitempty"`
	Name    string `json:"name"` // stdout or stderr
}

// A marker stands in the journal for frames that were cut. It has the number of
// the last one of them: whoever had not read as far meets it, whoever had does
// not. A marker does not change once it is in a list; it is replaced.
type marker struct {
	markerKey
	At     wire.Cursor    `json:"at"`
	Time   time.Time      `json:"time"`
	Parent []byte         `json:"parent,omitempty"`
	Frames int            `json:"frames"`
	Bytes  int64          `json:"bytes"`
	Types  map[string]int `json:"types,omitempty"` // frames by message type; not for streams
	Full   bool           `json:"full,omitempty"`  // because they could not be written

	shared bool // readers may have it
}

// frame returns the message that stands in place of what was cut.
func (m *marker) frame(o *Options) *wire.Frame {
	why := "the journal keeps " + humanBytes(o.Frames)
	switch {
	case m.Full:
		why = "the journal could not be written"
	case m.Class == classStream:
		why = "the journal keeps " + humanBytes(o.Streams)
	case m.Class == classSpill:
		why = "the journal keeps " + humanBytes(o.Spilled) + " of large ones"
	}
	what := fmt.Sprintf("%s bytes of output", grouped(m.Bytes))
	if m.Class != classStream {
		what = fmt.Sprintf("%s of %s bytes (%s)", plural(m.Frames, "message"), grouped(m.Bytes), m.typeList())
	}
	verb := "were"
	if m.Class != classStream && m.Frames == 1 {
		verb = "was"
	}
	// Strings always have a JSON form.
	content, _ := json.Marshal(protocol.Stream{
		Name: m.Name, Text: fmt.Sprintf("\n[gokernel: %s %s dropped here; %s]\n", what, verb, why),
	})
	return &wire.Frame{
		Cursor: m.At, Kind: wire.KindMessage, Request: m.Request, Owner: m.Owner, Channel: protocol.IOPub,
		MsgType: "stream", Time: m.Time, Parent: m.Parent, Content: content,
	}
}

func (m *marker) typeList() string {
	var list []string
	for name, n := range m.Types {
		list = append(list, fmt.Sprintf("%d %s", n, name))
	}
	sort.Strings(list)
	return strings.Join(list, ", ")
}

// with returns m, or another one if m is nil or shared, that stands for f too.
func (m *marker) with(key markerKey, f *wire.Frame, size int64, full bool) *marker {
	switch {
	case m == nil:
		m = &marker{markerKey: key}
		if key.Class != classStream {
			m.Types = make(map[string]int)
		}
	case m.shared:
		c := *m
		c.shared = false
		c.Types = maps.Clone(m.Types)
		m = &c
	}
	m.Full = m.Full || full
	m.Frames++
	m.Bytes += size
	if m.At.Before(f.Cursor) {
		m.At, m.Time = f.Cursor, f.Time
		if !bytes.Equal(m.Parent, f.Parent) {
			m.Parent = bytes.Clone(f.Parent)
		}
	}
	if m.Types != nil {
		m.Types[f.MsgType]++
	}
	return m
}

// plus returns m that stands for what an older one stands for, too.
func (m *marker) plus(older *marker) *marker {
	sum := *m
	sum.shared = false
	sum.Frames += older.Frames
	sum.Bytes += older.Bytes
	sum.Full = sum.Full || older.Full
	if m.Types != nil || older.Types != nil {
		sum.Types = make(map[string]int, len(m.Types)+len(older.Types))
		for _, types := range []map[string]int{m.Types, older.Types} {
			for name, n := range types {
				sum.Types[name] += n
			}
		}
	}
	return &sum
}

// A markers is a set of markers. It is for one goroutine; lists that it returns
// are never changed.
type markers struct {
	byKey map[markerKey]*marker
}

func (ms *markers) drop(key markerKey, f *wire.Frame, size int64, full bool) {
	if ms.byKey == nil {
		ms.byKey = make(map[markerKey]*marker)
	}
	ms.byKey[key] = ms.byKey[key].with(key, f, size, full)
}

// list returns the markers in order of their place.
func (ms *markers) list() []*marker {
	ms.fold()
	list := make([]*marker, 0, len(ms.byKey))
	for _, m := range ms.byKey {
		if !m.shared {
			m.shared = true
		}
		list = append(list, m)
	}
	sortMarkers(list)
	return list
}

func sortMarkers(list []*marker) {
	slices.SortFunc(list, func(a, b *marker) int {
		switch {
		case a.At.Before(b.At):
			return -1
		case b.At.Before(a.At):
			return 1
		}
		return 0
	})
}

// fold makes one of the oldest markers of each owner, kind and name when there
// are too many. What was cut of runs that are long over may end up in none.
func (ms *markers) fold() {
	if len(ms.byKey) <= maxMarkers {
		return
	}
	list := make([]*marker, 0, len(ms.byKey))
	for _, m := range ms.byKey {
		list = append(list, m)
	}
	sortMarkers(list)
	type group struct {
		class class
		owner string
		name  string
	}
	oldest := list[:len(list)-maxMarkers/2]
	newest := make(map[group]*marker)
	for _, m := range oldest {
		g := group{m.Class, m.Owner, m.Name}
		delete(ms.byKey, m.markerKey)
		if old := newest[g]; old != nil {
			m = m.plus(old)
		}
		newest[g] = m
	}
	rest := make([]*marker, 0, len(newest))
	for _, m := range newest {
		rest = append(rest, m)
	}
	sortMarkers(rest)
	for i, m := range rest {
		// Only runs can be so many owners, and each has its reply still.
		if i < len(rest)-maxMarkers/2 && m.Owner != wire.KernelOwner && m.Owner != "" {
			continue
		}
		ms.byKey[m.markerKey] = m
	}
}

// textSize returns how many bytes of text the content of a stream message has.
func textSize(content []byte) int64 {
	if n, ok := quickTextSize(content); ok {
		return n
	}
	var s struct {
		Text string `json:"text"`
	}
	if json.Unmarshal(content, &s) != nil {
		return int64(len(content))
	}
	return int64(len(s.Text))
}

// quickTextSize is textSize for text whose only escapes are of one character;
// it does not copy the text.
func quickTextSize(content []byte) (int64, bool) {
	const key = `"text":`
	i := bytes.Index(content, []byte(key))
	if i < 0 {
		return 0, false
	}
	b, ok := bytes.CutPrefix(bytes.TrimLeft(content[i+len(key):], " "), []byte(`"`))
	if !ok {
		return 0, false
	}
	var n int64
	for {
		i := bytes.IndexAny(b, `"\`)
		if i < 0 {
			return 0, false
		}
		n += int64(i)
		if b[i] == '"' {
			return n, true
		}
		if i+1 >= len(b) || b[i+1] == 'u' {
			return 0, false
		}
		n++
		b = b[i+2:]
	}
}

func plural(n int, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return grouped(int64(n)) + " " + word + "s"
}

// grouped returns n with a comma between thousands.
func grouped(n int64) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// humanBytes returns n in the largest unit that it is a whole number of.
func humanBytes(n int64) string {
	for _, unit := range []struct {
		size int64
		name string
	}{{1 << 30, "GiB"}, {1 << 20, "MiB"}, {1 << 10, "KiB"}} {
		if n >= unit.size && n%unit.size == 0 {
			return fmt.Sprintf("%d %s", n/unit.size, unit.name)
		}
	}
	return grouped(n) + " bytes"
}
