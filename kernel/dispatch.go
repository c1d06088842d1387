package kernel

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"

	"github.com/gokernel/gokernel/protocol"
)

// maxOnce bounds how many types of messages are told apart in the log.
const maxOnce = 64

// handle performs the requests in q one after the other until ctx ends.
func (s *serving) handle(ctx context.Context, q *queue[inbound]) {
	for {
		in, err := q.get(ctx)
		if err != nil {
			return
		}
		s.perform(ctx, in)
	}
}

// perform answers in, or hands it to where its answer comes from. Whatever
// happens, a request has its reply and its idle exactly once.
func (s *serving) perform(ctx context.Context, in inbound) {
	defer s.recover(ctx, in.Message)
	m := in.Message
	if m.Channel == protocol.Stdin {
		s.inputReply(ctx, m)
		return
	}
	if err := protocol.Validate(m); err != nil {
		s.refuse(ctx, m, "InvalidRequest", err.Error())
		return
	}
	switch m.Header.MsgType {
	case "execute_request", "comm_open", "comm_msg", "comm_close", "complete_request", "inspect_request",
		"is_complete_request", "history_request", "comm_info_request":
		s.submit(ctx, in)
	case "kernel_info_request":
		if !s.info.ask(m) { // too many wait: say what is known
			s.answer(ctx, m, func() (protocol.Content, error) { return s.kernelInfo(nil, errStarting), nil })
		}
	case "shutdown_request":
		s.shutdown(ctx, m)
	case "interrupt_request":
		s.answer(ctx, m, func() (protocol.Content, error) { return s.interrupt(ctx) })
	case "usage_request":
		s.answer(ctx, m, func() (protocol.Content, error) { return s.usageReply(ctx) })
	case "connect_request":
		s.answer(ctx, m, s.connect)
	case "debug_request":
		s.logOnce(m, "debug requests are not supported")
		s.answer(ctx, m, func() (protocol.Content, error) { return refuseDebug(m) })
	default:
		// Without a reply, as the protocol wants; subshell requests are among
		// them, because the feature is not advertised.
		s.logOnce(m, "message of a type that is not supported")
		s.answer(ctx, m, func() (protocol.Content, error) { return nil, nil })
	}
}

// answer performs a request that the kernel answers itself: busy, the reply that
// fn makes, if any, and idle. An error of fn becomes an error reply.
func (s *serving) answer(ctx context.Context, m *protocol.Message, fn func() (protocol.Content, error)) {
	s.status(ctx, protocol.StateBusy, m)
	c, err := fn()
	if err != nil {
		s.log.Warn("request failed", "type", m.Header.MsgType, "error", err)
		c = errorReply(m.Header.MsgType, nameOf(err), err.Error())
	}
	if c != nil {
		s.send(ctx, m.Channel, c, m)
	}
	s.idle(ctx, m)
}

// refuse answers a request that nothing is done about with an error of the right
// type. What an execute is refused for is also shown in its cell.
func (s *serving) refuse(ctx context.Context, m *protocol.Message, ename, evalue string) {
	if m.Channel == protocol.Stdin {
		s.log.Warn("answer to a prompt left out", "reason", ename)
		return
	}
	s.status(ctx, protocol.StateBusy, m)
	s.sendError(ctx, m, ename, evalue)
	s.idle(ctx, m)
}

// sendError sends the error reply to m, and for an execute the error output.
func (s *serving) sendError(ctx context.Context, m *protocol.Message, ename, evalue string) {
	if m.Header.MsgType == "execute_request" && !silent(m) {
		s.send(ctx, protocol.IOPub, &protocol.ErrorOutput{EName: ename, EValue: evalue, Traceback: traceback(ename, evalue)}, m)
	}
	if c := errorReply(m.Header.MsgType, ename, evalue); c != nil {
		s.send(ctx, m.Channel, c, m)
	}
}

// silent reports whether the execute_request m wants no outputs.
func silent(m *protocol.Message) bool {
	c, err := m.Decode()
	if err != nil {
		return false
	}
	r, ok := c.(*protocol.ExecuteRequest)
	return ok && r.Silent
}

// recover ends a request whose handler panicked. It is called by defer.
func (s *serving) recover(ctx context.Context, m *protocol.Message) {
	p := recover()
	if p == nil {
		return
	}
	s.log.Error("panic while answering", "type", m.Header.MsgType, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
	if m.Channel == protocol.Stdin {
		return
	}
	s.sendError(ctx, m, "InternalError", "the kernel hit an internal error while it answered; its log has more")
	s.idle(ctx, m)
}

// status publishes what the kernel does about m, live: who is not there misses
// it.
func (s *serving) status(ctx context.Context, state string, m *protocol.Message) {
	s.send(ctx, protocol.IOPub, &protocol.Status{ExecutionState: state}, m)
}

// send sends c in answer to m. It does not wait for clients; a reply to one that
// is gone is dropped.
func (s *serving) send(ctx context.Context, ch protocol.Channel, c protocol.Content, m *protocol.Message) {
	out, err := protocol.New(ch, c, m)
	if err != nil {
		s.log.Error("message not made", "type", c.MsgType(), "error", err)
		return
	}
	out.Header.Session, out.Header.Username = s.id, s.opts.Username
	err = s.conn.Send(ctx, out)
	switch {
	case err == nil || ctx.Err() != nil:
	case errors.Is(err, ErrNoPeer):
		s.log.Debug("nobody is there for a reply", "type", c.MsgType())
	default:
		s.log.Warn("message not sent", "channel", ch, "type", c.MsgType(), "error", err)
	}
}

// idle publishes idle for m, which did not queue. While something else runs busy
// follows under its origin, or clients would show the kernel as idle.
func (s *serving) idle(ctx context.Context, m *protocol.Message) {
	s.status(ctx, protocol.StateIdle, m)
	// The lock is held over a Send, which does not wait, because this busy must
	// not come after the idle of what runs: see note.
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running != nil {
		s.status(ctx, protocol.StateBusy, &protocol.Message{RawHeader: s.running.header})
	}
}

// logOnce logs a refusal once for each type.
func (s *serving) logOnce(m *protocol.Message, message string) {
	s.mu.Lock()
	_, known := s.once[m.Header.MsgType]
	known = known || len(s.once) >= maxOnce
	if !known {
		s.once[m.Header.MsgType] = struct{}{}
	}
	s.mu.Unlock()
	if !known {
		s.log.Info(message, "channel", m.Channel, "type", m.Header.MsgType)
	}
}

// nameOf returns the ename that stands for err.
func nameOf(err error) string {
	switch {
	case errors.Is(err, ErrFenced):
		return "Fenced"
	case errors.Is(err, ErrSessionEnded):
		return "SessionEnded"
	case errors.Is(err, context.DeadlineExceeded):
		return "Timeout"
	}
	return "SessionError"
}

// errorReply returns the error reply to a request of type msgType; nil for a
// type that has none.
func errorReply(msgType, ename, evalue string) protocol.Content {
	r := protocol.Reply{Status: protocol.StatusError, EName: ename, EValue: evalue, Traceback: traceback(ename, evalue)}
	switch msgType {
	case "execute_request":
		return &protocol.ExecuteReply{Reply: r}
	case "inspect_request":
		return &protocol.InspectReply{Reply: r}
	case "complete_request":
		return &protocol.CompleteReply{Reply: r}
	case "history_request":
		return &protocol.HistoryReply{Reply: r}
	case "comm_info_request":
		return &protocol.CommInfoReply{Reply: r}
	case "kernel_info_request":
		return &protocol.KernelInfoReply{Reply: r, ProtocolVersion: protocol.Version}
	case "shutdown_request":
		return &protocol.ShutdownReply{Reply: r}
	case "interrupt_request":
		return &protocol.InterruptReply{Reply: r}
	case "connect_request":
		return bareReply("connect_reply", r)
	case "usage_request":
		return bareReply("usage_reply", r)
	case "is_complete_request":
		// Its status has words of its own.
		r.Status = "unknown"
		return bareReply("is_complete_reply", r)
	}
	return nil
}

// bareReply returns a reply with nothing but what all replies have.
func bareReply(msgType string, r protocol.Reply) protocol.Content {
	type plain protocol.Reply // with its fields as they are, whatever the status
	raw, err := json.Marshal(plain(r))
	if err != nil {
		raw = []byte(`{"status":"error"}`) // strings always have an encoding
	}
	return &protocol.Unknown{Type: msgType, Raw: raw}
}

func traceback(ename, evalue string) []string {
	return strings.Split(ename+": "+evalue, "\n")
}
