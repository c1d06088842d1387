package notebook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/gokernel/gokernel/kernel"
	"github.com/gokernel/gokernel/protocol"
)

const (
	// startTimeout is how long a kernel may take to be ready by default.
	startTimeout = time.Minute
	// askEvery is how often a kernel is asked whether it is ready. What it
	// publishes gets lost until the subscription is there, so once is not enough.
	askEvery = 500 * time.Millisecond
	// grace is how long interrupted code may take to end.
	grace = 5 * time.Second
	// idleAfterReply is how long after a reply, or the last output that follows
	// it, a kernel may take to become idle.
	idleAfterReply = 10 * time.Second
)

// Options say how [Run] runs a notebook. The zero value, and nil, run it until
// the first error, without a limit of time.
type Options struct {
	// AllowErrors goes on after cells that fail.
	AllowErrors bool
	// Timeout is how long a cell may run; 0 means for ever.
	Timeout time.Duration
	// StartTimeout is how long the kernel may take to be ready; 0 means a minute.
	StartTimeout time.Duration
	// Parameters are injected as [Inject] does, for the kernel's language.
	Parameters []Parameter
	// Kernelspec is what the notebook's metadata get when they name no kernel.
	Kernelspec Kernelspec
	// Interrupt interrupts the kernel. Default: an interrupt_request, which
	// kernels understand whose interrupt_mode is message.
	Interrupt func(ctx context.Context) error
	// NoTiming leaves the times of messages out of the cells' metadata.
	NoTiming bool
	// Progress is called for each event, by the goroutine that called Run.
	Progress func(Event)
	// Log gets what Run coped with. Default: nothing is logged.
	Log *slog.Logger
}

// A Kernelspec names a kernel in a notebook's metadata.
type Kernelspec struct {
	Name        string `json:"name"`
	DisplayName string `json:"display_name"`
	Language    string `json:"language,omitempty"`
}

// An EventKind says what an [Event] tells of.
type EventKind int

// The kinds of an Event. For each cell CellSkipped comes, or CellStarted, any
// number of CellOutput and CellFinished.
const (
	CellStarted  EventKind = iota
	CellOutput             // Output is new or has more text
	CellFinished           // Err is nil, or says why the cell failed, also when that is allowed
	CellSkipped            // not code, empty, or tagged so
)

// An Event tells how far a run is.
type Event struct {
	Kind    EventKind
	Index   int // of Cell in the notebook, from 0
	Cell    *Cell
	Done    int // how many cells had been run before this event
	Total   int // how many cells are to be run
	Output  *Output
	Err     error
	Elapsed time.Duration // since the cell started
}

// Run executes the code cells of nb, in order, over conn, the client's end of a
// connection to a kernel, which nobody else may receive from meanwhile. It does
// not close conn. Outputs, counts, times, the kernel's language and the state
// of widgets are written into nb as they come, also when Run fails.
//
// Cells without code and those tagged [TagSkip] are left alone. Code gets no
// input. Run returns when all cells have run, or with
//   - a [*CellError] for the first cell that fails, unless opts or the tag
//     [TagRaises] allow it;
//   - a [*TimeoutError] for a cell that takes too long: it is interrupted;
//   - an error that wraps [ErrKernelDied];
//   - the cause of ctx's end: the running cell is interrupted, and Run waits up
//     to 5 s for it.
func Run(ctx context.Context, conn kernel.Conn, nb *Notebook, opts *Options) error {
	if opts == nil {
		opts = &Options{}
	}
	r := &runner{
		conn: conn, nb: nb, opts: *opts, rec: NewRecorder(nb),
		clientID: uuid.NewString(), asked: map[string]bool{},
	}
	r.rec.NoTiming = opts.NoTiming
	if r.opts.Log == nil {
		r.opts.Log = slog.New(slog.DiscardHandler)
	}
	if err := r.connect(ctx); err != nil {
		return err
	}
	if err := r.describe(); err != nil {
		return err
	}
	if len(opts.Parameters) > 0 {
		if err := Inject(nb, r.language, opts.Parameters); err != nil {
			return err
		}
	}
	return errors.Join(r.cells(ctx), r.rec.SaveWidgets())
}

// A runner is one call of Run.
type runner struct {
	conn     kernel.Conn
	nb       *Notebook
	opts     Options
	rec      *Recorder
	clientID string

	asked    map[string]bool // ids of the kernel_info_requests
	answer   []byte          // content of the first answer
	heard    bool            // something that an ask caused has come on iopub
	language string

	total, done int
	current     *request
	lost        error // why the kernel is no longer the one that ran earlier cells
}

// A request is the execute_request that runs.
type request struct {
	id    string
	index int
	cell  *Cell
	start time.Time
	reply *protocol.ExecuteReply
	idle  bool
	input bool // it has been interrupted because it asks for input
}

// connect waits until the kernel answers and what it publishes arrives.
func (r *runner) connect(ctx context.Context) error {
	timeout := r.opts.StartTimeout
	if timeout == 0 {
		timeout = startTimeout
	}
	late := fmt.Errorf("the kernel was not ready after %v", timeout)
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, late)
	defer cancel()
	for r.answer == nil || !r.heard {
		if err := r.ask(ctx); err != nil {
			return err
		}
		if err := r.listen(ctx); err != nil {
			if errors.Is(err, late) && r.answer != nil {
				return fmt.Errorf("%w: it answers, but nothing comes on iopub", err)
			}
			return fmt.Errorf("waiting for the kernel: %w", err)
		}
	}
	return nil
}

// ask sends a kernel_info_request.
func (r *runner) ask(ctx context.Context) error {
	m, err := r.request(protocol.Shell, &protocol.KernelInfoRequest{})
	if err != nil {
		return err
	}
	r.asked[m.Header.MsgID] = true
	return r.conn.Send(ctx, m)
}

func (r *runner) request(ch protocol.Channel, c protocol.Content) (*protocol.Message, error) {
	m, err := protocol.New(ch, c, nil)
	if err != nil {
		return nil, err
	}
	r.sign(m)
	return m, nil
}

func (r *runner) sign(m *protocol.Message) {
	m.Header.Session, m.Header.Username = r.clientID, "gokernel"
}

// listen receives until the kernel is ready or it is time to ask again.
func (r *runner) listen(ctx context.Context) error {
	again, cancel := context.WithTimeout(ctx, askEvery)
	defer cancel()
	for r.answer == nil || !r.heard {
		m, err := r.receive(again)
		if err != nil && ctx.Err() == nil && again.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		parent, err := m.ParentHeader()
		if err != nil || !r.asked[parent.MsgID] {
			continue
		}
		if m.Channel == protocol.IOPub {
			r.heard = true
		}
		if m.Header.MsgType == "kernel_info_reply" {
			r.answer = m.Content
		}
	}
	return nil
}

// receive returns the next message. When ctx has ended its error is the cause.
func (r *runner) receive(ctx context.Context) (*protocol.Message, error) {
	m, err := r.conn.Recv(ctx)
	if err == nil {
		return m, nil
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%w: the connection has ended", ErrKernelDied)
	}
	return nil, fmt.Errorf("%w: %w", ErrKernelDied, err)
}

// describe writes into the notebook what the kernel says of itself.
func (r *runner) describe() error {
	var reply struct {
		protocol.Reply
		LanguageInfo json.RawMessage `json:"language_info"`
	}
	if err := json.Unmarshal(r.answer, &reply); err != nil {
		return fmt.Errorf("kernel_info_reply: %w", err)
	}
	if reply.Status != "" && reply.Status != protocol.StatusOK {
		return fmt.Errorf("the kernel does not start: %s: %s", reply.EName, reply.EValue)
	}
	var info protocol.LanguageInfo
	if err := json.Unmarshal(reply.LanguageInfo, &info); err != nil || info.Name == "" {
		return errors.New("kernel_info_reply names no language")
	}
	r.language = info.Name
	if err := r.nb.Metadata.Set("language_info", reply.LanguageInfo); err != nil {
		return err
	}
	if r.nb.KernelName() == "" && r.opts.Kernelspec.Name != "" {
		return r.nb.Metadata.Set("kernelspec", r.opts.Kernelspec)
	}
	return nil
}

// runs reports whether c is to be run.
func runs(c *Cell) bool {
	return c.Type == Code && strings.TrimSpace(c.Source) != "" && !c.HasTag(TagSkip)
}

func (r *runner) cells(ctx context.Context) error {
	for _, c := range r.nb.Cells {
		if runs(c) {
			r.total++
		}
	}
	for i, c := range r.nb.Cells {
		if !runs(c) {
			r.tell(Event{Kind: CellSkipped, Index: i, Cell: c})
			continue
		}
		if err := r.cell(ctx, i, c); err != nil {
			return err
		}
	}
	return nil
}

// tell reports an event, and adds what all events have.
func (r *runner) tell(e Event) {
	if r.opts.Progress == nil {
		return
	}
	e.Done, e.Total = r.done, r.total
	if r.current != nil {
		e.Index, e.Cell = r.current.index, r.current.cell
		e.Elapsed = time.Since(r.current.start)
	}
	r.opts.Progress(e)
}
