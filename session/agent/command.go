package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gokernel/gokernel/protocol"
	"github.com/gokernel/gokernel/sandbox"
	"github.com/gokernel/gokernel/session/wire"
)

const (
	// lingering is how long the outputs of a command that has ended may be held
	// open by what it has left running.
	lingering = 250 * time.Millisecond
	// commandEnd is how long the end of a command that is killed, with that of
	// all that it has started, is waited for.
	commandEnd = 10 * time.Second
	// commandBlock is how much of a command's output is sent at once, in bytes.
	commandBlock = 64 << 10
	// commandRest is how much is sent of what is in the pipe of a command that has
	// ended, in bytes: more than a pipe holds somebody else is writing just now.
	commandRest = 1 << 20
)

// command runs a command and sends what it writes. It is killed when the front
// goes, or when it says anything meanwhile.
func (l *transferLink) command(ctx context.Context, h *wire.CommandHead) error {
	cmd, err := l.a.prepareCommand(h)
	if err != nil {
		return l.fail(err)
	}
	var outputs [2]*os.File
	var cleanup closers
	defer func() { cleanup.close() }()
	for i, to := range []**os.File{&cmd.Stdout, &cmd.Stderr} {
		r, w, err := os.Pipe()
		if err != nil {
			return l.fail(fmt.Errorf("running %.200q: output pipe: %w", h.Argv[0], err))
		}
		cleanup.add(r)
		cleanup.add(w)
		outputs[i], *to = r, w
	}
	p, err := l.a.sandbox.Start(ctx, cmd)
	err = errors.Join(err, cmd.Stdout.Close(), cmd.Stderr.Close())
	if p == nil {
		return l.fail(fmt.Errorf("running %.200q: %w", h.Argv[0], err))
	}
	running, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var sending sync.Mutex
	var copies sync.WaitGroup
	for i, name := range []string{protocol.Stdout, protocol.Stderr} {
		copies.Go(func() {
			if err := l.copyOutput(&sending, name, outputs[i]); err != nil {
				stop(err)
			}
		})
	}
	l.readAhead()
	exited := make(chan struct{})
	var exit sandbox.Exit
	go func() { defer close(exited); exit, err = p.Wait(context.Background()) }()
	var cut error
	select {
	case <-exited:
	case got := <-l.ahead:
		l.ahead = nil
		if cut = got.err; cut == nil {
			cut = fmt.Errorf("%w: a packet while a command runs", wire.ErrPacket)
		}
	case <-running.Done():
		cut = context.Cause(running)
	}
	if cut != nil {
		l.a.killCommand(p)
		_ = l.conn.Close() // nobody is to wait for it any more
	}
	<-exited
	until := time.Now().Add(lingering)
	for _, r := range outputs {
		_ = r.SetReadDeadline(until) // its end is seen in any case when nothing has it
	}
	copies.Wait()
	if cut == nil {
		cut = context.Cause(running)
	}
	switch {
	case cut != nil:
		return cut
	case err != nil:
		return l.fail(fmt.Errorf("running %.200q: %w", h.Argv[0], err))
	}
	return l.send(wire.End{Type: wire.TypeEnd, Exit: &wire.Exit{Code: exit.Code, Signal: exit.Signal}})
}

// killCommand ends a command and all that it has started.
func (a *Agent) killCommand(p sandbox.Process) {
	ctx, cancel := context.WithTimeout(context.Background(), commandEnd)
	defer cancel()
	if err := p.Kill(ctx); err != nil {
		a.log.Error("ending a command", "error", err)
	}
}

// prepareCommand returns what is to be started.
func (a *Agent) prepareCommand(h *wire.CommandHead) (cmd sandbox.Command, err error) {
	if len(h.Argv) == 0 || h.Argv[0] == "" {
		return cmd, fmt.Errorf("%w: a command without a program", errBad)
	}
	for _, arg := range h.Argv {
		if strings.ContainsRune(arg, 0) {
			return cmd, fmt.Errorf("%w: an argument that contains a NUL", errBad)
		}
	}
	for name, value := range h.Env {
		if name == "" || strings.ContainsAny(name, "=\x00") || strings.ContainsRune(value, 0) {
			return cmd, fmt.Errorf("%w: %.80q cannot be a variable of the environment", errBad, name)
		}
	}
	dir, err := a.workdir(&wire.Run{Cwd: h.Cwd})
	return sandbox.Command{Argv: h.Argv, Env: withEnv(a.config.Env, h.Env), Dir: dir}, err
}

// withEnv returns env with more in place of what has the same name.
func withEnv(env []string, more map[string]string) []string {
	out := slices.DeleteFunc(slices.Clone(env), func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		_, replaced := more[name]
		return replaced
	})
	for name, value := range more {
		out = append(out, name+"="+value)
	}
	return out
}

// copyOutput sends what is written to a pipe until nobody has its other end, or
// its deadline has passed and it is empty.
func (l *transferLink) copyOutput(sending *sync.Mutex, name string, r *os.File) error {
	block := make([]byte, commandBlock)
	rest := 0 // what was sent after the deadline
	for {
		n, err := r.Read(block)
		if errors.Is(err, os.ErrDeadlineExceeded) && rest < commandRest {
			n = readNow(r, block)
			rest += n
			if n > 0 {
				err = nil
			}
		}
		if n > 0 {
			sending.Lock()
			sendErr := l.send(wire.Data{Type: wire.TypeData, Name: name}, block[:n])
			sending.Unlock()
			if sendErr != nil {
				return sendErr
			}
		}
		switch {
		case err == nil:
		case errors.Is(err, io.EOF), errors.Is(err, os.ErrDeadlineExceeded):
			return nil
		default:
			return fmt.Errorf("output of a command: %w", err)
		}
	}
}
