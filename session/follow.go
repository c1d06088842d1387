package session

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/gokernel/gokernel/protocol"
	"github.com/gokernel/gokernel/session/wire"
)

const (
	// abandonTime is how long an interrupted run may take to give what it still
	// has.
	abandonTime = 3 * time.Second
	// limitTime is how long after its limit a run's session may take to end it.
	limitTime = 10 * time.Second
)

// A follower is what follow needs of a call while the run is in its session.
type follower struct {
	ctx     context.Context // ends with follow
	helpers sync.WaitGroup
	events  chan func() // what helpers have to do in the call's goroutine

	watching bool  // it is not this caller's run
	idle     bool  // the run is over
	cause    error // why the run was interrupted; nil if it was not
	giveUp   *time.Timer

	prompts  []*wire.Frame // that wait for their answer; Input has been asked about the first
	inputErr error         // of Input
}

func newFollower() follower { return follower{events: make(chan func())} }

// follow takes what the run sends until it is over, or ctx is and it has had a
// moment more. An error says that the frames have ended before.
func (c *call) follow(ctx context.Context) error {
	inner, cancel := context.WithCancel(context.WithoutCancel(ctx))
	c.ctx = inner
	c.giveUp = time.NewTimer(0)
	c.giveUp.Stop()
	if c.r.TimeLimit > 0 {
		c.giveUp.Reset(time.Until(c.start.Add(c.r.TimeLimit + limitTime)))
	}
	defer c.giveUp.Stop()
	defer c.helpers.Wait()
	defer cancel()

	frames := make(chan *wire.Frame)
	var end error // set before frames is closed
	c.helpers.Go(func() {
		defer close(frames)
		for {
			f, err := c.a.Next(inner)
			if err != nil {
				end = err
				return
			}
			select {
			case frames <- f:
			case <-inner.Done():
				return
			}
		}
	})
	stop := ctx.Done()
	for {
		select {
		case f, ok := <-frames:
			if !ok {
				return c.broke(end)
			}
			if last, err := c.take(f); last || err != nil {
				c.idle = last
				return err
			}
		case event := <-c.events:
			event()
		case <-stop:
			stop = nil
			if c.watching {
				return context.Cause(ctx)
			}
			c.abandon(context.Cause(ctx))
		case <-c.giveUp.C:
			if c.cause == nil { // the session should have ended it long ago
				c.abandon(c.timeUp())
				continue
			}
			return nil
		}
	}
}

// post gives an event to the call's goroutine.
func (c *call) post(event func()) {
	select {
	case c.events <- event:
	case <-c.ctx.Done():
	}
}

// take takes a frame, and reports whether it is the run's last.
func (c *call) take(f *wire.Frame) (last bool, err error) {
	if f.Request != c.id {
		return false, nil
	}
	switch {
	case f.Kind == wire.KindProgress:
		p := new(Progress)
		if err := json.Unmarshal(f.Content, p); err != nil {
			return false, fmt.Errorf("progress of a run: %w", err)
		}
		c.progress(p)
		return false, nil
	case f.Kind == wire.KindTransfer && !c.watching:
		return false, c.transfer(f)
	case f.MsgType == "input_request":
		c.ask(f)
		return false, nil
	case f.Kind == wire.KindMessage:
		return c.out.take(f)
	}
	return false, nil
}

// progress takes the agent's word on where the run is.
func (c *call) progress(p *Progress) {
	switch p.Stage {
	case StageCompleted, StageFailed:
		c.ended = true
	default:
		if p.Stage != c.stage {
			c.move(p.Stage)
		}
	}
	if c.r.OnProgress != nil {
		c.r.OnProgress(*p)
	}
}

// transfer sends or fetches what the agent asks for, beside the output.
func (c *call) transfer(f *wire.Frame) error {
	switch f.MsgType {
	case wire.MsgNeed:
		need := new(wire.Need)
		if err := json.Unmarshal(f.Content, need); err != nil {
			return fmt.Errorf("what the session asks for: %w", err)
		}
		c.helpers.Go(func() {
			err := c.sendFiles(need)
			if err != nil && c.ctx.Err() == nil {
				c.post(func() { c.abandon(&StageError{StageUploading, err}) })
			}
		})
	case wire.MsgOffer:
		offer := new(wire.Offer)
		if err := json.Unmarshal(f.Content, offer); err != nil {
			return fmt.Errorf("what the session offers: %w", err)
		}
		c.helpers.Go(func() {
			files := c.s.fetch(c.ctx, c.id, offer, c.r.Downloads)
			c.post(func() { // before the run can end
				for i, d := range c.r.Downloads {
					c.resp.Files[d.Path] = files[i]
				}
			})
			if err := c.a.ask(c.ctx, wire.CallFetched, wire.FetchedArgs{Run: c.id}, nil); err != nil {
				c.post(func() { c.abandon(&StageError{StageDownloading, err}) })
			}
		})
	}
	return nil
}

func (c *call) sendFiles(need *wire.Need) error {
	if c.parcel == nil {
		return fmt.Errorf("session %s asks for files of a run that has none", c.s.id)
	}
	return c.parcel.send(c.ctx, c.s, c.id, need)
}

// ask asks Input for what the code asks for. Prompts are answered one after the
// other.
func (c *call) ask(f *wire.Frame) {
	if c.r.Input == nil {
		return
	}
	if c.prompts = append(c.prompts, f); len(c.prompts) == 1 {
		c.askNext()
	}
}

// endOfInput is what front ends answer when there is no more input.
const endOfInput = "\x04"

func (c *call) askNext() {
	f := c.prompts[0]
	var prompt protocol.InputRequest
	if err := json.Unmarshal(f.Content, &prompt); err != nil {
		c.abandon(fmt.Errorf("a prompt of the run: %w", err))
		return
	}
	go func() { // ends when Input returns
		var value string
		var err error
		var panicked any
		func() {
			defer func() { panicked = recover() }()
			value, err = c.r.Input(prompt.Prompt, prompt.Password)
		}()
		c.post(func() {
			if panicked != nil {
				panic(panicked)
			}
			c.answer(f, value, err)
		})
	}()
}

// answer takes what Input has returned.
func (c *call) answer(f *wire.Frame, value string, err error) {
	if errors.Is(err, ErrNoAnswer) {
		value, err = endOfInput, nil
	}
	if err != nil {
		c.inputErr = fmt.Errorf("input for the run: %w", err)
		c.abandon(c.inputErr)
		return
	}
	content, err := protocol.EncodeContent(&protocol.InputReply{Value: value})
	if err == nil {
		err = c.a.Answer(c.ctx, f.Cursor, content)
	}
	if err != nil {
		c.abandon(fmt.Errorf("input for the run: %w", err))
		return
	}
	if c.prompts = c.prompts[1:]; len(c.prompts) > 0 {
		c.askNext()
	}
}

// abandon interrupts the run, which then has a moment to end.
func (c *call) abandon(cause error) {
	if c.cause != nil {
		return
	}
	c.cause = cause
	c.giveUp.Reset(abandonTime)
	c.helpers.Go(func() {
		err := c.a.taken(c.ctx, c.id) // it must be there to be interrupted
		if err == nil {
			err = c.a.Interrupt(c.ctx)
		}
		if err != nil && c.ctx.Err() == nil {
			c.m.log.Debug("interrupting a run", "session", c.s.id, "error", err)
		}
	})
}
