//go:build unix && !linux

package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/gokernel/gokernel/sandbox"
)

const endNote = "What leaves its process group is not ended with the session on this system."

func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }

func adoptOrphans() error { return nil }

func closeOnExec() error { return nil }

func isIgnored(sig syscall.Signal) bool { return signal.Ignored(sig) }

// await waits for the end of the process and returns with the lock of the
// sandbox held.
func (p *process) await(handle *os.Process) (*os.ProcessState, error) {
	state, err := handle.Wait()
	p.box.mu.Lock()
	return state, err
}

// kill ends the process group of only, or all groups, and waits for the
// commands themselves.
func (b *box) kill(ctx context.Context, only *process) error {
	for _, p := range b.running() {
		if only != nil && p != only {
			continue
		}
		if err := p.killGroup(); err != nil {
			return err
		}
		select {
		case <-p.done:
		case <-ctx.Done():
			return fmt.Errorf("kill process %d: %w", p.pid, ctx.Err())
		}
	}
	return nil
}

// A gauge does not exist here.
type gauge struct{}

func (*gauge) Close() error { return nil }

// reaper has nothing to do: this process adopts nothing.
func (b *box) reaper() {}

func (b *box) stats() (sandbox.Stats, error) {
	return sandbox.Stats{}, fmt.Errorf("sandbox stats: %w on this system", errors.ErrUnsupported)
}
