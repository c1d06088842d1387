//go:build unix

package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/gokernel/gokernel/internal/proc"
	"github.com/gokernel/gokernel/sandbox"
)

// errClosed is what a closed sandbox answers.
var errClosed = fmt.Errorf("sandbox is closed: %w", os.ErrClosed)

// closeTimeout is how long Close kills what does not go away.
const closeTimeout = 15 * time.Second

// A box is a sandbox.
type box struct {
	id      string
	starts  chan start
	closing chan struct{} // closed by Close: nothing starts any more
	stop    chan struct{} // closed when nothing is left: the goroutines end
	workers sync.WaitGroup
	waits   sync.WaitGroup
	close   func() error

	mu       sync.Mutex
	numbers  int
	commands map[int]*process    // by pid, running
	sessions map[int]int         // session id (pid of a command) -> number of the command
	known    map[proc.Ident]int  // commands and orphans seen -> number of the command
	adopted  map[proc.Ident]bool // of known, those that are orphans
	spent    time.Duration       // processor time of commands that have ended
	total    time.Duration       // the most processor time that Stats has said
}

// A start is the wish for a process, for the thread that starts them.
type start struct {
	argv0 string
	cmd   sandbox.Command
	reply chan<- started
}

type started struct {
	process *process
	err     error
}

func open(spec sandbox.SandboxSpec) (sandbox.Sandbox, error) {
	if err := adoptOrphans(); err != nil {
		return nil, fmt.Errorf("open sandbox: %w", err)
	}
	b := &box{
		id:       spec.ID,
		starts:   make(chan start),
		closing:  make(chan struct{}),
		stop:     make(chan struct{}),
		commands: make(map[int]*process),
		sessions: make(map[int]int),
		known:    make(map[proc.Ident]int),
		adopted:  make(map[proc.Ident]bool),
	}
	b.close = sync.OnceValue(b.end)
	b.workers.Go(b.starter)
	b.workers.Go(b.reaper)
	return b, nil
}

// starter starts processes on one thread that lives until Close: on Linux a
// process dies with the thread that has started it.
func (b *box) starter() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	unignore := unignoreSignals()
	defer unignore()
	for {
		select {
		case s := <-b.starts:
			p, err := b.startProcess(s)
			s.reply <- started{p, err}
		case <-b.stop:
			return
		}
	}
}

// unignoreSignals lets commands start with default signal handling: a signal
// that this process ignores, as the background jobs of a shell do SIGINT, would
// be ignored by them too.
func unignoreSignals() (undo func()) {
	var ignored []os.Signal
	for _, sig := range []syscall.Signal{syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM, syscall.SIGPIPE, syscall.SIGTSTP, syscall.SIGTTIN, syscall.SIGTTOU} {
		if isIgnored(sig) {
			ignored = append(ignored, sig)
		}
	}
	if len(ignored) == 0 {
		return func() {}
	}
	nobody := make(chan os.Signal, 1) // never read: the signals stay without effect here
	signal.Notify(nobody, ignored...)
	return func() { signal.Stop(nobody) }
}

func (b *box) Start(ctx context.Context, cmd sandbox.Command) (sandbox.Process, error) {
	argv0, err := check(cmd)
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("start %s: %w", cmd.Argv[0], err)
	}
	reply := make(chan started, 1)
	select {
	case <-b.closing:
		return nil, fmt.Errorf("start %s: %w", cmd.Argv[0], errClosed)
	case <-ctx.Done():
		return nil, fmt.Errorf("start %s: %w", cmd.Argv[0], ctx.Err())
	case b.starts <- start{argv0, cmd, reply}:
	}
	done := <-reply
	if done.err != nil {
		return nil, fmt.Errorf("start %s: %w", cmd.Argv[0], done.err)
	}
	return done.process, nil
}

func (b *box) startProcess(s start) (*process, error) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	files := []*os.File{s.cmd.Stdin, s.cmd.Stdout, s.cmd.Stderr}
	for i := range files {
		if files[i] == nil {
			files[i] = null
		}
	}
	files = append(files, s.cmd.Files...)

	b.mu.Lock()
	defer b.mu.Unlock()
	select {
	case <-b.closing:
		return nil, errClosed
	default:
	}
	if err := closeOnExec(); err != nil {
		return nil, err
	}
	b.numbers++
	number := b.numbers
	env := append(proc.Unmark(s.cmd.Env), proc.Marker+"="+b.id, proc.CommandMarker+"="+strconv.Itoa(number))
	handle, err := os.StartProcess(s.argv0, s.cmd.Argv, &os.ProcAttr{
		Dir:   s.cmd.Dir,
		Env:   env,
		Files: files,
		Sys:   attributes(),
	})
	runtime.KeepAlive(s.cmd)
	if err != nil {
		return nil, explain(s.argv0, err)
	}
	p := &process{box: b, pid: handle.Pid, number: number, done: make(chan struct{})}
	b.commands[p.pid] = p
	b.sessions[p.pid] = number
	if began, err := proc.StartTime(p.pid); err == nil {
		b.known[proc.Ident{PID: p.pid, Start: began}] = number
	}
	b.waits.Go(func() { p.wait(handle) })
	return p, nil
}

func (b *box) Stats(ctx context.Context) (sandbox.Stats, error) {
	if err := ctx.Err(); err != nil {
		return sandbox.Stats{}, err
	}
	select {
	case <-b.closing:
		return sandbox.Stats{}, errClosed
	default:
	}
	return b.stats()
}

func (b *box) Close() error { return b.close() }

func (b *box) end() error {
	b.mu.Lock()
	close(b.closing)
	b.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	err := b.kill(ctx, nil)
	close(b.stop)
	b.workers.Wait()
	if err != nil {
		return fmt.Errorf("close sandbox: %w", err)
	}
	b.waits.Wait()
	return nil
}

// running returns the commands that have not ended.
func (b *box) running() []*process {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := make([]*process, 0, len(b.commands))
	for _, p := range b.commands {
		all = append(all, p)
	}
	slices.SortFunc(all, func(x, y *process) int { return x.number - y.number })
	return all
}

// A process is a running or ended command.
type process struct {
	box    *box
	pid    int
	number int
	gauge  *gauge        // nil until it is first looked at; guarded by the sandbox's mu
	done   chan struct{} // closed when exit is set
	exit   sandbox.Exit
	err    error
}

// wait waits for the end of the process and says how it ended.
func (p *process) wait(handle *os.Process) {
	state, err := p.await(handle)
	defer p.box.mu.Unlock()
	defer close(p.done)
	delete(p.box.commands, p.pid)
	if p.gauge != nil {
		_ = p.gauge.Close() // was only read
		p.gauge = nil
	}
	if err != nil {
		p.err = fmt.Errorf("wait for process %d: %w", p.pid, err)
		return
	}
	p.box.spent += state.SystemTime() + state.UserTime()
	p.exit = exitOf(state)
}

func exitOf(state *os.ProcessState) sandbox.Exit {
	status, ok := state.Sys().(syscall.WaitStatus)
	if !ok || !status.Signaled() {
		return sandbox.Exit{Code: state.ExitCode()}
	}
	return sandbox.Exit{Code: -1, Signal: signalName(status.Signal()), Core: status.CoreDump()}
}

func (p *process) PID() int { return p.pid }

func (p *process) Signal(sig os.Signal) error {
	number, ok := sig.(syscall.Signal)
	if !ok {
		return fmt.Errorf("signal process %d: %v is no signal of this system", p.pid, sig)
	}
	p.box.mu.Lock()
	defer p.box.mu.Unlock()
	if p.box.commands[p.pid] != p {
		return fmt.Errorf("signal process %d: %w", p.pid, os.ErrProcessDone)
	}
	if err := syscall.Kill(-p.pid, number); err != nil {
		return fmt.Errorf("signal process %d: %w", p.pid, err)
	}
	return nil
}

func (p *process) Wait(ctx context.Context) (sandbox.Exit, error) {
	select {
	case <-p.done:
		return p.exit, p.err
	default:
	}
	select {
	case <-p.done:
		return p.exit, p.err
	case <-ctx.Done():
		return sandbox.Exit{}, fmt.Errorf("wait for process %d: %w", p.pid, ctx.Err())
	}
}

func (p *process) Kill(ctx context.Context) error {
	if err := p.box.kill(ctx, p); err != nil {
		return err
	}
	select {
	case <-p.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("kill process %d: %w", p.pid, ctx.Err())
	}
}

// killGroup ends the process group of p, all at once and before it can fork.
func (p *process) killGroup() error {
	if err := p.Signal(syscall.SIGKILL); err != nil && !errors.Is(err, os.ErrProcessDone) && !errors.Is(err, syscall.EPERM) {
		return err
	}
	return nil
}
