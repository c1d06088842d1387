package kernel

import (
	"encoding/json"

	"github.com/gokernel/gokernel/protocol"
	"github.com/gokernel/gokernel/session/wire"
)

// note keeps track of what runs, as clients are told it. It is called before f is
// published: so a busy that [serving.idle] adds may come too early, which changes
// nothing, but never after the idle of what runs.
func (s *serving) note(f *wire.Frame) {
	if f.MsgType != "status" {
		return
	}
	state := stateOf(f)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case state == protocol.StateBusy && len(f.Parent) > 0 && !s.fenced.Load():
		s.running = &running{id: f.Request, header: f.Parent}
	case state == protocol.StateIdle && (s.running == nil || s.running.id != f.Request):
		// of another request, which ended late
	case state != protocol.StateBusy:
		s.running = nil
	}
}

// stateOf returns the state in a status frame.
func stateOf(f *wire.Frame) string {
	var c protocol.Status
	if json.Unmarshal(f.Content, &c) != nil {
		return ""
	}
	return c.ExecutionState
}
