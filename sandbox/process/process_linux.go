package process

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gokernel/gokernel/internal/proc"
)

const endNote = "Commands end with the session; what leaves its process group and is still there when the session's " +
	"own process is killed ends when the session is next opened or closed."

func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
}

// adoptOrphans makes this process the one that orphaned descendants become
// children of.
func adoptOrphans() error {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("become child subreaper: %w", err)
	}
	return nil
}

// closeOnExec keeps the descriptors that this process has inherited from its
// commands.
func closeOnExec() error {
	err := unix.CloseRange(3, math.MaxInt32, unix.CLOSE_RANGE_CLOEXEC)
	if err == nil {
		return nil
	}
	fds, dirErr := os.ReadDir("/proc/self/fd") // before Linux 5.11
	if dirErr != nil {
		return fmt.Errorf("mark descriptors close-on-exec: %w", errors.Join(err, dirErr))
	}
	for _, entry := range fds {
		if fd, err := strconv.Atoi(entry.Name()); err == nil && fd > 2 {
			unix.CloseOnExec(fd)
		}
	}
	return nil
}

// isIgnored says whether this process ignores a signal. What package signal
// says of that is not true any more once the signal was asked for and left.
func isIgnored(sig syscall.Signal) bool {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return signal.Ignored(sig)
	}
	for line := range strings.Lines(string(status)) {
		if mask, ok := strings.CutPrefix(line, "SigIgn:"); ok {
			bits, err := strconv.ParseUint(strings.TrimSpace(mask), 16, 64)
			return err == nil && bits&(1<<(sig-1)) != 0
		}
	}
	return signal.Ignored(sig)
}

// await waits for the end of the process and returns with the lock of the
// sandbox held. Until then the process stays a zombie, so that nobody can
// signal another one with its id.
func (p *process) await(handle *os.Process) (*os.ProcessState, error) {
	for {
		err := unix.Waitid(unix.P_PID, p.pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	p.box.mu.Lock()
	return handle.Wait()
}

// find picks from all processes those that only has started, or those of the
// whole sandbox when only is nil. Orphans are children of this process and are
// known by their session or by their marker.
func (b *box) find(all []proc.Info, only *process) []proc.Info {
	b.mu.Lock()
	defer b.mu.Unlock()
	self := os.Getpid()
	return proc.Tree(all, func(p proc.Info) bool {
		if p.PPID != self {
			return false
		}
		number := b.owner(p)
		return number > 0 && (only == nil || number == only.number)
	})
}

// owner returns the number of the command that p, a child of this process, is
// or that has left it, or 0. It remembers what it has found. A command may have
// ended since p was looked at.
func (b *box) owner(p proc.Info) int {
	if number := b.known[p.Ident()]; number > 0 {
		return number
	}
	if number := b.sessions[p.SID]; number > 0 && p.PID != p.SID {
		return number
	}
	if p.Zombie {
		return 0
	}
	if id, _ := proc.Getenv(p.PID, proc.Marker); id != b.id {
		return 0
	}
	value, _ := proc.Getenv(p.PID, proc.CommandMarker)
	number, err := strconv.Atoi(value)
	if err != nil || number < 1 || number > b.numbers {
		return 0
	}
	b.known[p.Ident()] = number
	b.adopted[p.Ident()] = true
	return number
}

// kill ends what only has started, or all that the sandbox has.
func (b *box) kill(ctx context.Context, only *process) error {
	for _, p := range b.running() {
		if only != nil && p != only {
			continue
		}
		if err := p.killGroup(); err != nil {
			return err
		}
	}
	_, err := proc.End(ctx, func(all []proc.Info) []proc.Info {
		left := b.find(all, only)
		return slices.DeleteFunc(left, b.collect)
	})
	return err
}

// collect waits for p if it is an adopted child that has ended, and says
// whether it was. The end of a command is for its own waiter.
func (b *box) collect(p proc.Info) bool {
	if !p.Zombie || p.PPID != os.Getpid() {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, ok := b.commands[p.PID]; ok {
		return false
	}
	var usage unix.Rusage
	if pid, err := unix.Wait4(p.PID, nil, unix.WNOHANG, &usage); err == nil && pid == p.PID {
		b.spent += time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
	}
	delete(b.known, p.Ident())
	delete(b.adopted, p.Ident())
	return true
}

// reaper waits for adopted children that have ended, so that no zombies pile
// up while the sandbox is open. A child that somebody else in this process may
// wait for is left alone: it is in the session of this process, or leads one
// and is not marked.
func (b *box) reaper() {
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, unix.SIGCHLD)
	defer signal.Stop(ended)
	for {
		select {
		case <-ended:
			b.collectOrphans()
		case <-b.stop:
			return
		}
	}
}

func (b *box) collectOrphans() {
	children, err := proc.Children()
	if err != nil {
		return // tried again with the next one
	}
	for _, pid := range children {
		p, err := proc.Read(pid)
		if err != nil {
			continue
		}
		b.mu.Lock()
		_, command := b.commands[pid]
		ours := !command && b.owner(p) > 0
		b.mu.Unlock()
		if ours {
			b.collect(p)
		}
	}
}
