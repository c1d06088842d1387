package session

import (
	"context"
	"fmt"
	"slices"

	"github.com/gokernel/gokernel/session/wire"
)

// Runs returns the runs and cells that the session's agent remembers, oldest
// first: those that wait, the one that is running and the last that are done.
func (s *Session) Runs(ctx context.Context) ([]RunRecord, error) {
	var records []RunRecord
	if err := s.call(ctx, wire.CallRuns, nil, &records); err != nil {
		return nil, err
	}
	return records, nil
}

// Wait waits for the end of a run that somebody else has begun, perhaps a process
// that is no more, and returns what came of it, as Run would have: what it has
// written from its beginning, as far as the session's journal still has it. Files
// that it wanted to bring back are in the session; ReadFile reads them. When ctx
// ends Wait does, and the run goes on. The error wraps ErrNoRun when the session
// does not know the run, ErrDead when its agent is not running.
func (s *Session) Wait(ctx context.Context, runID string) (resp *Response, err error) {
	c := newCall(s.m, new(Request), runID)
	c.s, c.watching, c.resp.SessionID = s, true, s.id
	records, err := s.Runs(ctx)
	if err != nil {
		return c.resp, err
	}
	i := slices.IndexFunc(records, func(r RunRecord) bool { return r.ID == runID && r.Owner != KernelOwner })
	if i < 0 {
		return c.resp, fmt.Errorf("session %s: %w: %s", s.id, ErrNoRun, runID)
	}
	c.start = records[i].Created
	c.stage, c.since = records[i].Stage, c.start
	if c.a, err = s.Attach(ctx, runID); err != nil {
		return c.resp, err
	}
	defer func() { err = c.finish(ctx, err) }()
	if err = c.follow(ctx); err == nil {
		err = c.outcome()
	}
	c.done = true
	return c.resp, err
}

// InterruptRun interrupts one run, or takes it out of the session's queue. It
// does nothing when the run is done.
func (s *Session) InterruptRun(ctx context.Context, runID string) error {
	return s.call(ctx, wire.CallInterrupt, wire.InterruptArgs{Owner: runID}, nil)
}
