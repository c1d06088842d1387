package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/gokernel/gokernel/protocol"
	"github.com/gokernel/gokernel/sandbox"
	"github.com/gokernel/gokernel/session/wire"
)

const (
	// exitTime is how long a language process may take to end by itself.
	exitTime = 1500 * time.Millisecond
	// endTime is how long its end, with that of all that it has started, is
	// waited for.
	endTime = 15 * time.Second
)

// A language is one language of the session and the process that it runs in.
// The dispatcher starts processes; anybody may ask for the present one.
type language struct {
	a      *Agent
	name   string
	spoken Language

	interpreter string       // the language's program; the dispatcher's
	unserved    int          // deaths in a row of processes that were given no request; the dispatcher's
	count       atomic.Int64 // the last execution count seen
	restarting  atomic.Bool  // its own code has asked for a restart, which is under way

	mu      sync.Mutex    // guards the fields below
	current *process      // the last that was started; nil before the first
	failure error         // why the last start failed
	changed chan struct{} // closed when one of the two changes, or the process gets ready
}

// A process is one language process.
type process struct {
	lang    *language
	proc    sandbox.Process
	channel net.Conn
	writes  sync.Mutex // held while a packet is written
	signals *os.File   // write end of the interrupt pipe
	pipes   [2]*outPipe
	calls   calls
	asks    questions

	interpreter string // that it was started with

	ready chan struct{} // closed when the runner is ready
	dead  chan struct{} // closed when nothing of the process is left, after its death was reported
	info  *wire.Runner  // set before ready is closed
	cause string        // how it ended, set before dead is closed

	mu       sync.Mutex // guards the fields below
	expected string     // why its end is no accident
	exiting  bool       // its user ended it

	served bool // it was given a request; the dispatcher's
}

func newLanguage(a *Agent, name string, spoken Language, interpreter string) *language {
	return &language{a: a, name: name, spoken: spoken, interpreter: interpreter, changed: make(chan struct{})}
}

// isOwn reports whether l is the session's own language: that of its kernel.
func (l *language) isOwn() bool { return l == l.a.lang }

// set makes p the present process, or failure the reason that there is none.
func (l *language) set(p *process, failure error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.current, l.failure = p, failure
	close(l.changed)
	l.changed = make(chan struct{})
}

// get returns the present process, which may have ended, or why there is none.
func (l *language) get() (*process, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.current, l.failure
}

// info waits until the language process is ready and describes it. The error
// says why it cannot be started.
func (l *language) info(ctx context.Context) (*wire.Runner, error) {
	for {
		l.mu.Lock()
		p, failure, changed := l.current, l.failure, l.changed
		l.mu.Unlock()
		if failure != nil {
			return nil, failure
		}
		if p != nil && p.isReady() {
			return p.info, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// isReady reports whether p has said that it takes requests.
func (p *process) isReady() bool { return closed(p.ready) }

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// start starts a process. Only the dispatcher calls it, when none is alive.
func (l *language) start(ctx context.Context) *process {
	p, err := l.launch(ctx)
	if err != nil {
		l.a.log.Warn("the language process cannot be started", "language", l.name, "error", err)
	}
	l.set(p, err)
	if p != nil && l.isOwn() {
		l.a.publish(nil, &protocol.Status{ExecutionState: protocol.StateStarting})
	}
	return p
}

func (l *language) launch(ctx context.Context) (*process, error) {
	a := l.a
	if l.interpreter == "" {
		return nil, errors.New("it is not up, and the run does not name its interpreter")
	}
	program, err := l.spoken.Install(a.config.Programs)
	if err != nil {
		return nil, fmt.Errorf("installing the %s runner: %w", l.name, err)
	}
	var cleanup closers
	defer func() { cleanup.close() }()
	channel, theirs, err := channelPair()
	if err != nil {
		return nil, fmt.Errorf("opening the runner's channel: %w", err)
	}
	cleanup.add(theirs)
	signalsR, signals, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, channel.Close())
	}
	cleanup.add(signalsR)
	p := &process{
		lang: l, interpreter: l.interpreter, channel: channel, signals: signals,
		ready: make(chan struct{}), dead: make(chan struct{}),
	}
	cmd := sandbox.Command{
		Argv: l.spoken.Command(l.interpreter, program), Env: a.config.Env, Dir: a.config.Dir,
		Files: []*os.File{theirs, signalsR},
	}
	for i, name := range []string{protocol.Stdout, protocol.Stderr} {
		pipe, w, err := newOutPipe(name)
		if err != nil {
			return nil, errors.Join(err, p.release())
		}
		cleanup.add(w)
		p.pipes[i] = pipe
		cmd.Files = append(cmd.Files, pipe.r)
		if i == 0 {
			cmd.Stdout = w
		} else {
			cmd.Stderr = w
		}
	}
	packages := a.packageDir(l.name)
	if err := os.MkdirAll(packages, 0o700); err != nil {
		return nil, errors.Join(fmt.Errorf("the session's package folder: %w", err), p.release())
	}
	p.proc, err = a.sandbox.Start(ctx, cmd)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("starting %s: %w", l.interpreter, err), p.release())
	}
	for _, pipe := range p.pipes {
		setNonblock(pipe.r) // starting a process made it blocking
	}
	init, err := json.Marshal(map[string]string{"packages": packages, "history": a.config.History, "session": a.spec.ID})
	if err == nil {
		err = p.send(map[string]string{"type": "init"}, init)
	}
	if err != nil {
		a.log.Warn("the runner takes no packets", "error", err) // its end, which follows, says why
	}
	read := make(chan struct{})
	go func() { defer close(read); p.read() }()
	go p.watch(read)
	return p, nil
}

// send writes a packet to the runner.
func (p *process) send(head any, parts ...[]byte) error {
	packet, err := wire.NewPacket(head, parts...)
	if err != nil {
		return err
	}
	p.writes.Lock()
	defer p.writes.Unlock()
	_, err = packet.WriteTo(p.channel)
	return err
}

// A requestPacket is the head of a request to the runner.
type requestPacket struct {
	Type    string          `json:"type"`
	ID      string          `json:"id"`
	MsgType string          `json:"msg_type"`
	Header  json.RawMessage `json:"header,omitempty"` // the request's own; outputs have it as parent
	// Cwd and Env are for while the request runs.
	Cwd string            `json:"cwd,omitempty"`
	Env map[string]string `json:"env,omitempty"`
}

// perform sends r to the runner, which may not read: then it waits until ctx
// ends. After an error only the end of the process helps.
func (p *process) perform(ctx context.Context, r *request) error {
	p.served = true
	stop := context.AfterFunc(ctx, func() { _ = p.channel.SetWriteDeadline(time.Unix(1, 0)) }) // ends the write below
	defer stop()
	head := requestPacket{Type: "request", ID: r.ID, MsgType: r.MsgType, Cwd: r.cwd, Env: r.env}
	if validObject(r.Origin.Header) {
		head.Header = r.Origin.Header
	}
	return p.send(head, append([][]byte{object(r.Content), object(r.Metadata)}, r.Buffers...)...)
}

// interrupt interrupts the request with this id if it is the one that runs.
func (p *process) interrupt(id string) error {
	p.interruptCall(id)
	if err := writeNow(p.signals, []byte(id+"\n")); err != nil {
		p.lang.a.log.Debug("naming what to interrupt", "error", err) // without a name SIGINT hits whatever runs
	}
	err := p.proc.Signal(syscall.SIGINT)
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	return err
}

// begun notes that the runner speaks of the request with this id. An interrupt
// that came before it had begun has missed it and is sent again.
func (p *process) begun(id string) error {
	r := p.lang.a.queue.current()
	if r == nil || r.ID != id || r.lang != p.lang || r.begun.Swap(true) || !r.early.Load() {
		return nil
	}
	return p.interrupt(id)
}

// watch waits for the end of the process, takes what it has left in its pipes,
// ends its children and then reports the death.
func (p *process) watch(read <-chan struct{}) {
	a := p.lang.a
	exit, err := p.proc.Wait(context.Background())
	if err != nil {
		a.log.Error("waiting for the language process", "language", p.lang.name, "error", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	if err := p.proc.Kill(ctx); err != nil { // something may have the channel's other end
		a.log.Warn("ending what the language process had started", "error", err)
		_ = p.channel.SetReadDeadline(time.Now().Add(time.Second)) // an open connection has them
	}
	cancel()
	<-read // the channel's other end is closed now
	p.endCalls(context.Background())
	for _, pipe := range p.pipes {
		p.drain(pipe, true)
	}
	p.cause = describe(exit)
	if err := p.release(); err != nil {
		a.log.Warn("closing the language process's descriptors", "error", err)
	}
	p.calls.answering.Wait()
	a.deaths <- p
	close(p.dead)
}

// end makes the process end: it is asked to, then killed. why says that its end
// is no accident. It returns when nothing of the process is left; an error says
// that it does not end.
func (p *process) end(why string) error {
	ctx, cancel := context.WithTimeout(context.Background(), endTime)
	defer cancel()
	p.mu.Lock()
	p.expected = why
	p.mu.Unlock()
	asked := make(chan struct{})
	go func() { // the runner may not read
		defer close(asked)
		if err := p.send(map[string]string{"type": "shutdown"}); err != nil {
			p.lang.a.log.Debug("asking the runner to end", "error", err)
		}
	}()
	if r := p.lang.a.queue.current(); r != nil && r.lang == p.lang && nameable(r.ID) {
		if err := p.interrupt(r.ID); err != nil {
			p.lang.a.log.Debug("interrupting the runner", "error", err)
		}
	}
	timer := time.NewTimer(exitTime)
	defer timer.Stop()
	var err error
	select {
	case <-p.dead:
	case <-timer.C:
		if err = p.proc.Kill(ctx); err != nil {
			err = fmt.Errorf("killing the language process: %w", err)
		}
	}
	select {
	case <-p.dead:
		err = nil
	case <-ctx.Done():
		_ = p.channel.SetDeadline(time.Unix(1, 0)) // ends the write above; the reader with it
		err = errors.Join(err, fmt.Errorf("process %d does not end, not even by SIGKILL", p.proc.PID()))
	}
	<-asked
	return err
}

// nameable reports whether an id can be written to the interrupt pipe.
func nameable(id string) bool { return !strings.Contains(id, "\n") }

// expectedEnd says why the process was ended, or "" if nobody meant it to.
func (p *process) expectedEnd() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.exiting && p.expected == "" {
		return "exit"
	}
	return p.expected
}

// release closes the agent's descriptors of p.
func (p *process) release() error {
	errs := []error{p.channel.Close(), p.signals.Close()}
	for _, pipe := range p.pipes {
		if pipe != nil {
			errs = append(errs, pipe.r.Close())
		}
	}
	return errors.Join(errs...)
}

// stop ends the present process, if any, for good. The dispatcher has ended.
func (l *language) stop() {
	p, _ := l.get()
	if p == nil {
		return
	}
	if err := p.end("the session ends"); err != nil {
		l.a.log.Error("ending the language process", "language", l.name, "error", err)
	}
}

// describe says how a process ended, for users.
func describe(e sandbox.Exit) string {
	switch {
	case e.Signal == "SIGKILL":
		return "it was killed (SIGKILL), by somebody or because the machine ran out of memory"
	case e.Signal == "SIGSEGV":
		return "it crashed with a segmentation fault (SIGSEGV), most likely in compiled code that it had loaded"
	case e.Signal == "SIGABRT":
		return "it aborted (SIGABRT), most likely in compiled code that it had loaded"
	case e.Signal != "":
		return "it was ended by signal " + e.Signal
	case e.Code == 0:
		return "it ended by itself with exit status 0"
	}
	return fmt.Sprintf("it ended by itself with exit status %d", e.Code)
}

// object returns raw, or {} when it is empty.
func object(raw []byte) []byte {
	if len(raw) == 0 {
		return []byte("{}")
	}
	return raw
}

// closers are descriptors that are closed together.
type closers struct{ files []*os.File }

func (c *closers) add(f *os.File) { c.files = append(c.files, f) }

func (c *closers) close() {
	for _, f := range c.files {
		_ = f.Close() // the child has its own copies; nothing was written here
	}
}
