package kerneltest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/gokernel/gokernel/kernel"
	"github.com/gokernel/gokernel/protocol"
	"github.com/gokernel/gokernel/session/wire"
)

// ErrInterrupted is returned by [Run.Input] when the run was interrupted.
var ErrInterrupted = errors.New("interrupted")

// Config is what a [Session] does. The zero value echoes what it executes.
type Config struct {
	ID   string // default: "fake"
	Kept bool
	// Handler performs one request, as the agent and a language process would.
	// Busy before it and idle after it are sent by the Session.
	Handler func(*Run)
	// Runner answers kernel_info. Default: [Runner].
	Runner func(ctx context.Context) (*wire.Runner, error)
	// SubmitError, when not nil, decides which requests are refused.
	SubmitError func(*wire.Request) error
	// Restart and Interrupt, when not nil, are called and their errors returned.
	Restart, Interrupt func(ctx context.Context) error
}

// Runner describes the language of a Session that has no other.
func Runner() *wire.Runner {
	return &wire.Runner{
		Implementation: "fake", ImplementationVersion: "1",
		LanguageInfo: protocol.LanguageInfo{Name: "fake", Version: "1", MimeType: "text/x-fake", FileExtension: ".fake"},
		Banner:       "a fake language",
	}
}

// A Session implements kernel.Session by functions in the test: it has a real
// queue, a journal in memory and cursors, and no process.
//
// One goroutine performs the queue. It ends, and is waited for, when the test
// ends.
type Session struct {
	cfg    Config
	cancel context.CancelFunc
	ctx    context.Context
	wg     sync.WaitGroup
	queue  chan *wire.Request

	mu       sync.Mutex // guards the fields below
	changed  chan struct{}
	frames   []*wire.Frame // the journal; frame i has number i+1
	replay   []wire.Cursor // held frames that a later front gets first
	read     uint64        // number of the last frame that Next has given
	fenced   bool
	ended    error
	upto     wire.Cursor
	held     []wire.Cursor
	requests []*wire.Request
	calls    []string
	run      *Run // the running one
	prompts  map[wire.Cursor]chan string
}

var _ kernel.Session = (*Session)(nil)

// NewSession returns a session that does what cfg says.
func NewSession(tb testing.TB, cfg Config) *Session {
	if cfg.ID == "" {
		cfg.ID = "fake"
	}
	if cfg.Handler == nil {
		cfg.Handler = Echo
	}
	if cfg.Runner == nil {
		cfg.Runner = func(context.Context) (*wire.Runner, error) { return Runner(), nil }
	}
	s := &Session{cfg: cfg, queue: make(chan *wire.Request, 4096), changed: make(chan struct{}), prompts: map[wire.Cursor]chan string{}}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.wg.Go(s.perform)
	tb.Cleanup(func() {
		s.cancel()
		s.mu.Lock()
		if s.run != nil { // a handler may wait for it
			s.run.interrupt()
		}
		s.mu.Unlock()
		s.wg.Wait()
	})
	return s
}

// Echo is the default handler: an execute prints its code and succeeds.
func Echo(r *Run) {
	if code, ok := r.Code(); ok {
		r.Publish(&protocol.ExecuteInput{Code: code, ExecutionCount: r.Count})
		r.Publish(&protocol.Stream{Name: protocol.Stdout, Text: code})
	}
	r.OK()
}

func (s *Session) perform() {
	count := 0
	for {
		select {
		case <-s.ctx.Done():
			return
		case r := <-s.queue:
			if r.MsgType == "execute_request" {
				count++
			}
			run := &Run{Request: r, Count: count, s: s, stop: make(chan struct{})}
			s.mu.Lock()
			if s.ctx.Err() != nil {
				s.mu.Unlock()
				return
			}
			s.run = run
			s.mu.Unlock()
			run.Publish(&protocol.Status{ExecutionState: protocol.StateBusy})
			s.cfg.Handler(run)
			run.Publish(&protocol.Status{ExecutionState: protocol.StateIdle})
			s.mu.Lock()
			s.run = nil
			s.mu.Unlock()
		}
	}
}

// notify wakes all that wait for a change. s.mu is held.
func (s *Session) notify() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// Emit appends f to the journal as the agent does: it gives it its number, its
// kind and its time if it has none, and returns its cursor.
func (s *Session) Emit(f *wire.Frame) wire.Cursor {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.emit(f)
}

// emit is Emit with s.mu held.
func (s *Session) emit(f *wire.Frame) wire.Cursor {
	f.Cursor = wire.Cursor{Epoch: 1, Number: uint64(len(s.frames)) + 1}
	if f.Kind == "" {
		f.Kind = wire.KindMessage
	}
	if f.Time.IsZero() {
		f.Time = time.Now()
	}
	s.frames = append(s.frames, f)
	s.notify()
	return f.Cursor
}

// Fence makes Next and Submit fail as if another kernel had taken over.
func (s *Session) Fence() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fenced = true
	s.notify()
}

// End ends the session: Next returns err once all frames are read.
func (s *Session) End(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = err
	s.notify()
}

// Reattach makes Next begin where a later front begins: with what was held, and
// then after what was acknowledged.
func (s *Session) Reattach() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.replay = slices.Clone(s.held)
	s.read = s.upto.Number
	s.notify()
}

// Acked returns the last acknowledgement.
func (s *Session) Acked() (upto wire.Cursor, held []wire.Cursor) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.upto, s.held
}

// WaitAcked waits until all frames that there are have been acknowledged but for
// want, which are held.
func (s *Session) WaitAcked(tb testing.TB, want ...wire.Cursor) {
	tb.Helper()
	s.wait(tb, func() bool { return s.upto.Number == uint64(len(s.frames)) && slices.Equal(s.held, want) }, func() string {
		return fmt.Sprintf("acknowledged up to %v but %v; want %d but %v", s.upto, s.held, len(s.frames), want)
	})
}

// WaitRequests waits until n requests have been submitted.
func (s *Session) WaitRequests(tb testing.TB, n int) {
	tb.Helper()
	s.wait(tb, func() bool { return len(s.requests) >= n }, func() string {
		return fmt.Sprintf("%d requests submitted, want %d", len(s.requests), n)
	})
}

// WaitCall waits until the named method has been called: interrupt, restart,
// detach or close.
func (s *Session) WaitCall(tb testing.TB, name string) {
	tb.Helper()
	s.wait(tb, func() bool { return slices.Contains(s.calls, name) }, func() string {
		return fmt.Sprintf("calls = %q, want %q among them", s.calls, name)
	})
}

func (s *Session) wait(tb testing.TB, done func() bool, state func() string) {
	tb.Helper()
	timer := time.NewTimer(Timeout)
	defer timer.Stop()
	for {
		s.mu.Lock()
		ok, changed, now := done(), s.changed, state()
		s.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-changed:
		case <-timer.C:
			tb.Fatalf("after %v %s", Timeout, now)
		}
	}
}

// Requests returns what was submitted.
func (s *Session) Requests() []*wire.Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}

// Calls returns the names of the methods that were called, in order: interrupt,
// restart, detach, close.
func (s *Session) Calls() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.calls)
}

// ID implements kernel.Session.
func (s *Session) ID() string { return s.cfg.ID }

// Kept implements kernel.Session.
func (s *Session) Kept() bool { return s.cfg.Kept }

// Submit implements kernel.Session.
func (s *Session) Submit(_ context.Context, r *wire.Request) error {
	if s.cfg.SubmitError != nil {
		if err := s.cfg.SubmitError(r); err != nil {
			return err
		}
	}
	s.mu.Lock()
	fenced, ended := s.fenced, s.ended
	s.requests = append(s.requests, r)
	s.notify()
	s.mu.Unlock()
	if fenced {
		return kernel.ErrFenced
	}
	if ended != nil {
		return ended
	}
	select {
	case s.queue <- r:
		return nil
	default:
		return errors.New("the fake session's queue is full")
	}
}

// Next implements kernel.Session.
func (s *Session) Next(ctx context.Context) (*wire.Frame, error) {
	for {
		s.mu.Lock()
		f, err := s.next()
		changed := s.changed
		s.mu.Unlock()
		if f != nil || err != nil {
			return f, err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (s *Session) next() (*wire.Frame, error) {
	switch {
	case s.fenced:
		return nil, kernel.ErrFenced
	case len(s.replay) > 0:
		f := s.frames[s.replay[0].Number-1]
		s.replay = s.replay[1:]
		return f, nil
	case s.read < uint64(len(s.frames)):
		s.read++
		return s.frames[s.read-1], nil
	}
	return nil, s.ended
}

// Ack implements kernel.Session.
func (s *Session) Ack(upto wire.Cursor, held []wire.Cursor) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.upto, s.held = upto, held
	s.notify()
}

// Answer implements kernel.Session.
func (s *Session) Answer(_ context.Context, prompt wire.Cursor, content []byte) error {
	var c protocol.InputReply
	if err := json.Unmarshal(content, &c); err != nil {
		return err
	}
	s.mu.Lock()
	answer := s.prompts[prompt]
	delete(s.prompts, prompt)
	s.mu.Unlock()
	if answer != nil {
		answer <- c.Value
	}
	return nil
}

// Runner implements kernel.Session.
func (s *Session) Runner(ctx context.Context) (*wire.Runner, error) { return s.cfg.Runner(ctx) }

// Usage implements kernel.Session.
func (s *Session) Usage(context.Context) (*wire.Usage, error) {
	return &wire.Usage{PID: 4711, CPU: 12.5, Memory: 1 << 20}, nil
}

func (s *Session) called(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, name)
	s.notify()
}

// Interrupt implements kernel.Session.
func (s *Session) Interrupt(ctx context.Context) error {
	s.called("interrupt")
	if s.cfg.Interrupt != nil {
		return s.cfg.Interrupt(ctx)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.run != nil {
		s.run.interrupt()
	}
	return nil
}

// Restart implements kernel.Session.
func (s *Session) Restart(ctx context.Context) error {
	s.called("restart")
	if s.cfg.Restart != nil {
		return s.cfg.Restart(ctx)
	}
	return nil
}

// Detach implements kernel.Session.
func (s *Session) Detach(context.Context) error {
	s.called("detach")
	return nil
}

// Close implements kernel.Session.
func (s *Session) Close(context.Context) error {
	s.called("close")
	s.End(io.EOF)
	return nil
}
