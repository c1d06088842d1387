//go:build unix

package runnertest

import (
	"fmt"
	"maps"
	"strings"
	"syscall"
)

// Options of [Runner.Execute] other than the code, by their names in an execute_request.
type Options map[string]any

// A Result is what came between a request and its done.
type Result struct {
	// ID is the request's.
	ID string
	// Outputs are streams and outputs in their order, of any request.
	Outputs []Message
	// Reply is the reply's content, nil if there was none; Metadata the reply's.
	Reply, Metadata map[string]any
}

// Begin sends a request and returns its id.
func (r *Runner) Begin(msgType string, content any, buffers ...[]byte) string {
	r.t.Helper()
	return r.begin(nil, msgType, content, buffers...)
}

// begin is Begin with more fields of the head.
func (r *Runner) begin(head map[string]any, msgType string, content any, buffers ...[]byte) string {
	r.t.Helper()
	*r.next++
	id := fmt.Sprintf("request-%d", *r.next)
	parts := []any{content, map[string]any{}}
	for _, b := range buffers {
		parts = append(parts, b)
	}
	all := map[string]any{"type": "request", "id": id, "msg_type": msgType}
	maps.Copy(all, head)
	r.send(all, parts...)
	return id
}

// BeginExecute sends an execute_request and returns its id.
func (r *Runner) BeginExecute(code string, options ...Options) string {
	r.t.Helper()
	content := map[string]any{
		"code": code, "silent": false, "store_history": true,
		"user_expressions": map[string]any{}, "allow_stdin": false, "stop_on_error": true,
	}
	for _, o := range options {
		for k, v := range o {
			content[k] = v
		}
	}
	return r.begin(r.head, "execute_request", content)
}

// In returns the runner with cells that ask for a working directory, unless it is
// empty, and for variables in the environment.
func (r *Runner) In(cwd string, env map[string]string) *Runner {
	c := *r
	c.head = map[string]any{"env": env}
	if cwd != "" {
		c.head["cwd"] = cwd
	}
	return &c
}

// Finish collects what comes until request id is done.
func (r *Runner) Finish(id string) Result {
	r.t.Helper()
	result := Result{ID: id}
	for {
		m := r.Next()
		switch m.Type {
		case "done":
			if m.ID != id {
				r.t.Fatalf("got done of %q, want %q", m.ID, id)
			}
			return result
		case "reply":
			if m.ID != id || result.Reply != nil {
				r.t.Fatalf("got an unexpected reply: %v", m)
			}
			result.Reply, result.Metadata = m.Content, m.Metadata
		default:
			result.Outputs = append(result.Outputs, m)
		}
	}
}

// Request sends a request and waits until it is done.
func (r *Runner) Request(msgType string, content any, buffers ...[]byte) Result {
	r.t.Helper()
	return r.Finish(r.Begin(msgType, content, buffers...))
}

// Execute runs a cell.
func (r *Runner) Execute(code string, options ...Options) Result {
	r.t.Helper()
	return r.Finish(r.BeginExecute(code, options...))
}

// Must runs a cell that must succeed.
func (r *Runner) Must(code string, options ...Options) Result {
	r.t.Helper()
	result := r.Execute(code, options...)
	if result.Status() != "ok" {
		r.t.Fatalf("got reply %v for %q, want ok; outputs %v", result.Reply, code, result.Outputs)
	}
	return result
}

// Until reads packets until one satisfies found, and returns all of them.
func (r *Runner) Until(found func(Message) bool) []Message {
	r.t.Helper()
	var list []Message
	for {
		m := r.Next()
		list = append(list, m)
		if found(m) {
			return list
		}
	}
}

// UntilText reads packets until their text together contains want.
func (r *Runner) UntilText(want string) []Message {
	r.t.Helper()
	var text string
	return r.Until(func(m Message) bool {
		text += m.Text
		return m.Type == "stream" && strings.Contains(text, want)
	})
}

// Answer answers an input_request.
func (r *Runner) Answer(m Message, value string) {
	r.t.Helper()
	r.send(map[string]any{"type": "input_reply", "id": m.ID, "prompt": m.Prompt}, map[string]any{"value": value})
}

// Ask asks what the agent asks, and returns the answer. What else comes meanwhile is
// left out.
func (r *Runner) Ask(what string, content any) Message {
	r.t.Helper()
	*r.next++
	number := *r.next
	r.send(map[string]any{"type": "ask", "ask": number, "what": what}, content)
	list := r.Until(func(m Message) bool { return m.Type == "answer" })
	answer := list[len(list)-1]
	if answer.Ask != number {
		r.t.Fatalf("got the answer to question %d, want %d", answer.Ask, number)
	}
	return answer
}

// Result answers a call: with an error, unless that is empty, or with content.
func (r *Runner) Result(call Message, failure string, content any) {
	r.t.Helper()
	head := map[string]any{"type": "result", "call": call.Call}
	if failure != "" {
		head["error"] = failure
	}
	r.send(head, content)
}

// Called reads packets until there is a call, and returns it.
func (r *Runner) Called() Message {
	r.t.Helper()
	list := r.Until(func(m Message) bool { return m.Type == "call" })
	return list[len(list)-1]
}

// Interrupt interrupts request id the way an agent does.
func (r *Runner) Interrupt(id string) {
	r.t.Helper()
	if _, err := r.interrupt.WriteString(id + "\n"); err != nil {
		r.t.Fatalf("write to the interrupt pipe: %v", err)
	}
	r.Signal()
}

// Signal sends SIGINT to the program's group, as somebody else would.
func (r *Runner) Signal() {
	r.t.Helper()
	if err := syscall.Kill(-r.PID, syscall.SIGINT); err != nil {
		r.t.Fatalf("send SIGINT: %v", err)
	}
}

// Shutdown asks the program to end.
func (r *Runner) Shutdown() {
	r.t.Helper()
	r.send(map[string]any{"type": "shutdown"})
}

// Hangup closes the agent's end of the channel.
func (r *Runner) Hangup() { r.conn.Close() }

// Status returns the status of the reply.
func (r Result) Status() string {
	s, _ := r.Reply["status"].(string)
	return s
}

// Text returns the text of a stream of this request.
func (r Result) Text(name string) string {
	var b strings.Builder
	for _, m := range r.Outputs {
		if m.Type == "stream" && m.Name == name && m.ID == r.ID {
			b.WriteString(m.Text)
		}
	}
	return b.String()
}

// Find returns the content of the first output of a type, nil if there is none.
func (r Result) Find(msgType string) map[string]any {
	for _, m := range r.Outputs {
		if m.MsgType == msgType {
			return m.Content
		}
	}
	return nil
}

// Value returns the text/plain of the result, "" if there is none.
func (r Result) Value() string {
	data, _ := r.Find("execute_result")["data"].(map[string]any)
	text, _ := data["text/plain"].(string)
	return text
}

// Kinds returns what came in which order: stream names and message types,
// with a stream's pieces joined.
func (r Result) Kinds() []string {
	var kinds []string
	for _, m := range r.Outputs {
		kind := m.MsgType
		if m.Type == "stream" {
			kind = m.Name
			if n := len(kinds); n > 0 && kinds[n-1] == kind {
				continue
			}
		}
		kinds = append(kinds, kind)
	}
	return kinds
}
