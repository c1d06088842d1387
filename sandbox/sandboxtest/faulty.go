package sandboxtest

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/gokernel/gokernel/sandbox"
)

// A FaultyIsolation is an isolation that works until it is told to fail. Its
// methods are safe for concurrent use.
type FaultyIsolation struct {
	real sandbox.Isolation

	mu        sync.Mutex
	openErr   error
	startErr  func(sandbox.Command) error
	dieAfter  time.Duration
	processes []sandbox.Process
}

var _ sandbox.Isolation = (*FaultyIsolation)(nil)

// NewFaultyIsolation returns an isolation that does what another one does.
func NewFaultyIsolation(isolation sandbox.Isolation) *FaultyIsolation {
	return &FaultyIsolation{real: isolation}
}

// FailOpen makes Open fail with err, or work again when err is nil.
func (f *FaultyIsolation) FailOpen(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.openErr = err
}

// FailStart makes Start fail with what fail says of a command, if that is not
// nil. A nil function lets all commands start.
func (f *FaultyIsolation) FailStart(fail func(sandbox.Command) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.startErr = fail
}

// DieAfter makes every process that is started from now on be killed after d;
// 0 lets them live.
func (f *FaultyIsolation) DieAfter(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.dieAfter = d
}

// Processes returns all processes that were started, in order, to be killed or
// signalled behind the back of the code under test.
func (f *FaultyIsolation) Processes() []sandbox.Process {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.processes)
}

// Capabilities says what the real isolation says.
func (f *FaultyIsolation) Capabilities() sandbox.Capabilities { return f.real.Capabilities() }

// Open makes a sandbox of the real isolation.
func (f *FaultyIsolation) Open(ctx context.Context, spec sandbox.SandboxSpec) (sandbox.Sandbox, error) {
	f.mu.Lock()
	err := f.openErr
	f.mu.Unlock()
	if err != nil {
		return nil, err
	}
	box, err := f.real.Open(ctx, spec)
	if err != nil {
		return nil, err
	}
	return &faultySandbox{box, f}, nil
}

type faultySandbox struct {
	sandbox.Sandbox
	faults *FaultyIsolation
}

func (s *faultySandbox) Start(ctx context.Context, cmd sandbox.Command) (sandbox.Process, error) {
	s.faults.mu.Lock()
	fail, dieAfter := s.faults.startErr, s.faults.dieAfter
	s.faults.mu.Unlock()
	if fail != nil {
		if err := fail(cmd); err != nil {
			return nil, err
		}
	}
	p, err := s.Sandbox.Start(ctx, cmd)
	if err != nil {
		return nil, err
	}
	s.faults.mu.Lock()
	s.faults.processes = append(s.faults.processes, p)
	s.faults.mu.Unlock()
	if dieAfter > 0 {
		time.AfterFunc(dieAfter, func() { _ = p.Kill(context.Background()) }) // Close ends it otherwise
	}
	return p, nil
}
