package session

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/gokernel/gokernel/session/wire"
)

// ErrFenced is wrapped by errors of an attachment that a newer kernel has taken
// the session over from.
var ErrFenced = wire.ErrFenced

// KernelOwner is the owner with which a kernel attaches.
const KernelOwner = wire.KernelOwner

const (
	// maxInbox is how many bytes of frames wait for Next before the agent is
	// no longer read; it has them in its journal.
	maxInbox = 32 << 20
	// maxOutbox is how many bytes of requests wait for the agent before
	// further ones are refused.
	maxOutbox = 1 << 30
	// attachTime bounds attaching, which may have to start the agent.
	attachTime = 60 * time.Second
	// ackInterval is how long an acknowledgement waits for company.
	ackInterval = 25 * time.Millisecond
	// keptAnswers is how many answers to prompts are sent again on a new
	// connection; the agent ignores what it had already.
	keptAnswers = 16
)

// An Attachment is one front's link to a session: requests go to the agent's
// queue, frames come from its journal. It dials again by itself when the link
// breaks, starts the agent again when it has died, and then goes on where it
// was: nothing is lost and nothing comes twice.
//
// It starts one goroutine that keeps the link and reads from it, one for each
// connection that writes, and one that reads the answers to calls; moments after
// an Ack a timer wakes the writer. They end with Detach or Close, which wait for
// them, or when the session ends.
type Attachment struct {
	s      *Session
	owner  string
	fresh  bool
	front  string
	calls  *caller
	cancel context.CancelFunc
	done   chan struct{} // closed when the link has ended for good
	wake   chan struct{} // holds a token when the writer may have something to do

	// The fields below are the link's.
	agent  string      // which one it was attached to last
	deaths []time.Time // when it met another one

	mu       sync.Mutex // guards the fields below
	epoch    uint64     // of the agent; 0 before the first connection
	outbox   []*outgoing
	outBytes int
	sent     int            // how many of outbox went out on the present connection
	answers  []*wire.Packet // the last ones, to send again on a new connection
	answered int            // how many of answers went out on the present connection
	ack      *wire.Ack      // not sent yet
	acked    *wire.Ack      // sent last
	ackDue   bool           // ack has waited long enough
	ackTimer *time.Timer    // runs while ack waits; nil before the first
	inbox    []*wire.Frame
	inBytes  int
	last     wire.Cursor   // of the last frame received, but for those wanted
	wanted   []wire.Cursor // frames up to last that are still to come
	err      error         // why the link has ended for good
	news     chan struct{} // closed when inbox or err changes; nil while nobody waits
	room     chan struct{} // closed when inbox has been emptied; nil while nobody waits
	drained  chan struct{} // closed when outbox gets shorter; nil while nobody waits
}

// An outgoing is a request that the agent has not accepted yet.
type outgoing struct {
	head  wire.RequestHead
	parts [][]byte
	size  int
}

// Attach attaches a front to the session, whose agent is started if it has died.
// owner is KernelOwner, which takes over from another kernel's front, or a
// run's id: then what the session still has of that run comes first. ctx bounds
// only the attaching.
func (s *Session) Attach(ctx context.Context, owner string) (*Attachment, error) {
	return s.attach(ctx, owner, false)
}

// attach is Attach; fresh says that owner is a run that nobody has sent yet.
func (s *Session) attach(ctx context.Context, owner string, fresh bool) (*Attachment, error) {
	a := &Attachment{s: s, owner: owner, fresh: fresh, front: uuid.NewString(), done: make(chan struct{}), wake: make(chan struct{}, 1)}
	a.calls = newCaller(func(ctx context.Context) (net.Conn, *wire.Reader, error) {
		c, r, _, err := s.hello(ctx, wire.Hello{Link: "control", Front: a.front, Owner: owner})
		return c, r, err
	})
	attaching, done := context.WithTimeout(ctx, attachTime)
	defer done()
	c, r, w, err := a.dialAgain(attaching)
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
		size:  512, // what it takes beside its bytes
	}
	if err := r.Check(); err != nil {
		return err
	}
	for _, p := range o.parts {
		o.size += len(p)
	}
	for _, id := range r.Origin.Identities {
		o.size += len(id)
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
			if len(a.inbox) == 0 && a.room != nil {
				close(a.room)
				a.room = nil
			}
			a.mu.Unlock()
			return f, nil
		}
		if err := a.err; err != nil {
			a.mu.Unlock()
			return nil, err
		}
		if a.news == nil {
			a.news = make(chan struct{})
		}
		news := a.news
		a.mu.Unlock()
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
	waits := a.ack != nil
	a.ack = &wire.Ack{Type: wire.TypeAck, Upto: upto, Held: held}
	switch {
	case waits || a.err != nil:
	case a.ackTimer == nil:
		a.ackTimer = time.AfterFunc(ackInterval, a.ackNow)
	default:
		a.ackTimer.Reset(ackInterval)
	}
}

func (a *Attachment) ackNow() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ackDue = true
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
	return r, a.ask(ctx, wire.CallRunner, nil, r)
}

// Usage says what the session's processes use.
func (a *Attachment) Usage(ctx context.Context) (*wire.Usage, error) {
	u := new(wire.Usage)
	return u, a.ask(ctx, wire.CallUsage, nil, u)
}

// taken waits until the agent has the request with this id, which was submitted.
func (a *Attachment) taken(ctx context.Context, id string) error {
	for {
		a.mu.Lock()
		if a.err != nil || !slices.ContainsFunc(a.outbox, func(o *outgoing) bool { return o.head.ID == id }) {
			defer a.mu.Unlock()
			return a.err
		}
		if a.drained == nil {
			a.drained = make(chan struct{})
		}
		drained := a.drained
		a.mu.Unlock()
		select {
		case <-drained:
		case <-a.done:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// ask makes a call that may be made twice, again when the link breaks meanwhile.
func (a *Attachment) ask(ctx context.Context, method string, args, value any) error {
	for {
		err := a.calls.call(ctx, method, args, value)
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

// Detach ends the link and leaves a kept session running. What was submitted
// before still goes to the agent if it can. An owned session, which cannot be
// left, ends soon, and the error says so. Detaching again, or after Close, does
// nothing.
func (a *Attachment) Detach(ctx context.Context) error {
	a.mu.Lock()
	args := wire.DetachArgs{Ack: a.ack}
	a.mu.Unlock()
	err := a.calls.call(ctx, wire.CallDetach, args, nil)
	for _, nobody := range []error{net.ErrClosed, ErrFenced, ErrExpired, ErrNotFound} {
		if isLinkError(err) || errors.Is(err, nobody) {
			err = nil // there is nobody to take leave of
		}
	}
	return errors.Join(err, a.end())
}

// Close ends the link and the session. Closing again, or after Detach, closes
// the session if it is still there.
func (a *Attachment) Close(ctx context.Context) error {
	err := a.s.Close(ctx)
	return errors.Join(err, a.end())
}

// end ends the link without a word to the agent and waits for its goroutines.
func (a *Attachment) end() error {
	a.cancel()
	<-a.done
	a.mu.Lock()
	if a.ackTimer != nil {
		a.ackTimer.Stop()
	}
	a.mu.Unlock()
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
