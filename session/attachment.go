package session

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/gokernel/gokernel/sandbox"
	"github.com/gokernel/gokernel/session/wire"
)

// ErrFenced is wrapped by errors of an attachment that a newer kernel has taken
// the session over from.
var ErrFenced = wire.ErrFenced

const (
	// maxInbox is how many bytes of frames wait for Next before the agent is
	// no longer read; it has them in its journal.
	maxInbox = 32 << 20
	// maxOutbox is how many bytes of requests wait for the agent before
	// further ones are refused.
	maxOutbox = 1 << 30
	// ackInterval is how long an acknowledgement may wait for company.
	ackInterval = 25 * time.Millisecond
	// keptAnswers is how many answers to prompts are sent again on a new
	// connection; the agent ignores what it had already.
	keptAnswers = 16
	// An agent that dies more often than maxRevivals times in revivalTime is
	// not started again.
	maxRevivals = 5
	revivalTime = time.Minute
)

// An Attachment is one front's link to a session: requests go to the agent's
// queue, frames come from its journal. It dials again by itself when the link
// breaks, starts the agent again when it has died, and then goes on where it
// was: nothing is lost and nothing comes twice.
//
// It starts one goroutine that keeps the link, and for each connection one that
// writes and, to end the connection with the attachment, one context hook; they
// end with Detach, Close or End, or when the session ends.
type Attachment struct {
	s      *Session
	owner  string
	front  string
	calls  *caller
	cancel context.CancelFunc
	done   chan struct{} // closed when the link has ended for good

	mu       sync.Mutex // guards the fields below
	epoch    uint64     // of the agent; 0 before the first connection
	outbox   []*outgoing
	outBytes int
	sent     int            // how many of outbox went out on the present connection
	answers  []*wire.Packet // the last ones, to send again on a new connection
	answered int            // how many of answers went out on the present connection
	ack      *wire.Ack      // not sent yet
	acked    time.Time      // when one was sent last
	inbox    []*wire.Frame
	inBytes  int
	last     wire.Cursor // of the last frame received
	err      error       // why the link has ended for good
	wake     chan struct{}
	news     chan struct{} // closed when inbox or err changes
	room     chan struct{} // closed when inbox has been emptied
}

// An outgoing is a request that the agent has not accepted yet.
type outgoing struct {
	head  wire.RequestHead
	parts [][]byte
	size  int
}

// Attach attaches a front to the session. owner is wire.KernelOwner, which takes
// over from another kernel's front, or a run's id.
func (s *Session) Attach(ctx context.Context, owner string) (*Attachment, error) {
	a := &Attachment{
		s: s, owner: owner, front: uuid.NewString(), done: make(chan struct{}),
		wake: make(chan struct{}, 1), news: make(chan struct{}), room: make(chan struct{}),
	}
	a.calls = &caller{dial: func(ctx context.Context) (net.Conn, *wire.Reader, error) {
		c, r, _, err := s.hello(ctx, wire.Hello{Link: "control", Front: a.front, Owner: owner})
		return c, r, err
	}}
	c, r, w, err := a.dial(ctx)
	if err != nil {
		return nil, fmt.Errorf("attaching to session %s: %w", s.id, err)
	}
	linked, cancel := context.WithCancel(context.Background())
	a.cancel = cancel
	go func() { defer close(a.done); a.link(linked, c, r, w) }()
	return a, nil
}

// ID returns the session's id.
func (a *Attachment) ID() string { return a.s.id }

// Kept reports whether the session stands by itself.
func (a *Attachment) Kept() bool { return a.s.Kept() }

// Submit hands r to the session's queue. It does not wait. An error means that
// r will not be run and will cause no frames.
func (a *Attachment) Submit(_ context.Context, r *wire.Request) error {
	o := &outgoing{
		head: wire.RequestHead{
			Type: wire.TypeRequest, ID: r.ID, MsgType: r.MsgType, Channel: r.Origin.Channel,
			Identities: r.Origin.Identities, Published: r.Published,
		},
		parts: append([][]byte{r.Origin.Header, r.Metadata, r.Content}, r.Buffers...),
	}
	for _, p := range o.parts {
		o.size += len(p)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.err != nil {
		return a.err
	}
	if a.outBytes+o.size > maxOutbox && len(a.outbox) > 0 {
		return fmt.Errorf("%d requests with %d bytes wait for the session's agent, which does not take them", len(a.outbox), a.outBytes)
	}
	a.outbox = append(a.outbox, o)
	a.outBytes += o.size
	a.kick()
	return nil
}

// Next returns the next frame, in order, each once in the life of this
// attachment. It returns an error that wraps ErrFenced when another kernel has
// taken over, and one that wraps io.EOF when the session has ended.
func (a *Attachment) Next(ctx context.Context) (*wire.Frame, error) {
	for {
		a.mu.Lock()
		if len(a.inbox) > 0 {
			f := a.inbox[0]
			a.inbox[0] = nil
			a.inbox = a.inbox[1:]
			a.inBytes -= f.Size()
			if len(a.inbox) == 0 {
				close(a.room)
				a.room = make(chan struct{})
			}
			a.mu.Unlock()
			return f, nil
		}
		err, news := a.err, a.news
		a.mu.Unlock()
		if err != nil {
			return nil, err
		}
		select {
		case <-news:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// Ack says that all frames up to upto have been delivered, but for those held.
// It does not wait; acknowledgements that come close together are one.
func (a *Attachment) Ack(upto wire.Cursor, held []wire.Cursor) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ack = &wire.Ack{Type: wire.TypeAck, Upto: upto, Held: held}
	a.kick()
}

// Answer answers the prompt that the frame at prompt carried with the content
// of an input_reply. It does not wait; the first answer to a prompt counts.
func (a *Attachment) Answer(_ context.Context, prompt wire.Cursor, content []byte) error {
	p, err := wire.NewPacket(wire.InputReply{Type: wire.TypeInputReply, Prompt: prompt}, content)
	if err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.err != nil {
		return a.err
	}
	if len(a.answers) == keptAnswers {
		a.answers = append(a.answers[:0], a.answers[1:]...)
		a.answered = max(0, a.answered-1)
	}
	a.answers = append(a.answers, p)
	a.kick()
	return nil
}

// Runner describes the language process, waiting until it is up. An error says
// why it cannot be started.
func (a *Attachment) Runner(ctx context.Context) (*wire.Runner, error) {
	r := new(wire.Runner)
	return r, a.ask(ctx, wire.CallRunner, r)
}

// Usage says what the session's processes use.
func (a *Attachment) Usage(ctx context.Context) (*wire.Usage, error) {
	u := new(wire.Usage)
	return u, a.ask(ctx, wire.CallUsage, u)
}

// ask makes a call that changes nothing, again when the link breaks meanwhile.
func (a *Attachment) ask(ctx context.Context, method string, value any) error {
	for {
		err := a.calls.call(ctx, method, nil, value)
		if err == nil || !isLinkError(err) {
			return err
		}
		timer := time.NewTimer(50 * time.Millisecond)
		select {
		case <-timer.C:
		case <-a.done:
			timer.Stop()
			return a.reason()
		case <-ctx.Done():
			timer.Stop()
			return context.Cause(ctx)
		}
	}
}

func isLinkError(err error) bool {
	var op *net.OpError
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, sandbox.ErrNotFound) || errors.As(err, &op)
}

// Interrupt interrupts what runs: for a kernel whatever it is, for a run only
// itself. It is sent at once or not at all, never later.
func (a *Attachment) Interrupt(ctx context.Context) error {
	return a.calls.call(ctx, wire.CallInterrupt, wire.InterruptArgs{Owner: a.owner}, nil)
}

// Restart replaces the language process; files stay. It returns when the old
// one has ended.
func (a *Attachment) Restart(ctx context.Context) error {
	return a.calls.call(ctx, wire.CallRestart, nil, nil)
}

// Detach ends the link and leaves a kept session running.
func (a *Attachment) Detach(ctx context.Context) error {
	err := a.calls.call(ctx, wire.CallDetach, nil, nil)
	return errors.Join(err, a.end())
}

// Close ends the link and the session.
func (a *Attachment) Close(ctx context.Context) error {
	err := a.s.Close(ctx)
	return errors.Join(err, a.end())
}

// end ends the link without a word to the agent and waits for its goroutines.
func (a *Attachment) end() error {
	a.cancel()
	<-a.done
	return a.calls.close()
}

func (a *Attachment) reason() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.err
}

func (a *Attachment) kick() {
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// dial opens a data connection, resuming after the last frame received.
func (a *Attachment) dial(ctx context.Context) (net.Conn, *wire.Reader, *wire.Welcome, error) {
	a.mu.Lock()
	last := a.last
	a.mu.Unlock()
	return a.s.hello(ctx, wire.Hello{Link: "data", Front: a.front, Owner: a.owner, Resume: last})
}

// link keeps the link until ctx ends or the session does. It begins with an
// open connection.
func (a *Attachment) link(ctx context.Context, c net.Conn, r *wire.Reader, w *wire.Welcome) {
	var revivals []time.Time
	for {
		err := a.serve(ctx, c, r, w)
		for attempt := 0; ; attempt++ {
			if ctx.Err() != nil {
				a.finish(net.ErrClosed)
				return
			}
			if a.reason() != nil {
				return
			}
			a.s.m.log.Debug("the link to the agent broke", "session", a.s.id, "error", err)
			if c, r, w, err = a.dial(ctx); err == nil {
				break
			}
			if a.hopeless(err) {
				return
			}
			if errors.Is(err, sandbox.ErrNotFound) {
				now := time.Now()
				if revivals = append(revivals, now); len(revivals) > maxRevivals && now.Sub(revivals[len(revivals)-maxRevivals]) < revivalTime {
					a.finish(fmt.Errorf("%w: it died %d times within a minute", ErrDead, maxRevivals))
					return
				}
				if err = a.s.revive(ctx); err == nil {
					continue
				}
				if a.hopeless(err) {
					return
				}
			}
			timer := time.NewTimer(min(500*time.Millisecond, 20*time.Millisecond<<min(attempt, 5)))
			select {
			case <-timer.C:
			case <-ctx.Done():
				timer.Stop()
			}
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
		a.finish(fmt.Errorf("%w: %w", ErrDead, err))
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
	close(a.news)
	a.news = make(chan struct{})
}

// serve uses one connection until it breaks.
func (a *Attachment) serve(ctx context.Context, c net.Conn, r *wire.Reader, w *wire.Welcome) error {
	a.mu.Lock()
	a.epoch, a.sent, a.answered = w.Epoch, 0, 0
	a.mu.Unlock()
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(ctx, func() { _ = c.SetReadDeadline(time.Unix(1, 0)) }) // ends the read below
	written := make(chan struct{})
	go func() { defer close(written); a.write(ctx, c) }()
	err := a.read(ctx, r)
	cancel()
	stop()
	<-written
	return errors.Join(err, ignoreClosed(c.Close()))
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
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

// receive puts f into the inbox, waiting while that is full.
func (a *Attachment) receive(ctx context.Context, f *wire.Frame) error {
	for {
		a.mu.Lock()
		if len(a.inbox) == 0 || a.inBytes < maxInbox {
			a.inbox = append(a.inbox, f)
			a.inBytes += f.Size()
			if a.last.Before(f.Cursor) {
				a.last = f.Cursor
			}
			close(a.news)
			a.news = make(chan struct{})
			a.mu.Unlock()
			return nil
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

// accepted forgets requests that are safe with the agent.
func (a *Attachment) accepted(ids []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, id := range ids {
		for i, o := range a.outbox {
			if o.head.ID != id {
				continue
			}
			a.outbox = append(a.outbox[:i], a.outbox[i+1:]...)
			a.outBytes -= o.size
			if i < a.sent {
				a.sent--
			}
			break
		}
	}
}

// write sends what waits: requests in order, answers and acknowledgements.
func (a *Attachment) write(ctx context.Context, c net.Conn) {
	defer c.Close() // the reader sees it
	w := bufio.NewWriterSize(c, 64<<10)
	var later *time.Timer
	for {
		packets, wait, err := a.outgoing()
		for _, p := range packets {
			if err == nil {
				_, err = p.WriteTo(w)
			}
		}
		if err == nil {
			err = w.Flush()
		}
		if err != nil {
			a.s.m.log.Debug("writing to the agent", "session", a.s.id, "error", err)
			return
		}
		var due <-chan time.Time
		if wait > 0 {
			later = time.NewTimer(wait)
			due = later.C
		}
		select {
		case <-a.wake:
		case <-due:
		case <-ctx.Done():
			a.lastAck(c)
			return
		}
		if later != nil {
			later.Stop()
		}
	}
}

// outgoing takes what is to be sent now. wait is when to look again for an
// acknowledgement that waits for company.
func (a *Attachment) outgoing() (packets []*wire.Packet, wait time.Duration, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for ; a.sent < len(a.outbox); a.sent++ {
		o := a.outbox[a.sent]
		if o.head.Epoch == 0 {
			o.head.Epoch = a.epoch
		}
		p, err := wire.NewPacket(o.head, o.parts...)
		if err != nil {
			return nil, 0, err
		}
		packets = append(packets, p)
	}
	packets = append(packets, a.answers[a.answered:]...)
	a.answered = len(a.answers)
	if a.ack == nil {
		return packets, 0, nil
	}
	if wait = ackInterval - time.Since(a.acked); wait > 0 {
		return packets, wait, nil
	}
	p, err := wire.NewPacket(a.ack)
	a.ack, a.acked = nil, time.Now()
	return append(packets, p), 0, err
}

// lastAck sends the acknowledgement that waits, if any.
func (a *Attachment) lastAck(c net.Conn) {
	a.mu.Lock()
	ack := a.ack
	a.ack = nil
	a.mu.Unlock()
	if ack == nil || c.SetWriteDeadline(time.Now().Add(time.Second)) != nil {
		return
	}
	p, err := wire.NewPacket(ack)
	if err == nil {
		_, err = p.WriteTo(c)
	}
	if err != nil {
		a.s.m.log.Debug("the last acknowledgement", "session", a.s.id, "error", err)
	}
}
