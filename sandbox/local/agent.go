//go:build linux || darwin

package local

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/gokernel/gokernel/internal/proc"
	"github.com/gokernel/gokernel/sandbox"
)

// What an agent says on descriptor 4 when there is no error to tell.
const (
	answerOK   = "ok\n"
	answerBusy = "busy\n"
	maxAnswer  = 64 << 10
)

const (
	specFD  = 3
	readyFD = 4
)

// AgentMain is the agent process, with the arguments behind "agent", and
// returns its exit status. It calls serve with the listener that the driver
// dials when everything is ready; connections of other users do not come
// through it. The context ends at SIGTERM. When serve returns, the socket and
// the lock are removed. Errors before that are told to whoever has called
// Start.
func AgentMain(args []string, serve func(ctx context.Context, spec sandbox.Spec, l net.Listener) error) int {
	if !isPipe(specFD) || !isPipe(readyFD) || len(args) > 1 || len(args) == 1 && args[0] != spawnFlag {
		fmt.Fprintln(os.Stderr, "gokernel agent is started by gokernel itself, not by hand")
		return 2
	}
	ready := os.NewFile(readyFD, "ready")
	if len(args) == 1 {
		return report(ready, spawnAgent(os.NewFile(specFD, "spec"), ready))
	}
	unix.CloseOnExec(specFD)
	unix.CloseOnExec(readyFD)
	if err := closeInherited(readyFD + 1); err != nil {
		return report(ready, err)
	}
	_, _ = unix.Setsid() // fails when we lead a session already
	nameProcess()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	a, err := openAgent(os.NewFile(specFD, "spec"))
	if err != nil {
		return report(ready, err)
	}
	if _, err := ready.WriteString(answerOK); err != nil {
		return report(ready, errors.Join(err, a.close())) // nobody waits for us any more
	}
	ready.Close()
	if err := errors.Join(serve(ctx, a.spec, a.listener), a.close()); err != nil && ctx.Err() == nil {
		return 1
	}
	return 0
}

func isPipe(fd int) bool {
	var stat unix.Stat_t
	return unix.Fstat(fd, &stat) == nil && stat.Mode&unix.S_IFMT == unix.S_IFIFO
}

// closeInherited closes the descriptors from first on that this process has
// inherited. They are those that are not closed on exec: they were not, and Go
// opens none that way.
func closeInherited(first int) error {
	fds, err := openFDs()
	if err != nil {
		return err
	}
	for _, fd := range fds {
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); fd >= first && err == nil && flags&unix.FD_CLOEXEC == 0 {
			_ = unix.Close(fd) // not ours to flush
		}
	}
	return nil
}

// report tells the front an error and returns the exit status.
func report(ready *os.File, err error) int {
	defer ready.Close()
	if err == nil {
		return 0
	}
	text := err.Error()
	if errors.Is(err, errBusy) {
		text = answerBusy
	}
	_, _ = ready.WriteString(text) // there is nobody else to tell
	return 1
}

// spawnAgent starts the agent and leaves it alone.
func spawnAgent(spec, ready *os.File) error {
	path, name, err := self()
	if err != nil {
		return err
	}
	cmd := &exec.Cmd{Path: path, Args: []string{name, agentCommand}, Dir: "/", ExtraFiles: []*os.File{spec, ready}}
	if err := cmd.Start(); err != nil {
		return err
	}
	return cmd.Process.Release()
}

// An agentEnd is what an agent has of the driver: its spec, its lock and its
// socket.
type agentEnd struct {
	spec     sandbox.Spec
	lock     *lock
	listener net.Listener
}

func openAgent(specFile *os.File) (_ *agentEnd, err error) {
	defer specFile.Close()
	text, err := io.ReadAll(specFile)
	if err != nil {
		return nil, fmt.Errorf("read spec: %w", err)
	}
	a := &agentEnd{}
	if err := json.Unmarshal(text, &a.spec); err != nil {
		return nil, fmt.Errorf("read spec: %w", err)
	}
	dir := a.spec.Dir
	if !filepath.IsAbs(dir) {
		return nil, fmt.Errorf("session directory %q is not absolute", dir)
	}
	if err := makeDir(dir); err != nil {
		return nil, err
	}
	if a.lock, err = acquire(filepath.Join(dir, lockName)); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, a.close())
		}
	}()
	if err := a.lock.write(nil); err != nil { // what an earlier agent has left
		return nil, err
	}
	if a.listener, err = listenSocket(dir); err != nil {
		return nil, err
	}
	start, err := proc.StartTime(os.Getpid())
	if err != nil {
		return nil, err
	}
	content, err := json.Marshal(lockFile{a.spec.ID, state{
		PID: os.Getpid(), Start: start, Socket: filepath.Join(dir, socketName), Dir: dir,
	}})
	if err != nil {
		return nil, err
	}
	return a, a.lock.write(content)
}

func (a *agentEnd) close() error {
	var err error
	if a.listener != nil {
		if err = a.listener.Close(); errors.Is(err, net.ErrClosed) {
			err = nil // serve has closed it
		}
		err = errors.Join(err, removeSocket(a.spec.Dir))
	}
	return errors.Join(err, a.lock.release())
}

// makeDir makes the session's directory and keeps other users out of it.
func makeDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("session directory: %w", err)
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return fmt.Errorf("session directory: %w", err)
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case !info.IsDir():
		return fmt.Errorf("session directory %s is no directory", dir)
	case !ok || int(stat.Uid) != os.Geteuid():
		return fmt.Errorf("session directory %s belongs to another user", dir)
	case info.Mode().Perm()&0o077 == 0:
		return nil
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		return fmt.Errorf("session directory: %w", err)
	}
	return nil
}
