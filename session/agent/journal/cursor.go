package journal

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/gokernel/gokernel/session/wire"
)

// cursors are what fronts have acknowledged, by name.
type cursors struct {
	mu     sync.Mutex
	byName map[string]saved
}

type saved struct {
	Upto wire.Cursor   `json:"upto"`
	Held []wire.Cursor `json:"held,omitempty"`
}

// SaveCursor remembers under a name, for instance "kernel", that everything up
// to c has been delivered but for held. It outlives the process and costs a file
// that is replaced, some 30 µs. When it cannot be written it is reported as for
// Append, and holds for this process only.
func (j *Journal) SaveCursor(name string, c wire.Cursor, held []wire.Cursor) {
	s := saved{c, slices.Clone(held)}
	j.cursors.mu.Lock()
	if j.cursors.byName == nil {
		j.cursors.byName = make(map[string]saved)
	}
	j.cursors.byName[name] = s
	b, err := json.Marshal(s)
	if err == nil {
		err = j.store.replace(j.cursorPath(name), b)
	}
	j.cursors.mu.Unlock()
	if err == nil {
		return
	}
	j.writing.Lock()
	j.fail(fmt.Errorf("save a cursor of the journal: %w", err))
	err = j.pending
	j.pending = nil
	j.writing.Unlock()
	if err != nil {
		j.opts.OnError(err)
	}
}

// LoadCursor returns what SaveCursor remembered under a name, in this process or
// an earlier one, and zero when there is nothing. A file that cannot be read
// counts as nothing, with a warning: frames then come again, none is lost.
func (j *Journal) LoadCursor(name string) (c wire.Cursor, held []wire.Cursor) {
	j.cursors.mu.Lock()
	defer j.cursors.mu.Unlock()
	if s, ok := j.cursors.byName[name]; ok {
		return s.Upto, slices.Clone(s.Held)
	}
	b, err := os.ReadFile(j.cursorPath(name))
	if errors.Is(err, fs.ErrNotExist) {
		return wire.Cursor{}, nil
	}
	var s saved
	if err == nil {
		err = json.Unmarshal(b, &s)
	}
	if err != nil {
		j.opts.Log.Warn("a cursor of the journal cannot be read", "error", err)
		return wire.Cursor{}, nil
	}
	return s.Upto, s.Held
}

func (j *Journal) cursorPath(name string) string {
	return j.path("cursor-" + strings.ReplaceAll(url.PathEscape(name), ".", "%2E") + ".json")
}

// An Unanswered is a request of an earlier epoch that has not had its idle.
type Unanswered struct {
	Request *wire.Frame // of KindRequest
	Started bool        // its busy was sent
	Replied bool        // its reply was sent; only idle is missing
}

// Unanswered returns the requests that died with earlier agents, in order: those
// without an idle status. It reads all that is never cut, so call it once, after
// Open.
func (j *Journal) Unanswered() []Unanswered {
	type state struct {
		at               wire.Cursor
		started, replied bool
	}
	open := make(map[string]*state)
	var order []string
	see := func(f *wire.Frame, n note) {
		s := open[f.Request]
		switch {
		case f.Kind == wire.KindRequest:
			if s == nil {
				open[f.Request] = &state{at: f.Cursor}
				order = append(order, f.Request)
			}
		case s == nil:
		case n == noteIdle:
			delete(open, f.Request)
		case n == noteBusy:
			s.started = true
		case strings.HasSuffix(f.MsgType, "_reply"):
			s.replied = true
		}
		if len(order) > 2*len(open)+1024 {
			order = slices.DeleteFunc(order, func(id string) bool { return open[id] == nil })
		}
	}
	j.scanCore(see)
	var list []Unanswered
	for _, id := range order {
		s := open[id]
		if s == nil {
			continue
		}
		delete(open, id)
		if f, ok := j.Get(s.at); ok {
			list = append(list, Unanswered{Request: f, Started: s.started, Replied: s.replied})
		}
	}
	slices.SortFunc(list, func(a, b Unanswered) int {
		if a.Request.Before(b.Request.Cursor) {
			return -1
		}
		return 1
	})
	return list
}

// scanCore calls see for each frame of earlier epochs that is never cut.
func (j *Journal) scanCore(see func(*wire.Frame, note)) {
	j.mu.Lock()
	var list []extent
	for _, s := range j.lists[classCore] {
		list = append(list, extent{s, s.size})
	}
	j.mu.Unlock()
	src := &source{j: j, list: list}
	defer src.close()
	for {
		if err := src.advance(); err != nil {
			j.opts.Log.Warn("the journal cannot be read", "error", err)
			return
		}
		if !src.ok || src.rec.frame.Epoch >= j.epoch {
			return
		}
		see(&src.rec.frame, src.rec.note)
	}
}
