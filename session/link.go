package session

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"time"

	"github.com/gokernel/gokernel/sandbox"
	"github.com/gokernel/gokernel/session/wire"
)

const (
	// lastTime is how long the agent may take to read what goes out last.
	lastTime = time.Second
	// An agent that dies maxDeaths times within deathTime is not started again,
	// nor is one that cannot be started so many times in a row.
	maxDeaths = 5
	deathTime = time.Minute
	// Pauses between two attempts to dial.
	firstPause = 10 * time.Millisecond
	lastPause  = 500 * time.Millisecond
)

// dial opens a data connection, resuming after the last frame received.
func (a *Attachment) dial(ctx context.Context) (net.Conn, *wire.Reader, *wire.Welcome, error) {
	a.mu.Lock()
	h := wire.Hello{Link: "data", Front: a.front, Owner: a.owner, Resume: a.last, Want: a.wanted, Fresh: a.fresh}
	a.mu.Unlock()
	return a.s.hello(ctx, h)
}

// link keeps the link until ctx ends or the session does. It begins with an
// open connection.
func (a *Attachment) link(ctx context.Context, c net.Conn, r *wire.Reader, w *wire.Welcome) {
	for {
		err := a.serve(ctx, c, r, w)
		if ctx.Err() == nil && a.reason() == nil {
			a.s.m.log.Debug("the link to the agent broke", "session", a.s.id, "error", err)
			c, r, w, err = a.dialAgain(ctx)
		}
		if err != nil {
			a.finish(net.ErrClosed) // unless there is a better reason
			return
		}
	}
}

// met notes which agent the session has, and ends the link when it has had too
// many.
func (a *Attachment) met() {
	agent := string(a.s.handle().State)
	if agent == a.agent {
		return
	}
	first := a.agent == ""
	a.agent = agent
	if first {
		return
	}
	a.deaths = append(a.deaths, time.Now())
	if n := len(a.deaths) - maxDeaths; n >= 0 && time.Since(a.deaths[n]) < deathTime {
		a.finish(fmt.Errorf("%w: %d times within %v", ErrDead, maxDeaths, deathTime))
	}
}

// dialAgain dials until there is a connection, starting the agent when it is
// gone. An error says that ctx has ended, or the link has, for good.
func (a *Attachment) dialAgain(ctx context.Context) (net.Conn, *wire.Reader, *wire.Welcome, error) {
	failures := 0
	for attempt := 0; ; attempt++ {
		c, r, w, err := a.dial(ctx)
		if err == nil {
			a.met()
			if reason := a.reason(); reason != nil {
				return nil, nil, nil, errors.Join(reason, c.Close())
			}
			return c, r, w, nil
		}
		gone := errors.Is(err, sandbox.ErrNotFound)
		if gone && !a.hopeless(err) {
			if err = a.s.revive(ctx); err == nil {
				failures = 0
				a.met()
			} else if failures++; failures >= maxDeaths {
				a.finish(fmt.Errorf("%w, and cannot be started again: %w", ErrDead, err))
			}
		}
		if err != nil {
			a.hopeless(err)
		}
		if reason := a.reason(); reason != nil {
			return nil, nil, nil, reason
		}
		if attempt == 0 && err == nil {
			continue // it is up
		}
		// It starts, or ends: then it is still there for a moment.
		if pauseErr := pause(ctx, min(lastPause, firstPause<<min(attempt, 10))); pauseErr != nil {
			return nil, nil, nil, errors.Join(pauseErr, err)
		}
	}
}

// hopeless reports whether err means that dialling again is of no use, and
// then ends the link.
func (a *Attachment) hopeless(err error) bool {
	var refused *refusedError
	switch {
	case errors.As(err, &refused) && refused.Code == wire.CodeFenced:
		a.finish(ErrFenced)
	case errors.As(err, &refused) && refused.Code != wire.CodeClosing:
		a.finish(fmt.Errorf("attaching again: %w", err))
	case errors.Is(err, ErrExpired), errors.Is(err, ErrNotFound):
		a.finish(fmt.Errorf("the session has ended: %w: %w", err, io.EOF))
	default:
		return false
	}
	return true
}

// finish ends the link for good. The first reason counts.
func (a *Attachment) finish(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.err != nil {
		return
	}
	a.err = err
	a.outbox, a.sent, a.answers, a.answered, a.ack = nil, 0, nil, 0, nil
	if a.news != nil {
		close(a.news)
		a.news = nil
	}
}

// serve uses one connection until it breaks.
func (a *Attachment) serve(ctx context.Context, c net.Conn, r *wire.Reader, w *wire.Welcome) error {
	a.mu.Lock()
	a.epoch, a.sent, a.answered = w.Epoch, 0, 0
	a.last, a.wanted = w.Start, w.First
	if a.ack == nil && a.acked != nil {
		a.ack, a.ackDue = a.acked, true // it may have been lost
	}
	a.mu.Unlock()
	ctx, cancel := context.WithCancel(ctx)
	context.AfterFunc(ctx, func() { // ends the read below, and soon what the writer does
		_ = c.SetReadDeadline(time.Unix(1, 0))
		_ = c.SetWriteDeadline(time.Now().Add(lastTime))
	})
	written := make(chan struct{})
	go func() { defer close(written); a.write(ctx, c) }()
	err := a.read(ctx, r)
	cancel()
	<-written
	return errors.Join(err, ignoreClosed(c.Close()))
}

// read takes what the agent sends.
func (a *Attachment) read(ctx context.Context, r *wire.Reader) error {
	for {
		p, err := r.Read()
		if err != nil {
			return err
		}
		switch p.Type() {
		case wire.TypeFrame:
			f, err := wire.ParseFrame(p)
			if err != nil {
				return err
			}
			if err := a.receive(ctx, f); err != nil {
				return err
			}
		case wire.TypeAccepted:
			var accepted wire.Accepted
			if err := json.Unmarshal(p.Head, &accepted); err != nil {
				return err
			}
			a.accepted(accepted.IDs)
		case wire.TypeFenced:
			a.finish(ErrFenced)
			return ErrFenced
		case wire.TypeClosing:
			var closing wire.Closing
			if err := json.Unmarshal(p.Head, &closing); err != nil {
				return err
			}
			a.finish(fmt.Errorf("the session has ended: %s: %w", closing.Reason, io.EOF))
			return io.EOF
		}
	}
}

// receive puts f into the inbox, waiting while that is full. A frame that has
// come before is left out.
func (a *Attachment) receive(ctx context.Context, f *wire.Frame) error {
	for {
		a.mu.Lock()
		if len(a.inbox) == 0 || a.inBytes < maxInbox {
			a.take(f)
			a.mu.Unlock()
			return nil
		}
		if a.room == nil {
			a.room = make(chan struct{})
		}
		room := a.room
		a.mu.Unlock()
		select {
		case <-room:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// take puts f into the inbox. The caller holds mu.
func (a *Attachment) take(f *wire.Frame) {
	if a.last.Before(f.Cursor) {
		a.last = f.Cursor
	} else {
		i := slices.Index(a.wanted, f.Cursor)
		if i < 0 {
			return
		}
		a.wanted = slices.Delete(slices.Clone(a.wanted), i, i+1)
	}
	a.inbox = append(a.inbox, f)
	a.inBytes += f.Size()
	if a.news != nil {
		close(a.news)
		a.news = nil
	}
}

// accepted forgets requests that are safe with the agent.
func (a *Attachment) accepted(ids []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, id := range ids {
		i := slices.IndexFunc(a.outbox, func(o *outgoing) bool { return o.head.ID == id })
		if i < 0 {
			continue
		}
		a.outBytes -= a.outbox[i].size
		if i < a.sent {
			a.sent--
		}
		if i == 0 { // as they come
			a.outbox[0] = nil
			a.outbox = a.outbox[1:]
		} else {
			a.outbox = slices.Delete(a.outbox, i, i+1)
		}
	}
	if a.drained != nil {
		close(a.drained)
		a.drained = nil
	}
}

// write sends what waits: requests in order, answers and acknowledgements.
func (a *Attachment) write(ctx context.Context, c net.Conn) {
	defer c.Close() // the reader sees it
	w := wire.NewWriter(c)
	for last := false; ; {
		packets, err := a.outgoing(last)
		for _, p := range packets {
			if err == nil {
				err = w.Write(p)
			}
		}
		if err == nil {
			err = w.Flush()
		}
		if err != nil {
			a.s.m.log.Debug("writing to the agent", "session", a.s.id, "error", err)
			return
		}
		if last {
			return
		}
		select {
		case <-a.wake:
		case <-ctx.Done():
			last = true
		}
	}
}

// outgoing takes what is to be sent now. An acknowledgement waits until it is
// due, but for the last time.
func (a *Attachment) outgoing(last bool) (packets []*wire.Packet, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for ; a.sent < len(a.outbox); a.sent++ {
		o := a.outbox[a.sent]
		if o.head.Epoch == 0 {
			o.head.Epoch = a.epoch
		}
		p, err := wire.NewPacket(o.head, o.parts...)
		if err != nil {
			return nil, err
		}
		packets = append(packets, p)
	}
	packets = append(packets, a.answers[a.answered:]...)
	a.answered = len(a.answers)
	if a.ack == nil || !a.ackDue && !last {
		return packets, nil
	}
	p, err := wire.NewPacket(a.ack)
	a.acked, a.ack, a.ackDue = a.ack, nil, false
	return append(packets, p), err
}
