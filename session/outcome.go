package session

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/gokernel/gokernel/session/wire"
)

// Errors of runs. They are wrapped; use errors.Is.
var (
	// ErrTimeLimit says that a run was ended by its TimeLimit.
	ErrTimeLimit = errors.New("the run has reached its time limit")
	// ErrNoAnswer is returned by a Request's Input for the end of the input: the
	// code gets what input() raises there, such as EOFError.
	ErrNoAnswer = errors.New("there is no answer")
	// ErrNoRun says that a session knows no run with an id.
	ErrNoRun = errors.New("no such run")
)

// errAborted says that a run was not performed.
var errAborted = errors.New("the run was aborted: its session was restarted or ended, or the language process died over another run")

// A StageError says in which stage a run has failed that got no answer to its
// code, because its code was not run or because its outcome is not known.
type StageError struct {
	Stage Stage
	Err   error
}

func (e *StageError) Error() string { return string(e.Stage) + ": " + e.Err.Error() }

// Unwrap returns what went wrong.
func (e *StageError) Unwrap() error { return e.Err }

// failedStages are the stages of the errors with which an agent answers a run
// in place of its code.
var failedStages = map[string]Stage{
	wire.NameNotUp:     StageInitializing,
	wire.NameQueueFull: StageConnecting,
	wire.NameInvalid:   StageConnecting,
	wire.NameSetup:     StageConnecting,
	wire.NameUpload:    StageUploading,
	wire.NameInstall:   StageInstalling,
	wire.NameDownload:  StageDownloading,
	wire.NameNoReply:   StageExecuting,
}

// byAgent reports whether an error is the agent's own and not raised by code.
func (e *CodeError) byAgent() bool {
	return len(e.Traceback) == 1 && e.Traceback[0] == e.Name+": "+e.Value
}

// outcome says how the run has ended: nil also for code that raised.
func (c *call) outcome() error {
	e := c.out.raised
	switch {
	case c.out.result != nil && c.out.result.TimeLimit && !c.resp.Success:
		return c.timeUp()
	case c.resp.Success:
		return errors.Join(c.out.hurt, c.inputErr)
	case c.cause != nil:
		return c.cause
	case c.inputErr != nil:
		return c.inputErr
	case !c.out.replied || e == nil:
		return &StageError{c.stage, errAborted}
	case !e.byAgent():
		return c.out.hurt
	case e.Name == wire.NameLimit:
		return c.timeUp()
	case e.Name == wire.NameDied || e.Name == wire.NameAgentDied:
		return fmt.Errorf("%w: %s", ErrDead, e.Value)
	case e.Name == wire.NameInterrupt:
		return &StageError{c.failedIn(), errors.New("the run was interrupted")}
	}
	if stage, ok := failedStages[e.Name]; ok {
		return &StageError{stage, errors.New(e.Value)}
	}
	return c.out.hurt
}

func (c *call) timeUp() error { return fmt.Errorf("%w of %v", ErrTimeLimit, c.r.TimeLimit) }

// failed says in which stage err came, unless it says enough by itself.
func (c *call) failed(ctx context.Context, err error) error {
	var invalid *InvalidError
	var staged *StageError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &invalid), errors.As(err, &staged):
		return err
	case ctx.Err() != nil:
		return context.Cause(ctx)
	}
	return &StageError{c.stage, err}
}

// broke says why the frames have ended.
func (c *call) broke(err error) error {
	if errors.Is(err, io.EOF) && !errors.Is(err, ErrExpired) && !errors.Is(err, ErrNotFound) {
		err = fmt.Errorf("session %s %w: %w", c.s.id, ErrExpired, err)
	}
	return &StageError{c.stage, err}
}

// failedIn returns the stage in which the run failed.
func (c *call) failedIn() Stage {
	if c.out.result != nil && c.out.result.Timing.Failed != "" {
		return c.out.result.Timing.Failed
	}
	return c.stage
}

// timing says where the time went until now. What no stage has taken is the
// link's.
func (c *call) timing(err error) Timing {
	if c.watching {
		if c.out.result != nil {
			return c.out.result.Timing
		}
		return Timing{Failed: c.stage}
	}
	now := time.Now()
	c.spend(now)
	t := Timing{Total: now.Sub(c.start), Stages: map[Stage]time.Duration{}}
	stages := c.spent
	if c.out.result != nil {
		stages = c.out.result.Timing.Stages
	}
	var others time.Duration
	for stage, d := range stages {
		if stage != StageConnecting && d > 0 {
			t.Stages[stage] = d
			others += d
		}
	}
	t.Total = max(t.Total, others) // clocks are read at different moments
	if rest := t.Total - others; rest > 0 {
		t.Stages[StageConnecting] = rest
	}
	if !c.resp.Success {
		t.Failed = c.failedIn()
		var staged *StageError
		if errors.As(err, &staged) {
			t.Failed = staged.Stage
		}
	}
	return t
}
