package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"
)

// errEnded is wrapped by errors of questions to a language process that has
// ended.
var errEnded = errors.New("the language process has ended")

// questions are those to a language process that wait for their answers.
type questions struct {
	mu      sync.Mutex // guards the fields below
	last    uint64
	waiting map[uint64]chan answer
}

// An answer is what a runner says to a question, or in words why it does not.
type answer struct {
	content json.RawMessage
	err     error
}

// An askPacket is the head of a question to the runner.
type askPacket struct {
	Type string `json:"type"`
	Ask  uint64 `json:"ask"`
	What string `json:"what"`
}

// ask asks the runner, which answers when it runs no code, or while its code waits
// for the agent. It returns when it has answered, the process has ended or ctx
// has.
func (p *process) ask(ctx context.Context, what string, content any) (json.RawMessage, error) {
	raw, err := json.Marshal(content)
	if err != nil {
		return nil, fmt.Errorf("asking for %s: %w", what, err)
	}
	c := make(chan answer, 1)
	p.asks.mu.Lock()
	if p.asks.waiting == nil {
		p.asks.waiting = map[uint64]chan answer{}
	}
	p.asks.last++
	number := p.asks.last
	p.asks.waiting[number] = c
	p.asks.mu.Unlock()
	defer func() {
		p.asks.mu.Lock()
		defer p.asks.mu.Unlock()
		delete(p.asks.waiting, number)
	}()
	late := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		_ = p.channel.SetWriteDeadline(time.Unix(1, 0)) // ends the write below
		close(late)
	})
	err = p.send(askPacket{Type: "ask", Ask: number, What: what}, raw)
	if !stop() {
		<-late
		if err == nil { // it came when all was written: what is written later has its time
			_ = p.channel.SetWriteDeadline(time.Time{}) // a closed channel says so itself
		}
	}
	if err != nil {
		return nil, fmt.Errorf("asking for %s: %w: %w", what, errEnded, err)
	}
	select {
	case a := <-c:
		if a.err != nil {
			return nil, fmt.Errorf("asking for %s: %w", what, a.err)
		}
		return a.content, nil
	case <-p.dead:
		return nil, fmt.Errorf("asking for %s: %w: %s", what, errEnded, p.cause)
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// answered takes an answer. One that nobody waits for is left out.
func (p *process) answered(h *runnerHead, content []byte) {
	a := answer{content: content}
	if h.Error != "" {
		a = answer{err: errors.New(h.Error)}
	} else if !validObject(content) {
		a = answer{err: errors.New("the answer is not well-formed")}
	}
	p.asks.mu.Lock()
	defer p.asks.mu.Unlock()
	c, ok := p.asks.waiting[h.Ask]
	if !ok {
		p.lang.a.log.Debug("an answer that nobody waits for", "ask", h.Ask)
		return
	}
	delete(p.asks.waiting, h.Ask)
	a.content = append([]byte(nil), a.content...) // the packet's memory is used again
	c <- a
}
