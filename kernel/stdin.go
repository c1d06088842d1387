package kernel

import (
	"context"

	"github.com/gokernel/gokernel/protocol"
	"github.com/gokernel/gokernel/session/wire"
)

// inputReply brings the answer to a prompt to the session. One that answers no
// prompt which this client was asked is left out; so is one that is not valid,
// and the prompt stays.
func (s *serving) inputReply(ctx context.Context, m *protocol.Message) {
	if m.Header.MsgType != "input_reply" {
		s.logOnce(m, "message of a type that is not supported")
		return
	}
	if err := protocol.Validate(m); err != nil {
		s.log.Warn("answer to a prompt left out", "error", err)
		return
	}
	parent, err := m.ParentHeader()
	if err != nil {
		s.log.Warn("answer to a prompt left out", "error", err)
		return
	}
	prompt, ok := s.deliveries.prompt(m.Identities, parent.MsgID)
	if !ok {
		s.log.Debug("nobody waits for this answer", "parent", parent.MsgID)
		return
	}
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	if err := s.sess.Answer(ctx, prompt, m.Content); err != nil {
		s.log.Warn("answer did not reach the session", "error", err)
		return
	}
	s.deliveries.answered(prompt)
}

// prompt finds the prompt that an answer from the address identities is for. The
// answer's parent is the prompt, or the request that asks, or nothing:
// jupyter_client sends none.
func (d *delivery) prompt(identities [][]byte, parent string) (wire.Cursor, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, it := range d.held {
		f := it.frame
		if f.Channel != protocol.Stdin || !it.offered || addressOf(f.Identities) != addressOf(identities) {
			continue
		}
		if parent == "" || parent == f.MsgID(d.session) || parent == msgID(f.Parent) {
			return f.Cursor, true
		}
	}
	return wire.Cursor{}, false
}

// answered notes that the prompt is not to be offered any more.
func (d *delivery) answered(prompt wire.Cursor) {
	d.dropHeld(func(f *wire.Frame) bool { return f.Cursor == prompt })
}

// msgID returns the msg_id in an encoded header.
func msgID(header []byte) string {
	h, err := (&protocol.Message{Parent: header}).ParentHeader()
	if err != nil {
		return ""
	}
	return h.MsgID
}

// addressOf returns what Events call the peer that a return address begins with.
func addressOf(identities [][]byte) string {
	if len(identities) == 0 {
		return ""
	}
	return string(identities[0])
}
