package kernel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/gokernel/gokernel/protocol"
	"github.com/gokernel/gokernel/session/wire"
)

// maxPending bounds how many requests the session has not answered yet.
const maxPending = 65_536

const fencedText = "another kernel has taken over this session: restart this kernel, or use the other one"

// An outstanding is a request that the session has and has not finished.
type outstanding struct {
	request *protocol.Message // its content dropped
	replied bool              // only idle is missing
}

// A running is a request whose busy was published and whose idle was not.
type running struct {
	id     string // of the request
	header []byte // its origin's header
}

// submit hands a request to the session's queue.
func (s *serving) submit(ctx context.Context, in inbound) {
	m := in.Message
	if s.fenced.Load() {
		s.refuse(ctx, m, "Fenced", fencedText)
		return
	}
	header, err := m.HeaderJSON()
	if err != nil {
		s.refuse(ctx, m, "InvalidRequest", fmt.Sprintf("header: %v", err))
		return
	}
	// The id is fresh: clients may send the same msg_id twice.
	id := s.id + "-" + strconv.FormatUint(s.requests.Add(1), 10)
	if !s.expect(id, m, header) {
		s.refuse(ctx, m, "TooManyRequests", fmt.Sprintf("the session has %d requests waiting", maxPending))
		return
	}
	err = s.sess.Submit(ctx, &wire.Request{
		ID: id, MsgType: m.Header.MsgType,
		Origin:    wire.Origin{Header: header, Identities: m.Identities, Channel: m.Channel},
		Published: in.published,
		Metadata:  m.Metadata, Content: m.Content, Buffers: m.Buffers,
	})
	if err == nil || ctx.Err() != nil {
		return
	}
	s.forget(id)
	if errors.Is(err, ErrFenced) {
		s.fence()
		s.refuse(ctx, m, "Fenced", fencedText)
		return
	}
	s.log.Warn("the session refused a request", "type", m.Header.MsgType, "error", err)
	s.refuse(ctx, m, nameOf(err), err.Error())
}

// expect notes that the session has the request m under id. It reports false
// when it has too many.
func (s *serving) expect(id string, m *protocol.Message, header []byte) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.pending) >= maxPending {
		return false
	}
	s.pending[id] = &outstanding{request: &protocol.Message{
		Channel: m.Channel, Identities: m.Identities, Header: m.Header, RawHeader: header,
		Content: silentOnly(m),
	}}
	return true
}

// silentOnly returns as much of the content of m as [silent] looks at. A large
// cell is not read once more for it and counts as not silent.
func silentOnly(m *protocol.Message) []byte {
	const large = 64 << 10
	if m.Header.MsgType == "execute_request" && len(m.Content) < large && silent(m) {
		return []byte(`{"code":"","silent":true}`)
	}
	return nil
}

func (s *serving) forget(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.pending, id)
}

// fence notes that another kernel has the session. What was queued there is the
// other's to answer.
func (s *serving) fence() {
	if s.fenced.Swap(true) {
		return
	}
	s.log.Warn("another kernel has taken over the session")
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.pending)
	s.running = nil
}

// readFrames takes the session's frames until it has no more for this kernel.
func (s *serving) readFrames(ctx context.Context) {
	for {
		f, err := s.sess.Next(ctx)
		switch {
		case err == nil:
		case ctx.Err() != nil:
			return
		case errors.Is(err, ErrFenced):
			s.fence()
			return
		default:
			s.end(ctx, err)
			return
		}
		switch f.Kind {
		case wire.KindMessage:
		case wire.KindProgress:
			if m, err := display(f); err == nil {
				f = m
			} else {
				s.log.Warn("a stage report is left out", "number", f.Number, "error", err)
			}
		default:
			s.log.Debug("frame is no message", "kind", f.Kind, "number", f.Number)
		}
		s.settle(f)
		if f.Channel == protocol.Shell || f.Channel == protocol.Control {
			s.deliveries.finished(f.Request)
		}
		if !s.deliveries.add(ctx, f) {
			return
		}
	}
}

// settle notes what f means for the request that caused it.
func (s *serving) settle(f *wire.Frame) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.pending[f.Request]
	if o == nil {
		return
	}
	switch {
	case f.Channel == protocol.Shell || f.Channel == protocol.Control:
		o.replied = true
	case f.MsgType == "status" && stateOf(f) == protocol.StateIdle:
		delete(s.pending, f.Request)
	}
}

// end ends the serving because the session is over: what is left is delivered
// for a moment, then all that it has not answered is told why.
func (s *serving) end(ctx context.Context, err error) {
	why := fmt.Errorf("%w: %w", ErrSessionEnded, err)
	if err == io.EOF { // says nothing
		why = ErrSessionEnded
	}
	s.deliveries.drain(ctx)
	s.mu.Lock()
	left := s.pending
	s.pending, s.running = map[string]*outstanding{}, nil
	s.mu.Unlock()
	for _, o := range left {
		if !o.replied {
			s.sendError(ctx, o.request, nameOf(why), why.Error())
		}
		s.status(ctx, protocol.StateIdle, o.request)
	}
	s.stop(why)
}
