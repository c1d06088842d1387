// Package agent is the process that holds one session: the queue of requests,
// the language process, the journal of everything that came of them, and the
// lease. Fronts come and go in front of it. The contract is in docs/agent.md.
package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gokernel/gokernel/protocol"
	"github.com/gokernel/gokernel/sandbox"
	"github.com/gokernel/gokernel/session/agent/files"
	"github.com/gokernel/gokernel/session/agent/journal"
	"github.com/gokernel/gokernel/session/wire"
)

// An Agent holds one session. Serve runs it, with these goroutines, which all
// end with Serve:
//
//	accept    takes connections; ends with the listener
//	handle    one a connection: reads what the front says
//	write     one a data connection: sends frames from the journal; a slow front
//	          blocks only its own
//	transfer  some for a command on a transfer connection; see transferLink
//	call      one a call on a control connection, maxCalls at most
//	dispatch  performs the queue, one request at a time; the only one that starts
//	          language processes and that handles their deaths
//	read      one a language process: turns its packets into frames
//	answer    one a call of the code on its agent, maxCalling a language process at
//	          most
//	watch     one a language process: waits for its end, empties its pipes
//	restart   replaces the language process when its own code asks for it
//	limit     one a run with a time limit, until it is over
//	stage     one a run in a stage beside its code: ends the stage at an interrupt
//	lease     ends the session when nothing holds it any more
//
// A language process that not even SIGKILL ends keeps its two for longer.
type Agent struct {
	spec    sandbox.Spec
	config  *wire.Config
	opts    Options
	log     *slog.Logger
	grace   time.Duration
	account *account
	shelf   shelf // what is installed

	journal   *journal.Journal
	sandbox   sandbox.Sandbox
	isolation string
	lang      *language     // the session's own
	deaths    chan *process // each process once, when nothing of it is left; never full

	cancel context.CancelCauseFunc // ends Serve
	tick   chan struct{}           // wakes lease when something it looks at has changed
	again  chan struct{}           // asks the dispatcher to start the language

	background sync.WaitGroup // restart, limit
	installing chan struct{}  // holds a token while an installer runs

	limitGrace time.Duration // replaced in tests

	queue   *queue
	history *history
	intake  sync.Mutex // held while a request is journaled and queued
	acks    sync.Mutex // held while the kernel's cursor moves

	sweeper files.Sweeper
	links   atomic.Int32             // transfer connections
	shared  atomic.Pointer[exchange] // the last one

	mu        sync.Mutex // guards the fields below
	fronts    map[*front]struct{}
	kernel    string              // name of the kernel's front that attached last
	fenced    map[string]struct{} // names of kernel fronts that it has taken over from
	prompts   map[wire.Cursor]*prompt
	kept      bool
	term      time.Duration         // the lease
	idleFrom  time.Time             // since when nothing has held the session; zero while held
	attached  bool                  // something has been attached
	over      string                // why the session ends for good; "" while it does not
	conns     map[net.Conn]struct{} // all connections; nil once they have been ended
	usage     usageSample
	transfers int                  // that are under way
	langs     map[string]*language // all that were asked for, by name
}

// errEnd is the cause with which Serve's context ends.
type errEnd struct {
	reason string
	final  bool // the session is over; otherwise another agent may open it again
}

func (e *errEnd) Error() string { return e.reason }

// Serve holds the session of spec and answers on l until the session ends or
// ctx does, and closes l. When the session has ended for good its directory is
// removed; when ctx has ended a kept session it is not, and its fronts may start
// another agent.
func Serve(ctx context.Context, spec sandbox.Spec, l net.Listener, opts Options) error {
	a, err := open(ctx, spec, opts)
	if err != nil {
		return errors.Join(err, l.Close())
	}
	return a.serve(ctx, l)
}

func open(ctx context.Context, spec sandbox.Spec, opts Options) (*Agent, error) {
	config, err := parseConfig(spec.Config)
	if err != nil {
		return nil, err
	}
	if spec.Secret == "" {
		return nil, errors.New("agent: no secret is given")
	}
	isolation, ok := opts.Isolations[config.Isolation]
	if !ok {
		return nil, fmt.Errorf("isolation %q is not known here", config.Isolation)
	}
	spoken, ok := opts.Languages(config.Language)
	if !ok {
		return nil, fmt.Errorf("language %q is not known here", config.Language)
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	a := &Agent{
		spec: spec, config: config, opts: opts, log: opts.Logger.With("session", spec.ID),
		grace: ownedGrace, isolation: isolation.Capabilities().Name,
		tick: make(chan struct{}, 1), again: make(chan struct{}, 1), installing: make(chan struct{}, 1), queue: newQueue(), history: newHistory(), limitGrace: limitGrace,
		deaths: make(chan *process, maxLanguages),
		fronts: map[*front]struct{}{}, fenced: map[string]struct{}{}, prompts: map[wire.Cursor]*prompt{},
		conns: map[net.Conn]struct{}{},
		kept:  config.Kept, term: config.Lease, idleFrom: time.Now(),
	}
	if opts.Grace > 0 {
		a.grace = opts.Grace
	}
	if opts.maxQueued > 0 {
		a.queue.maxQueued = opts.maxQueued
	}
	a.lang = newLanguage(a, config.Language, spoken, config.Interpreter)
	a.langs = map[string]*language{a.lang.name: a.lang}
	a.journal, err = journal.Open(filepath.Join(spec.Dir, "journal"), &journal.Options{
		OnError: func(err error) { a.log.Warn("journal keeps only what fits in memory", "error", err) },
	})
	if err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	a.account, err = openAccount(spec.Dir, time.Now())
	if err != nil {
		a.log.Warn("what the session is may be forgotten with this agent", "error", err)
	}
	a.queue.total = a.account.executed
	a.shelf.dir = filepath.Join(spec.Dir, "packages")
	a.sandbox, err = isolation.Open(ctx, sandbox.SandboxSpec{ID: spec.ID, Dir: filepath.Join(spec.Dir, "sandbox")})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("opening the sandbox: %w", err), a.journal.Close(), a.account.close())
	}
	return a, nil
}

func (a *Agent) serve(ctx context.Context, l net.Listener) error {
	ctx, cancel := context.WithCancelCause(ctx)
	a.cancel = cancel
	a.answerForDead()
	a.sweep()

	var language, accepting, links sync.WaitGroup
	language.Go(func() { a.dispatch(ctx) })
	language.Go(func() { a.watchLease(ctx) })
	accepting.Go(func() { a.accept(ctx, l, &links) })

	<-ctx.Done()
	var end *errEnd
	if !errors.As(context.Cause(ctx), &end) {
		end = &errEnd{reason: "the agent was told to stop", final: !a.isKept()}
	}
	if end.final {
		a.isOver(end.reason)
	}
	a.log.Info("session ends", "reason", end.reason, "final", end.final)
	language.Wait()
	a.stopLanguages()
	a.abortAll()
	var err error
	if !end.final { // whoever comes now finds that there is no agent
		err = l.Close()
	}
	a.hangUp(end)
	links.Wait()
	a.background.Wait()
	err = errors.Join(err, a.sandbox.Close(), a.journal.Close(), a.account.close())
	if end.final { // until it is known everywhere, whoever comes is told
		if a.opts.Ended != nil {
			a.opts.Ended(end.reason)
		}
		err = errors.Join(ignoreClosed(err), ignoreClosed(l.Close()), os.RemoveAll(a.spec.Dir))
	}
	accepting.Wait()
	return ignoreClosed(err)
}

// end ends the session for good.
func (a *Agent) end(reason string) {
	a.isOver(reason)
	a.cancel(&errEnd{reason: reason, final: true})
}

// isOver notes that the session ends for good. Nothing new is let in any more.
func (a *Agent) isOver(reason string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.over == "" {
		a.over = reason
	}
}

func (a *Agent) isKept() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.kept
}

// message appends a message that r caused to the journal; nil r means that
// nobody asked.
func (a *Agent) message(r *request, ch protocol.Channel, msgType string, metadata, content []byte, buffers [][]byte) *wire.Frame {
	f := &wire.Frame{
		Kind: wire.KindMessage, Channel: ch, MsgType: msgType, Time: time.Now(),
		Metadata: metadata, Content: content, Buffers: buffers,
	}
	if r != nil {
		f.Request, f.Owner, f.Parent = r.ID, r.owner, r.Origin.Header
		if ch != protocol.IOPub {
			f.Identities = r.Origin.Identities
		}
	}
	a.journal.Append(f)
	return f
}

// publish appends an iopub message with content c.
func (a *Agent) publish(r *request, c protocol.Content) *wire.Frame {
	return a.message(r, protocol.IOPub, c.MsgType(), nil, a.encode(c), nil)
}

// status appends a status message. Beside a run the kernel is shown busy, but
// not what the run does.
func (a *Agent) status(r *request, state string) *wire.Frame {
	f := a.publish(r, &protocol.Status{ExecutionState: state})
	if r != nil && r.owner != wire.KernelOwner {
		a.journal.Append(&wire.Frame{
			Kind: wire.KindMessage, Owner: wire.KernelOwner, Channel: protocol.IOPub, MsgType: "status", Time: time.Now(),
			Content: a.encode(&protocol.Status{ExecutionState: state}),
		})
	}
	return f
}

// encode encodes content of our own making, which cannot fail.
func (a *Agent) encode(c protocol.Content) []byte {
	b, err := protocol.EncodeContent(c)
	if err != nil {
		a.log.Error("encoding content", "type", c.MsgType(), "error", err)
		return []byte("{}")
	}
	return b
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}
