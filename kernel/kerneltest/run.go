package kerneltest

import (
	"encoding/json"
	"strings"

	"github.com/gokernel/gokernel/protocol"
	"github.com/gokernel/gokernel/session/wire"
)

// A Run is one request while a [Session] performs it.
type Run struct {
	Request *wire.Request
	Count   int // executes so far, this one included
	s       *Session
	stop    chan struct{}
	stopped bool // guarded by s.mu
}

// Code returns the code of an execute_request; false for other requests.
func (r *Run) Code() (string, bool) {
	var c protocol.ExecuteRequest
	if r.Request.MsgType != "execute_request" || json.Unmarshal(r.Request.Content, &c) != nil {
		return "", false
	}
	return c.Code, true
}

// Publish emits c on iopub with the request as parent.
func (r *Run) Publish(c protocol.Content) wire.Cursor { return r.emit(protocol.IOPub, c) }

// Progress emits p as a stage report of the run. The first of a run makes a
// display, those after it change that.
func (r *Run) Progress(first bool, p *wire.Progress) wire.Cursor {
	raw, err := json.Marshal(p)
	if err != nil {
		panic(err) // a mistake in a test
	}
	f := &wire.Frame{
		Kind: wire.KindProgress, Request: r.Request.ID, Owner: wire.KernelOwner, Channel: protocol.IOPub,
		MsgType: wire.MsgProgress, Parent: r.Request.Origin.Header, Content: raw,
	}
	if first {
		f.MsgType = wire.MsgProgressFirst
	}
	return r.Emit(f)
}

// Emit appends any frame to the journal, as [Session.Emit] does.
func (r *Run) Emit(f *wire.Frame) wire.Cursor { return r.s.Emit(f) }

// Reply emits c as the reply.
func (r *Run) Reply(c protocol.Content) wire.Cursor { return r.emit(r.Request.Origin.Channel, c) }

// OK emits a reply with status ok, if the request's type has one.
func (r *Run) OK() {
	ok := protocol.Reply{Status: protocol.StatusOK}
	if r.Request.MsgType == "execute_request" {
		r.Reply(&protocol.ExecuteReply{Reply: ok, ExecutionCount: &r.Count})
		return
	}
	if name, found := strings.CutSuffix(r.Request.MsgType, "_request"); found {
		r.Reply(&protocol.Unknown{Type: name + "_reply", Raw: []byte(`{"status":"ok"}`)})
	}
}

// Error emits an error and the reply that goes with it.
func (r *Run) Error(ename, evalue string) {
	r.Publish(&protocol.ErrorOutput{EName: ename, EValue: evalue, Traceback: []string{evalue}})
	r.Reply(&protocol.ExecuteReply{Reply: protocol.Reply{Status: protocol.StatusError, EName: ename, EValue: evalue}, ExecutionCount: &r.Count})
}

// Ask emits a prompt and returns its cursor and where the answer comes.
func (r *Run) Ask(prompt string) (wire.Cursor, <-chan string) {
	answer := make(chan string, 1)
	f := r.frame(protocol.Stdin, &protocol.InputRequest{Prompt: prompt})
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	cursor := r.s.emit(f)
	r.s.prompts[cursor] = answer
	return cursor, answer
}

// Input asks for a line and waits for it.
func (r *Run) Input(prompt string) (string, error) {
	_, answer := r.Ask(prompt)
	select {
	case text := <-answer:
		return text, nil
	case <-r.Interrupted():
		return "", ErrInterrupted
	case <-r.s.ctx.Done():
		return "", r.s.ctx.Err()
	}
}

// Interrupted is closed when the session is interrupted or the test ends.
func (r *Run) Interrupted() <-chan struct{} { return r.stop }

// interrupt is called with s.mu held.
func (r *Run) interrupt() {
	if !r.stopped {
		r.stopped = true
		close(r.stop)
	}
}

// Wait waits for ch, and gives up when the test ends.
func (r *Run) Wait(ch <-chan struct{}) {
	select {
	case <-ch:
	case <-r.s.ctx.Done():
	}
}

func (r *Run) emit(ch protocol.Channel, c protocol.Content) wire.Cursor {
	return r.s.Emit(r.frame(ch, c))
}

func (r *Run) frame(ch protocol.Channel, c protocol.Content) *wire.Frame {
	raw, err := protocol.EncodeContent(c)
	if err != nil {
		panic(err) // a mistake in a test
	}
	f := &wire.Frame{
		Request: r.Request.ID, Owner: wire.KernelOwner, Channel: ch, MsgType: c.MsgType(),
		Parent: r.Request.Origin.Header, Content: raw,
	}
	if ch != protocol.IOPub {
		f.Identities = r.Request.Origin.Identities
	}
	return f
}
