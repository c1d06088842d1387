package session

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"github.com/gokernel/gokernel/sandbox"
	"github.com/gokernel/gokernel/session/wire"
)

// ErrDead is wrapped by errors about a session whose agent has died, or does so
// again and again, and about a run whose language process has died.
var ErrDead = errors.New("the session's process has died")

// closeTime is how long an agent may take to hear that its session is closed
// before it is ended without being asked.
const closeTime = 5 * time.Second

// A Session is one session, wherever its agent runs. It holds no connection of
// its own; all methods are safe for concurrent use. Those that ask the agent
// return an error that wraps ErrDead when it has died: Attach starts it again.
type Session struct {
	m  *Manager
	id string

	made bool // by this Session

	mu      sync.Mutex // guards the fields below
	row     *Row
	spec    *sandbox.Spec // nil until it is needed
	started bool          // its agent was, through this Session
}

// wasStarted reports whether the session's agent was started through s.
func (s *Session) wasStarted() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.started
}

// ID returns the session's generated id.
func (s *Session) ID() string { return s.id }

// Name returns the session's name, or "".
func (s *Session) Name() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.row.Name
}

// language returns the session's own language.
func (s *Session) language() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.row.Language
}

// Kept reports whether the session stands by itself, as far as this Session
// knows: another one may have made it so.
func (s *Session) Kept() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.row.Kept
}

// Interrupt interrupts what runs in the session.
func (s *Session) Interrupt(ctx context.Context) error {
	return s.call(ctx, wire.CallInterrupt, wire.InterruptArgs{Owner: wire.KernelOwner}, nil)
}

// Restart replaces the language process; files stay.
func (s *Session) Restart(ctx context.Context) error {
	return s.call(ctx, wire.CallRestart, nil, nil)
}

// Keep makes the session stand by itself under a lease; 0 leaves the lease as
// it is. It stays so when its agent has to be started again.
func (s *Session) Keep(ctx context.Context, lease time.Duration) error {
	_, err := s.keep(ctx, lease)
	return err
}

// keep is Keep, and returns when the lease ends if nothing happens from now on.
func (s *Session) keep(ctx context.Context, lease time.Duration) (expires time.Time, err error) {
	if err := s.call(ctx, wire.CallKeep, wire.KeepArgs{Lease: lease}, nil); err != nil {
		return expires, err
	}
	spec, err := readSpec(s.m.sessionDir(s.id))
	if err == nil {
		lease, err = keepSpec(spec, lease)
	}
	if err == nil {
		err = writeSpec(spec)
	}
	if err == nil {
		err = s.m.store.SetKept(ctx, s.id, true)
	}
	if err != nil {
		return expires, fmt.Errorf("keeping session %s: %w", s.id, err)
	}
	s.mu.Lock()
	s.row.Kept = true
	s.mu.Unlock()
	info, err := s.Info(ctx)
	if err != nil {
		return expires, err
	}
	if expires = info.Expires; expires.IsZero() { // it is held now
		expires = time.Now().Add(lease)
	}
	return expires, nil
}

// Close ends the session and returns when nothing of it is left: no process, no
// file. Closing one that has ended is no error.
func (s *Session) Close(ctx context.Context) error {
	short, cancel := context.WithTimeout(ctx, closeTime)
	defer cancel()
	if err := s.call(short, wire.CallClose, nil, nil); err != nil {
		s.m.log.Debug("asking the agent to close", "session", s.id, "error", err)
	}
	return s.remove(ctx, "it was closed")
}

// remove ends the agent, if it is there, and removes all that is left. Its row
// goes first: a front that finds the agent gone does not start another one then,
// and one that is just doing so takes it back.
func (s *Session) remove(ctx context.Context, reason string) error {
	if row, err := s.m.store.Get(ctx, s.id); err == nil {
		s.mu.Lock()
		s.row = row // another front may have started another agent
		s.mu.Unlock()
	}
	if err := s.m.store.finish(ctx, s.id, reason); err != nil {
		return err
	}
	return s.wipe(ctx, s.handle())
}

// wipe ends the agent of a session that is over and removes its directory.
func (s *Session) wipe(ctx context.Context, h sandbox.Handle) error {
	if err := s.m.driver.Stop(ctx, h); err != nil {
		return fmt.Errorf("ending session %s: %w", s.id, err)
	}
	if err := os.RemoveAll(s.m.sessionDir(s.id)); err != nil {
		return fmt.Errorf("ending session %s: %w", s.id, err)
	}
	return nil
}

// Ended notes in the registry of a state directory that a session is over. Its
// agent calls it.
func Ended(ctx context.Context, stateDir, id, reason string) error {
	store, err := OpenStore(stateDir)
	if err != nil {
		return err
	}
	return errors.Join(store.finish(ctx, id, reason), store.Close())
}

// finish ends a session's row: of a kept one it stays known for a while that it
// has been, nobody could ask for an owned one.
func (s *Store) finish(ctx context.Context, id, reason string) error {
	row, err := s.Get(ctx, id)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if row.Kept {
		return s.End(ctx, id, reason)
	}
	return s.Delete(ctx, id)
}

// handle returns what finds the session's agent.
func (s *Session) handle() sandbox.Handle {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.row.Handle
	if h.ID == "" {
		h.ID = s.id
	}
	return h
}

// start starts the session's agent, or finds it running. When the session has
// been closed meanwhile, nothing of the agent is left and the error says so.
func (s *Session) start(ctx context.Context, spec *sandbox.Spec) error {
	h, err := s.m.driver.Start(ctx, *spec)
	if err != nil {
		return fmt.Errorf("starting the session's agent: %w", err)
	}
	if err := s.m.store.SetHandle(ctx, s.id, h); err != nil {
		if errors.Is(err, ErrExpired) || errors.Is(err, ErrNotFound) {
			err = errors.Join(err, s.wipe(ctx, h))
		}
		return err
	}
	s.mu.Lock()
	s.row.Handle, s.row.State = h, RowLive
	s.mu.Unlock()
	return nil
}

// revive starts an agent for a session whose agent has died, or waits for one
// that another process is just starting. The session's files and its journal
// stay, its variables are gone.
func (s *Session) revive(ctx context.Context) error {
	row, err := s.begun(ctx)
	if err != nil {
		return err
	}
	spec, err := readSpec(s.m.sessionDir(s.id))
	if errors.Is(err, ErrExpired) {
		return errors.Join(fmt.Errorf("session %s %w", s.id, err), s.m.store.finish(ctx, s.id, "its directory is gone"))
	}
	if err == nil && row.Kept {
		_, err = keepSpec(spec, 0)
	}
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.row, s.spec, s.started = row, spec, true
	s.mu.Unlock()
	return s.start(ctx, spec)
}

// startingTime is how long a process may take to start the agent of a session
// that it makes.
const startingTime = 30 * time.Second

// begun returns the session's row when no other process is about to start it
// for the first time.
func (s *Session) begun(ctx context.Context) (*Row, error) {
	deadline := time.Now().Add(startingTime)
	for wait := 2 * time.Millisecond; ; wait = min(2*wait, 50*time.Millisecond) {
		row, err := s.m.store.Get(ctx, s.id)
		if err != nil {
			return nil, err
		}
		if !row.Live() {
			return nil, fmt.Errorf("session %s %w: %s", s.id, ErrExpired, row.EndReason)
		}
		if row.State != RowStarting || !alive(row.FrontPID) || time.Now().After(deadline) {
			return row, nil
		}
		if err := pause(ctx, wait); err != nil {
			return nil, err
		}
	}
}

// pause waits for d or until ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// secret returns what a front must know to talk to the agent.
func (s *Session) secret() (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.spec == nil {
		spec, err := readSpec(s.m.sessionDir(s.id))
		if err != nil {
			return "", fmt.Errorf("session %s %w", s.id, err)
		}
		s.spec = spec
	}
	return s.spec.Secret, nil
}

// hello opens a connection to the agent, also when another process has started
// it again meanwhile.
func (s *Session) hello(ctx context.Context, h wire.Hello) (net.Conn, *wire.Reader, *wire.Welcome, error) {
	c, r, w, err := s.helloOnce(ctx, h)
	if isLinkError(err) && !errors.Is(err, sandbox.ErrNotFound) && ctx.Err() == nil {
		c, r, w, err = s.helloOnce(ctx, h) // it has just ended
	}
	if !errors.Is(err, sandbox.ErrNotFound) {
		return c, r, w, err
	}
	row, rowErr := s.m.store.Get(ctx, s.id)
	switch {
	case rowErr != nil:
		return nil, nil, nil, errors.Join(err, rowErr)
	case !row.Live():
		return nil, nil, nil, fmt.Errorf("session %s %w: %s", s.id, ErrExpired, row.EndReason)
	}
	s.mu.Lock()
	same := string(s.row.Handle.State) == string(row.Handle.State)
	s.row = row
	s.mu.Unlock()
	if same {
		return nil, nil, nil, err
	}
	return s.helloOnce(ctx, h)
}

func (s *Session) helloOnce(ctx context.Context, h wire.Hello) (net.Conn, *wire.Reader, *wire.Welcome, error) {
	c, err := s.m.driver.Dial(ctx, s.handle())
	if err != nil {
		return nil, nil, nil, err
	}
	secret, err := s.secret()
	if err != nil {
		return nil, nil, nil, errors.Join(err, c.Close())
	}
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) }) // ends what is under way
	r, w, err := greet(c, h, secret)
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return nil, nil, nil, errors.Join(err, c.Close())
	}
	return c, r, w, nil
}

// A refusedError is an agent's refusal of a connection.
type refusedError struct{ wire.Refused }

func (e *refusedError) Error() string { return "the agent refused: " + e.Message }

func greet(c net.Conn, h wire.Hello, secret string) (*wire.Reader, *wire.Welcome, error) {
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return nil, nil, err
	}
	h.Type, h.Version, h.Secret = wire.TypeHello, wire.Version, secret
	p, err := wire.NewPacket(h)
	if err != nil {
		return nil, nil, err
	}
	if _, err := p.WriteTo(c); err != nil {
		return nil, nil, err
	}
	r := wire.NewReader(c, 0)
	if p, err = r.Read(); err != nil {
		return nil, nil, fmt.Errorf("waiting for the agent's welcome: %w", err)
	}
	if p.Type() == wire.TypeRefused {
		e := new(refusedError)
		if err := json.Unmarshal(p.Head, &e.Refused); err != nil {
			return nil, nil, err
		}
		return nil, nil, e
	}
	w := new(wire.Welcome)
	if err := json.Unmarshal(p.Head, w); err != nil || w.Type != wire.TypeWelcome {
		return nil, nil, fmt.Errorf("%w: %q is no welcome", wire.ErrPacket, p.Type())
	}
	return r, w, c.SetDeadline(time.Time{})
}

// call makes one call on a connection of its own.
func (s *Session) call(ctx context.Context, method string, args, value any) error {
	c := newCaller(func(ctx context.Context) (net.Conn, *wire.Reader, error) {
		conn, r, _, err := s.hello(ctx, wire.Hello{Link: "control"})
		return conn, r, err
	})
	err := c.call(ctx, method, args, value)
	var refused *refusedError
	if errors.As(err, &refused) && refused.Code == wire.CodeClosing {
		err = fmt.Errorf("session %s %w: %s", s.id, ErrExpired, refused.Message)
	}
	if errors.Is(err, sandbox.ErrNotFound) && !errors.Is(err, ErrNotFound) {
		err = fmt.Errorf("session %s: %w: attach a kernel to start a new one, or close the session", s.id, ErrDead)
	}
	return errors.Join(err, c.close())
}
