package agent

import (
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"unicode/utf8"

	"github.com/gokernel/gokernel/protocol"
	"github.com/gokernel/gokernel/session/wire"
)

const (
	// maxPiece is the largest text of one stream message in bytes.
	maxPiece = 1 << 20
	// maxRunnerPacket is the largest packet that a runner may send. The frame
	// that comes of it is a little larger, and must fit on a link.
	maxRunnerPacket = 1 << 30
)

// outputs are the messages that a runner may publish.
var outputs = map[string]bool{
	"execute_input": true, "display_data": true, "update_display_data": true, "execute_result": true, "error": true,
	"clear_output": true, "comm_open": true, "comm_msg": true, "comm_close": true,
}

// runnerHead is the head of any packet from a runner.
type runnerHead struct {
	Type    string `json:"type"`
	ID      string `json:"id"`
	MsgType string `json:"msg_type"`
	Name    string `json:"name"`
	Prompt  uint64 `json:"prompt"`
	Ask     uint64 `json:"ask"`
	Error   string `json:"error"`
	Call    uint64 `json:"call"`
	Method  string `json:"method"`
}

// read turns the runner's packets into frames until the channel ends. Nothing
// in a packet is trusted: ids are looked up, types checked, JSON verified.
func (p *process) read() {
	a := p.lang.a
	r := wire.NewReader(p.channel, maxRunnerPacket)
	for {
		packet, err := r.Read()
		if err == nil {
			var kept bool
			if kept, err = p.take(packet); !kept {
				r.Recycle(packet)
			}
		}
		if err == nil {
			continue
		}
		if !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) && !errors.Is(err, io.ErrUnexpectedEOF) {
			a.log.Warn("the runner broke its contract", "error", err)
			if err := p.proc.Signal(os.Kill); err != nil {
				a.log.Warn("killing the runner", "error", err)
			}
		}
		return
	}
}

// take handles one packet. It reports whether the packet's memory is in use from
// then on.
func (p *process) take(packet *wire.Packet) (kept bool, err error) {
	a := p.lang.a
	var h runnerHead
	if err := json.Unmarshal(packet.Head, &h); err != nil {
		return false, err
	}
	if err := p.begun(h.ID); err != nil {
		a.log.Debug("interrupting what has just begun", "error", err)
	}
	switch h.Type {
	case "stream":
		name := protocol.Stdout
		if h.Name == protocol.Stderr {
			name = protocol.Stderr
		}
		a.stream(a.queue.find(p.lang, h.ID), name, packet.Part(0))
	case "output":
		if !outputs[h.MsgType] || !validObject(packet.Part(0)) || !validObject(packet.Part(1)) {
			a.log.Warn("an output was not well-formed and is left out", "type", h.MsgType)
			return false, nil
		}
		kept = true
		a.message(a.queue.find(p.lang, h.ID), protocol.IOPub, h.MsgType, packet.Part(1), packet.Part(0), rest(packet, 2))
	case "reply":
		kept = true
		p.reply(&h, packet)
	case "done":
		if r := a.queue.current(); r != nil && r.ID == h.ID && r.lang == p.lang {
			a.clearPrompts(func(p *prompt) bool { return p.request == r })
			if !closed(r.done) {
				close(r.done)
			}
		}
	case "input_request":
		if r := a.queue.find(p.lang, h.ID); r != nil && validObject(packet.Part(0)) {
			kept = true
			a.ask(&prompt{process: p, request: r, number: h.Prompt}, packet.Part(0))
		}
	case "answer":
		p.answered(&h, packet.Part(0))
	case "call":
		return false, p.called(&h, packet.Part(0))
	case "ready":
		return false, p.setReady(packet.Part(0))
	case "exit":
		p.mu.Lock()
		p.exiting = true
		p.mu.Unlock()
	case "restart":
		if p.lang.restarting.Swap(true) {
			return false, nil
		}
		a.log.Info("the session's code asks for a restart", "language", p.lang.name)
		a.background.Go(func() {
			defer p.lang.restarting.Store(false)
			if err := a.restart(p.lang); err != nil {
				a.log.Warn("restart", "error", err)
			}
		})
	default:
		a.log.Debug("packet of an unknown type from the runner", "type", h.Type)
	}
	return kept, nil
}

func (p *process) setReady(raw []byte) error {
	info := new(wire.Runner)
	if err := json.Unmarshal(raw, info); err != nil {
		return err
	}
	if p.isReady() {
		return nil
	}
	info.PID = p.proc.PID() // as the host sees it
	p.info = info
	close(p.ready)
	p.lang.set(p, nil)
	return nil
}

// reply appends the reply to the running request.
func (p *process) reply(h *runnerHead, packet *wire.Packet) {
	a := p.lang.a
	r := a.queue.current()
	if r == nil || r.ID != h.ID || r.lang != p.lang || h.MsgType != replyType(r.MsgType) || !validObject(packet.Part(0)) || !validObject(packet.Part(1)) {
		a.log.Warn("a reply that nobody waits for is left out", "type", h.MsgType)
		return
	}
	if r.replied.Swap(true) {
		return
	}
	out := &reply{msgType: h.MsgType, metadata: packet.Part(1), content: packet.Part(0), buffers: rest(packet, 2)}
	switch {
	case r.execute == nil:
		a.message(r, r.Origin.Channel, out.msgType, out.metadata, out.content, out.buffers)
	case r.run != nil:
		r.held = out // the dispatcher has more to do before
	default:
		result := r.course.finish(replyStatus(out.content).Status != protocol.StatusError, nil, nil)
		out.metadata = a.withResult(out.metadata, result)
		p.publishReply(r, out)
	}
}

// publishReply publishes the language's reply to an execute.
func (p *process) publishReply(r *request, out *reply) {
	a := p.lang.a
	f := a.message(r, r.Origin.Channel, out.msgType, out.metadata, out.content, out.buffers)
	status := replyStatus(out.content)
	p.lang.count.Store(int64(status.Count))
	if status.Status == protocol.StatusError && r.execute.StopOnError && !r.execute.Silent && r.owner == wire.KernelOwner {
		a.queue.fail(f.Cursor)
	}
}

// stream appends text as stream messages of at most maxPiece bytes.
func (a *Agent) stream(r *request, name string, text []byte) {
	for len(text) > 0 {
		n := cut(text, maxPiece)
		content := make([]byte, 0, n+n/32+64) // escapes of lines of common length fit
		a.message(r, protocol.IOPub, "stream", nil, protocol.AppendStreamContent(content, name, text[:n]), nil)
		text = text[n:]
	}
}

// cut returns how many bytes of text, at most limit, make a piece that ends
// neither within a character, nor between \r and \n, nor within an escape
// sequence, as far as that can be had.
func cut(text []byte, limit int) int {
	if len(text) <= limit {
		return len(text)
	}
	n := limit
	for i := 0; i < utf8.UTFMax-1 && n > 1 && !utf8.RuneStart(text[n]); i++ {
		n--
	}
	if e := escapeStart(text[:n]); e > 0 {
		n = e
	}
	if n > 1 && text[n-1] == '\r' && text[n] == '\n' {
		n--
	}
	return n
}

// escapeStart returns where an escape sequence begins that text ends within,
// or 0.
func escapeStart(text []byte) int {
	const longest = 64
	for i := len(text) - 1; i >= max(0, len(text)-longest); i-- {
		if text[i] != 0x1b {
			continue
		}
		for j, c := range text[i+1:] {
			if j == 0 && c == '[' {
				continue
			}
			if c >= 0x40 && c <= 0x7e {
				return 0 // it is complete
			}
		}
		return i
	}
	return 0
}

// validObject reports whether raw is a JSON object in UTF-8, or empty.
func validObject(raw []byte) bool {
	if len(raw) == 0 {
		return true
	}
	return raw[0] == '{' && json.Valid(raw) && utf8.Valid(raw)
}

func rest(p *wire.Packet, from int) [][]byte {
	if len(p.Parts) <= from {
		return nil
	}
	return p.Parts[from:]
}

// replyType returns the type of the reply to a request, "" when it has none.
func replyType(msgType string) string {
	const suffix = "_request"
	if len(msgType) > len(suffix) && msgType[len(msgType)-len(suffix):] == suffix {
		return msgType[:len(msgType)-len(suffix)] + "_reply"
	}
	return ""
}
