package agent

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/gokernel/gokernel/protocol"
	"github.com/gokernel/gokernel/session/wire"
)

// A prompt is an input_request that waits for its answer.
type prompt struct {
	process *process
	request *request
	number  uint64 // the runner's
}

// maxPrompts is how many prompts may be open at once. Only code with many
// threads that ask has more than one; past it the oldest is forgotten.
const maxPrompts = 1000

// ask sends a prompt to who has asked for what runs. An answer may come at once,
// so nobody sees the frame before the prompt is known.
func (a *Agent) ask(p *prompt, content []byte) {
	a.mu.Lock()
	f := a.message(p.request, protocol.Stdin, "input_request", nil, content, nil)
	a.prompts[f.Cursor] = p
	if len(a.prompts) > maxPrompts {
		oldest := f.Cursor
		for c := range a.prompts {
			if c.Before(oldest) {
				oldest = c
			}
		}
		delete(a.prompts, oldest)
	}
	a.mu.Unlock()
	a.touch()
}

// clearPrompts forgets prompts that nobody waits for any more.
func (a *Agent) clearPrompts(gone func(*prompt) bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for c, p := range a.prompts {
		if gone(p) {
			delete(a.prompts, c)
		}
	}
}

// promptsUpto returns the prompts at or before c.
func (a *Agent) promptsUpto(c wire.Cursor) []wire.Cursor {
	a.mu.Lock()
	defer a.mu.Unlock()
	var out []wire.Cursor
	for p := range a.prompts {
		if !c.Before(p) {
			out = append(out, p)
		}
	}
	return out
}

// takeInput hands an answer to the runner. The first answer to a prompt counts.
func (a *Agent) takeInput(packet *wire.Packet) error {
	var h wire.InputReply
	if err := json.Unmarshal(packet.Head, &h); err != nil {
		return fmt.Errorf("input reply: %w", err)
	}
	if !validObject(packet.Part(0)) {
		return nil
	}
	a.mu.Lock()
	p, ok := a.prompts[h.Prompt]
	delete(a.prompts, h.Prompt)
	a.mu.Unlock()
	if !ok {
		return nil
	}
	a.touch()
	head := map[string]any{"type": "input_reply", "id": p.request.ID, "prompt": p.number}
	if err := p.process.send(head, object(packet.Part(0))); err != nil {
		a.log.Debug("the runner takes no answer", "error", err) // its death, which follows, says why
	}
	return nil
}

// sorted returns cursors in order, each once.
func sorted(c []wire.Cursor) []wire.Cursor {
	slices.SortFunc(c, func(x, y wire.Cursor) int {
		switch {
		case x.Before(y):
			return -1
		case y.Before(x):
			return 1
		}
		return 0
	})
	return slices.Compact(c)
}
