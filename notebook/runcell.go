package notebook

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gokernel/gokernel/protocol"
)

// ErrKernelDied is wrapped by errors of runs whose kernel ended, was restarted
// or is out of reach.
var ErrKernelDied = errors.New("the kernel died")

// A CellError says that the code of a cell failed.
type CellError struct {
	Index         int // in the notebook, from 0; messages count from 1
	Cell          *Cell
	EName, EValue string
	Traceback     []string // may have ANSI colours
}

// Error names the cell and the error, without the traceback.
func (e *CellError) Error() string {
	return fmt.Sprintf("%s: %s: %s", cellName(e.Index, e.Cell), e.EName, e.EValue)
}

// A TimeoutError says that a cell took too long. It is a
// context.DeadlineExceeded.
type TimeoutError struct {
	Index   int // in the notebook, from 0; messages count from 1
	Cell    *Cell
	Timeout time.Duration
	// Stopped says whether the interrupt ended the cell.
	Stopped bool
}

// Error names the cell and the limit.
func (e *TimeoutError) Error() string {
	s := fmt.Sprintf("%s: timed out after %v", cellName(e.Index, e.Cell), e.Timeout)
	if !e.Stopped {
		s += " and did not stop when it was interrupted"
	}
	return s
}

// Unwrap returns context.DeadlineExceeded.
func (e *TimeoutError) Unwrap() error { return context.DeadlineExceeded }

// cellName names a cell as users count: from 1, all types.
func cellName(index int, c *Cell) string {
	if c.ID == "" {
		return fmt.Sprintf("cell %d", index+1)
	}
	return fmt.Sprintf("cell %d (id %s)", index+1, c.ID)
}

// cell runs one cell and reports it.
func (r *runner) cell(ctx context.Context, index int, c *Cell) error {
	r.current = &request{index: index, cell: c, start: time.Now()}
	defer func() { r.current = nil }()
	r.tell(Event{Kind: CellStarted})
	err := r.execute(ctx)
	r.done++
	r.tell(Event{Kind: CellFinished, Err: err})
	var failed *CellError
	if errors.As(err, &failed) && r.allowed(c) {
		return nil
	}
	return err
}

// allowed reports whether c may fail.
func (r *runner) allowed(c *Cell) bool { return r.opts.AllowErrors || c.HasTag(TagRaises) }

// execute sends the current cell's code and waits until it is done.
func (r *runner) execute(ctx context.Context) error {
	q := r.current
	name := cellName(q.index, q.cell)
	if r.lost != nil {
		return fmt.Errorf("%s: %w", name, r.lost)
	}
	m, err := r.request(protocol.Shell, &protocol.ExecuteRequest{
		Code: q.cell.Source, StoreHistory: true, StopOnError: !r.allowed(q.cell),
	})
	if err != nil {
		return err
	}
	q.id = m.Header.MsgID
	r.rec.Begin(q.cell, q.id)
	if err := r.conn.Send(ctx, m); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	late := &TimeoutError{Index: q.index, Cell: q.cell, Timeout: r.opts.Timeout}
	cellCtx, cancel := ctx, context.CancelFunc(func() {})
	if r.opts.Timeout > 0 {
		cellCtx, cancel = context.WithTimeoutCause(ctx, r.opts.Timeout, late)
	}
	defer cancel()
	err = r.await(cellCtx)
	switch {
	case err == nil:
		return r.outcome(q)
	case ctx.Err() != nil:
		r.stop(ctx)
		return fmt.Errorf("%s: interrupted: %w", name, context.Cause(ctx))
	case cellCtx.Err() != nil:
		late.Stopped = r.stop(ctx)
		return late
	}
	return fmt.Errorf("%s: %w", name, err)
}

// stop interrupts the current cell, waits for it, and reports whether it ended.
func (r *runner) stop(ctx context.Context) bool {
	// The user who cancels wants the outputs of the cell all the same.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	for {
		if err := r.interrupt(ctx); err != nil {
			r.opts.Log.Warn("the kernel cannot be interrupted", "error", err)
			return false
		}
		// An interrupt hits only code that runs already: one that came too early
		// is sent again.
		step, done := context.WithTimeout(ctx, time.Second)
		err := r.await(step)
		early := step.Err() != nil && ctx.Err() == nil
		done()
		if err == nil || !early {
			return err == nil
		}
	}
}

func (r *runner) interrupt(ctx context.Context) error {
	if r.opts.Interrupt != nil {
		return r.opts.Interrupt(ctx)
	}
	m, err := r.request(protocol.Control, &protocol.InterruptRequest{})
	if err != nil {
		return err
	}
	return r.conn.Send(ctx, m)
}

// await receives until the current cell has its reply and is idle, which come
// in any order.
func (r *runner) await(ctx context.Context) error {
	q := r.current
	for q.reply == nil || !q.idle {
		m, err := r.receiveFor(ctx, q)
		if err != nil {
			return err
		}
		if m == nil {
			return nil
		}
		if err := r.handle(ctx, m); err != nil {
			return err
		}
	}
	return nil
}

// receiveFor returns the next message, or nil when the reply is there but idle
// does not come.
func (r *runner) receiveFor(ctx context.Context, q *request) (*protocol.Message, error) {
	if q.reply == nil {
		return r.receive(ctx)
	}
	short, cancel := context.WithTimeout(ctx, idleAfterReply)
	defer cancel()
	m, err := r.receive(short)
	if err != nil && ctx.Err() == nil && short.Err() != nil {
		r.opts.Log.Warn("the kernel has replied but did not become idle", "cell", q.index)
		return nil, nil
	}
	return m, err
}

// handle records a message and looks for what ends the current cell.
func (r *runner) handle(ctx context.Context, m *protocol.Message) error {
	q := r.current
	change, err := r.rec.Apply(m)
	if err != nil {
		r.opts.Log.Warn("the kernel sent a malformed message", "type", m.Header.MsgType, "error", err)
		return nil
	}
	for _, send := range change.Send {
		r.sign(send)
		if err := r.conn.Send(ctx, send); err != nil {
			return err
		}
	}
	if change.Output != nil {
		r.report(change)
	}
	parent, err := m.ParentHeader()
	if err != nil {
		return nil // then it is not for the current cell
	}
	mine := parent.MsgID == q.id
	switch m.Header.MsgType {
	case "status":
		return r.status(q, m, mine)
	case "execute_reply":
		if !mine || m.Channel != protocol.Shell {
			return nil
		}
		c, err := m.Decode()
		if err != nil {
			return err
		}
		q.reply, _ = c.(*protocol.ExecuteReply)
	case "input_request":
		if !mine || q.input {
			return nil
		}
		// The request said that there is no input; a kernel that asks all
		// the same would wait for ever.
		q.input = true
		r.opts.Log.Warn("a cell asks for input, which it cannot get: it is interrupted", "cell", q.index)
		return r.interrupt(ctx)
	}
	return nil
}

// report tells of an output, which may be a late one of an earlier cell.
func (r *runner) report(change Change) {
	if change.Cell == r.current.cell {
		r.tell(Event{Kind: CellOutput, Output: change.Output})
	}
}

// status follows what the kernel says of itself.
func (r *runner) status(q *request, m *protocol.Message, mine bool) error {
	c, err := m.Decode()
	if err != nil {
		return nil // noted by handle
	}
	s, ok := c.(*protocol.Status)
	if !ok {
		return nil
	}
	switch s.ExecutionState {
	case protocol.StateIdle:
		q.idle = q.idle || mine
	case protocol.StateDead:
		return ErrKernelDied
	case protocol.StateRestarting:
		// After the reply the cell's own error comes first: it has the cause.
		r.lost = fmt.Errorf("%w: it was restarted, and what earlier cells had made is gone", ErrKernelDied)
		if q.reply == nil {
			return r.lost
		}
	}
	return nil
}

// outcome returns the error that the reply of q has.
func (r *runner) outcome(q *request) error {
	switch q.reply.Status {
	case protocol.StatusOK, "":
		return nil
	case protocol.StatusError:
		return &CellError{Index: q.index, Cell: q.cell, EName: q.reply.EName, EValue: q.reply.EValue, Traceback: q.reply.Traceback}
	}
	return &CellError{Index: q.index, Cell: q.cell, EName: "Aborted", EValue: "the kernel did not run the cell"}
}
