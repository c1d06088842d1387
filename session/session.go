package session

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/gokernel/gokernel/sandbox"
	"github.com/gokernel/gokernel/session/wire"
)

// ErrDead is wrapped by errors about a session whose agent does not answer and
// cannot be started again.
var ErrDead = errors.New("the session's agent is dead")

// A Session is one session, wherever its agent runs. It holds no connection of
// its own; all methods are safe for concurrent use.
type Session struct {
	m  *Manager
	id string

	mu   sync.Mutex // guards the fields below
	row  *Row
	spec *sandbox.Spec // nil until it is needed
}

// ID returns the session's generated id.
func (s *Session) ID() string { return s.id }

// Name returns the session's name, or "".
func (s *Session) Name() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.row.Name
}

// Kept reports whether the session stands by itself.
func (s *Session) Kept() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.row.Kept
}

// Info asks the agent what the session is and how it is.
func (s *Session) Info(ctx context.Context) (*Info, error) {
	info := new(Info)
	return info, s.call(ctx, wire.CallInfo, nil, info)
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
// it is.
func (s *Session) Keep(ctx context.Context, lease time.Duration) error {
	if err := s.call(ctx, wire.CallKeep, wire.KeepArgs{Lease: lease}, nil); err != nil {
		return err
	}
	s.mu.Lock()
	s.row.Kept = true
	s.mu.Unlock()
	return s.m.store.SetKept(ctx, s.id, true)
}

// Close ends the session and returns when nothing of it is left: no process, no
// file. Closing one that has ended is no error.
func (s *Session) Close(ctx context.Context) error {
	short, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if err := s.call(short, wire.CallClose, nil, nil); err != nil {
		s.m.log.Debug("asking the agent to close", "session", s.id, "error", err)
	}
	return s.remove(ctx, "it was closed")
}

// remove ends the agent, if it is there, and removes all that is left.
func (s *Session) remove(ctx context.Context, reason string) error {
	if err := s.m.driver.Stop(ctx, s.handle()); err != nil {
		return fmt.Errorf("ending session %s: %w", s.id, err)
	}
	if err := os.RemoveAll(s.m.sessionDir(s.id)); err != nil {
		return err
	}
	return s.m.store.finish(ctx, s.id, reason)
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

// start starts the session's agent, or finds it running.
func (s *Session) start(ctx context.Context) error {
	s.mu.Lock()
	spec := s.spec
	s.mu.Unlock()
	if err := writeSpec(spec); err != nil {
		return err
	}
	h, err := s.m.driver.Start(ctx, *spec)
	if err != nil {
		return fmt.Errorf("starting the session's agent: %w", err)
	}
	s.mu.Lock()
	s.row.Handle, s.row.State = h, RowLive
	s.mu.Unlock()
	return s.m.store.SetHandle(ctx, s.id, h)
}

// revive starts an agent for a session whose agent has died. The session's
// files and its journal stay, its variables are gone.
func (s *Session) revive(ctx context.Context) error {
	row, err := s.m.store.Get(ctx, s.id)
	if err != nil {
		return err
	}
	if !row.Live() {
		return fmt.Errorf("session %s %w: %s", s.id, ErrExpired, row.EndReason)
	}
	spec, err := s.readSpec()
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.row, s.spec = row, spec
	s.mu.Unlock()
	return s.start(ctx)
}

func (s *Session) readSpec() (*sandbox.Spec, error) {
	s.mu.Lock()
	spec := s.spec
	s.mu.Unlock()
	if spec != nil {
		return spec, nil
	}
	spec, err := readSpec(s.m.sessionDir(s.id))
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.spec = spec
	s.mu.Unlock()
	return spec, nil
}

// hello opens a connection to the agent.
func (s *Session) hello(ctx context.Context, h wire.Hello) (net.Conn, *wire.Reader, *wire.Welcome, error) {
	spec, err := s.readSpec()
	if err != nil {
		return nil, nil, nil, err
	}
	c, err := s.m.driver.Dial(ctx, s.handle())
	if err != nil {
		return nil, nil, nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) }) // ends what is under way
	r, w, err := greet(c, h, spec.Secret)
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
	c := &caller{dial: func(ctx context.Context) (net.Conn, *wire.Reader, error) {
		conn, r, _, err := s.hello(ctx, wire.Hello{Link: "control"})
		return conn, r, err
	}}
	return errors.Join(c.call(ctx, method, args, value), c.close())
}

// A caller makes calls on a control connection, which it dials when it needs
// one. Safe for concurrent use. It starts one goroutine a connection, which
// reads the answers and ends with the connection.
type caller struct {
	dial func(context.Context) (net.Conn, *wire.Reader, error)
	wg   sync.WaitGroup

	mu      sync.Mutex // guards the fields below
	conn    net.Conn
	last    uint64
	waiting map[uint64]chan *wire.Result
	closed  bool
}

// call makes one call and decodes its answer into value.
func (c *caller) call(ctx context.Context, method string, args, value any) error {
	call := wire.Call{Type: wire.TypeCall, Method: method}
	if args != nil {
		b, err := json.Marshal(args)
		if err != nil {
			return err
		}
		call.Args = b
	}
	answer, err := c.send(ctx, &call)
	if err != nil {
		return err
	}
	select {
	case r, ok := <-answer:
		if !ok {
			return fmt.Errorf("%s: the link to the agent broke: %w", method, io.ErrUnexpectedEOF)
		}
		if r.Code != "" {
			return errors.New(r.Error)
		}
		if value == nil {
			return nil
		}
		return json.Unmarshal(r.Value, value)
	case <-ctx.Done():
		c.mu.Lock()
		delete(c.waiting, call.ID)
		c.mu.Unlock()
		return context.Cause(ctx)
	}
}

// send sends call and returns where its answer will come, or nothing if the
// connection breaks before.
func (c *caller) send(ctx context.Context, call *wire.Call) (<-chan *wire.Result, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, net.ErrClosed
	}
	if c.conn == nil {
		conn, r, err := c.dial(ctx)
		if err != nil {
			return nil, err
		}
		c.conn, c.waiting = conn, map[uint64]chan *wire.Result{}
		c.wg.Go(func() { c.read(conn, r) })
	}
	c.last++
	call.ID = c.last
	p, err := wire.NewPacket(call)
	if err != nil {
		return nil, err
	}
	answer := make(chan *wire.Result, 1)
	c.waiting[call.ID] = answer
	if err := c.conn.SetWriteDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return nil, err
	}
	if _, err := p.WriteTo(c.conn); err != nil {
		delete(c.waiting, call.ID)
		return nil, err
	}
	return answer, nil
}

func (c *caller) read(conn net.Conn, r *wire.Reader) {
	for {
		p, err := r.Read()
		if err != nil {
			break
		}
		result := new(wire.Result)
		if json.Unmarshal(p.Head, result) != nil || result.Type != wire.TypeResult {
			continue
		}
		c.mu.Lock()
		if answer, ok := c.waiting[result.ID]; ok {
			delete(c.waiting, result.ID)
			answer <- result
		}
		c.mu.Unlock()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	_ = conn.Close() // it has ended already
	if c.conn == conn {
		c.conn = nil
		for _, answer := range c.waiting {
			close(answer)
		}
		c.waiting = nil
	}
}

// close ends the connection and waits for its reader.
func (c *caller) close() error {
	c.mu.Lock()
	c.closed = true
	var err error
	if c.conn != nil {
		err = c.conn.Close()
	}
	c.mu.Unlock()
	c.wg.Wait()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}
