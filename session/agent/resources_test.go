package agent

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/gokernel/gokernel/sandbox"
	"github.com/gokernel/gokernel/session/wire"
)

// A measured is a sandbox that says what it is told to, and who asked.
type measured struct {
	sandbox.Sandbox // nil: nothing else is to be used
	stats           chan sandbox.Stats
	err             error
}

func (m *measured) Stats(context.Context) (sandbox.Stats, error) {
	if m.err != nil {
		return sandbox.Stats{}, m.err
	}
	return <-m.stats, nil
}

// peers D15: what a run is said to have used was measured while it ran, not made
// up: a peak between its beginning and its end counts.
func TestMeterSeesPeak(t *testing.T) {
	box := &measured{stats: make(chan sandbox.Stats)}
	ended := make(chan wire.Resources)
	begun := make(chan struct{})
	go func() {
		end := meterOf(context.Background(), box, func(err error) { t.Errorf("measuring: %v", err) })
		<-begun
		ended <- end()
	}()
	for i, stats := range []sandbox.Stats{
		{CPU: 3 * time.Second, Memory: 100},
		{CPU: 4 * time.Second, Memory: 900}, // by the timer
		{CPU: 5500 * time.Millisecond, Memory: 200},
	} {
		if i == 2 {
			close(begun)
		}
		select {
		case box.stats <- stats:
		case <-time.After(20 * time.Second):
			t.Fatalf("nobody asked for sample %d", i)
		}
	}
	if got, want := <-ended, (wire.Resources{CPU: 2.5, PeakMemory: 900}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	select {
	case box.stats <- sandbox.Stats{}:
		t.Error("it is looked at after the end")
	case <-time.After(2 * lookInterval):
	}
}

// A cancelled run has used something too.
func TestMeterOfCancelled(t *testing.T) {
	box := &measured{stats: make(chan sandbox.Stats, 2)}
	ctx, cancel := context.WithCancel(context.Background())
	box.stats <- sandbox.Stats{Memory: 1}
	end := meterOf(ctx, box, func(err error) { t.Errorf("measuring: %v", err) })
	cancel()
	box.stats <- sandbox.Stats{CPU: time.Second, Memory: 7}
	go func() {
		for { // the timer may have been first
			select {
			case box.stats <- sandbox.Stats{CPU: time.Second, Memory: 7}:
			case <-t.Context().Done():
				return
			}
		}
	}()
	if got, want := end(), (wire.Resources{CPU: 1, PeakMemory: 7}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// Where nothing can be measured nothing is made up.
func TestMeterCannot(t *testing.T) {
	why := errors.New("not on this system")
	var said error
	end := meterOf(context.Background(), &measured{err: why}, func(err error) { said = err })
	if got := end(); got != (wire.Resources{}) || !errors.Is(said, why) {
		t.Errorf("got %+v with %v, want zeros and %v", got, said, why)
	}
}

// A gauged is a sandbox with a meter of its own.
type gauged struct {
	sandbox.Sandbox
	looks chan struct{}
	over  bool
}

func (g *gauged) Meter() (sandbox.Meter, error) { return g, nil }
func (g *gauged) Look() error {
	select {
	case g.looks <- struct{}{}:
	default: // nobody waits for one
	}
	return nil
}
func (g *gauged) End() (sandbox.Used, error) {
	g.over = true
	return sandbox.Used{CPU: time.Second, Peak: 5}, nil
}

// A sandbox that can measure by itself is asked to, again and again while it
// takes long.
func TestMeterOfSandbox(t *testing.T) {
	box := &gauged{looks: make(chan struct{}, 2)}
	end := meterOf(context.Background(), box, func(err error) { t.Errorf("measuring: %v", err) })
	for range 2 {
		select {
		case <-box.looks:
		case <-time.After(20 * time.Second):
			t.Fatal("it is not looked at")
		}
	}
	if got, want := end(), (wire.Resources{CPU: 1, PeakMemory: 5}); got != want || !box.over {
		t.Errorf("got %+v, over %v; want %+v and the end", got, box.over, want)
	}
}
