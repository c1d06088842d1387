package sandboxtest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/gokernel/gokernel/sandbox"
)

// DriverName is the name of a [Driver] in handles.
const DriverName = "test"

// A Driver runs agents as goroutines of the test, and fails on demand. Its
// streams are Unix sockets. Its methods are safe for concurrent use. Each agent
// has one goroutine, which ends when its serve function does.
type Driver struct {
	serve func(ctx context.Context, spec sandbox.Spec, l net.Listener) error

	mu       sync.Mutex
	startErr error
	dialErr  error
	agents   map[string]*fakeAgent
}

var _ sandbox.Driver = (*Driver)(nil)

// NewDriver returns a driver whose agents are calls of serve, as in
// local.AgentMain. Its owner calls Close.
func NewDriver(serve func(ctx context.Context, spec sandbox.Spec, l net.Listener) error) *Driver {
	return &Driver{serve: serve, agents: make(map[string]*fakeAgent)}
}

// A fakeAgent is a listener that keeps its connections, and a running serve.
type fakeAgent struct {
	net.Listener
	dir    string
	cancel context.CancelFunc
	done   chan struct{} // closed when serve has returned

	mu    sync.Mutex
	dead  bool
	conns []net.Conn
}

// Accept keeps what it accepts, to cut it.
func (a *fakeAgent) Accept() (net.Conn, error) {
	conn, err := a.Listener.Accept()
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.dead {
		return nil, errors.Join(net.ErrClosed, conn.Close())
	}
	a.conns = append(a.conns, conn)
	return conn, nil
}

// cut breaks all streams.
func (a *fakeAgent) cut() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, conn := range a.conns {
		_ = conn.Close() // may be closed already
	}
	a.conns = nil
}

// end ends the agent and waits for it. Killed, it is cut off before it can say
// anything.
func (a *fakeAgent) end(killed bool) {
	if killed {
		a.mu.Lock()
		a.dead = true
		a.mu.Unlock()
		_ = a.Close()
		a.cut()
	}
	a.cancel()
	<-a.done
	_ = a.Close()
	a.cut()
	_ = os.RemoveAll(a.dir)
}

// FailStart makes Start fail with err, or work again when err is nil.
func (d *Driver) FailStart(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.startErr = err
}

// FailDial makes Dial fail with err, or work again when err is nil.
func (d *Driver) FailDial(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.dialErr = err
}

// Cut breaks all streams to the agent of a session; the agent lives on.
func (d *Driver) Cut(id string) {
	if a := d.agent(id); a != nil {
		a.cut()
	}
}

// Kill ends an agent as a crash would, as far as its peers can see: the streams
// break first. It returns when serve has.
func (d *Driver) Kill(id string) {
	if a := d.take(id); a != nil {
		a.end(true)
	}
}

// Close stops all agents.
func (d *Driver) Close() error {
	d.mu.Lock()
	agents := d.agents
	d.agents = make(map[string]*fakeAgent)
	d.mu.Unlock()
	for _, a := range agents {
		a.end(false)
	}
	return nil
}

func (d *Driver) agent(id string) *fakeAgent {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.live(id)
}

// live returns the agent of a session if its serve has not returned.
func (d *Driver) live(id string) *fakeAgent {
	a := d.agents[id]
	if a == nil {
		return nil
	}
	select {
	case <-a.done:
		return nil
	default:
		return a
	}
}

func (d *Driver) take(id string) *fakeAgent {
	d.mu.Lock()
	defer d.mu.Unlock()
	a := d.agents[id]
	delete(d.agents, id)
	return a
}

func handle(id string) sandbox.Handle { return sandbox.Handle{Driver: DriverName, ID: id} }

// Start starts an agent in this process.
func (d *Driver) Start(ctx context.Context, spec sandbox.Spec) (sandbox.Handle, error) {
	if err := ctx.Err(); err != nil {
		return sandbox.Handle{}, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.startErr != nil {
		return sandbox.Handle{}, d.startErr
	}
	if d.live(spec.ID) != nil {
		return handle(spec.ID), nil
	}
	if spec.Dir != "" {
		if err := os.MkdirAll(spec.Dir, 0o700); err != nil {
			return sandbox.Handle{}, err
		}
	}
	dir, err := os.MkdirTemp("", "agent") // a short path, for a socket
	if err != nil {
		return sandbox.Handle{}, err
	}
	l, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		return sandbox.Handle{}, errors.Join(err, os.RemoveAll(dir))
	}
	agentCtx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	a := &fakeAgent{Listener: l, dir: dir, cancel: cancel, done: make(chan struct{})}
	if old := d.agents[spec.ID]; old != nil {
		old.end(true) // its serve has returned
	}
	d.agents[spec.ID] = a
	go func() {
		defer close(a.done)
		_ = d.serve(agentCtx, spec, a) // an agent's error is seen by what it does
	}()
	return handle(spec.ID), nil
}

// Dial opens a stream to an agent.
func (d *Driver) Dial(ctx context.Context, h sandbox.Handle) (net.Conn, error) {
	d.mu.Lock()
	err, a := d.dialErr, d.live(h.ID)
	d.mu.Unlock()
	if err != nil {
		return nil, err
	}
	if a == nil {
		return nil, fmt.Errorf("dial agent of session %s: %w", h.ID, sandbox.ErrNotFound)
	}
	var dialer net.Dialer
	return dialer.DialContext(ctx, "unix", a.Addr().String())
}

// List returns the agents that are up.
func (d *Driver) List(context.Context) ([]sandbox.Handle, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var handles []sandbox.Handle
	for id := range d.agents {
		if d.live(id) != nil {
			handles = append(handles, handle(id))
		}
	}
	slices.SortFunc(handles, func(a, b sandbox.Handle) int {
		if a.ID < b.ID {
			return -1
		}
		return 1
	})
	return handles, nil
}

// Stop ends the agent's context and waits for serve to return.
func (d *Driver) Stop(_ context.Context, h sandbox.Handle) error {
	if a := d.take(h.ID); a != nil {
		a.end(false)
	}
	return nil
}
