package agent

import (
	"context"
	"sync"
	"time"

	"github.com/gokernel/gokernel/sandbox"
	"github.com/gokernel/gokernel/session/wire"
)

const (
	// firstLook is how long a run lasts before its memory is looked at; a shorter
	// one pays for no more than its beginning and its end.
	firstLook = 50 * time.Millisecond
	// lookInterval is how often it is looked at from then on.
	lookInterval = 250 * time.Millisecond
)

// meter begins to measure what the session uses. The function that it returns
// ends that, the first time that it is called, and says how much processor time
// all processes of the session have used meanwhile and what the most memory was
// that they had together. Where the sandbox cannot tell, both are 0. Meanwhile a
// timer looks at the processes; after the end it does not.
func (a *Agent) meter(ctx context.Context) func() wire.Resources {
	return meterOf(ctx, a.sandbox, func(err error) { a.log.Debug("measuring what a run uses", "error", err) })
}

func meterOf(ctx context.Context, box sandbox.Sandbox, failed func(error)) func() wire.Resources {
	m, err := newMeter(ctx, box)
	if err != nil {
		failed(err)
		return func() wire.Resources { return wire.Resources{} }
	}
	w := &watch{meter: m}
	w.mu.Lock()
	w.timer = time.AfterFunc(firstLook, w.look)
	w.mu.Unlock()
	return sync.OnceValue(func() wire.Resources {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.timer.Stop()
		w.over = true
		used, err := m.End()
		if err != nil {
			failed(err)
		}
		return wire.Resources{CPU: used.CPU.Seconds(), PeakMemory: used.Peak}
	})
}

// A watch looks at a meter now and then.
type watch struct {
	mu    sync.Mutex // guards the fields below, held while it looks
	meter sandbox.Meter
	timer *time.Timer
	over  bool
}

func (w *watch) look() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.over {
		return
	}
	if w.meter.Look() == nil { // or the end says why
		w.timer.Reset(lookInterval)
	}
}

func newMeter(ctx context.Context, box sandbox.Sandbox) (sandbox.Meter, error) {
	if m, ok := box.(sandbox.Meterer); ok {
		return m.Meter()
	}
	first, err := box.Stats(ctx)
	if err != nil {
		return nil, err
	}
	ctx = context.WithoutCancel(ctx) // what was used is told also of what was cancelled
	return &statsMeter{
		stats: func() (sandbox.Stats, error) { return box.Stats(ctx) },
		from:  first.CPU, used: sandbox.Used{Peak: first.Memory},
	}, nil
}

// A statsMeter measures in a sandbox that knows only what is used now.
type statsMeter struct {
	stats func() (sandbox.Stats, error)
	from  time.Duration
	used  sandbox.Used
}

func (m *statsMeter) Look() error {
	stats, err := m.stats()
	if err != nil {
		return err
	}
	m.used.CPU = max(m.used.CPU, stats.CPU-m.from)
	m.used.Peak = max(m.used.Peak, stats.Memory)
	return nil
}

func (m *statsMeter) End() (sandbox.Used, error) {
	err := m.Look()
	return m.used, err
}
