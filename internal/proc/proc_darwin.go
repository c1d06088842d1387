package proc

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// StartTime returns when a process has started, in microseconds since 1970.
func StartTime(pid int) (uint64, error) {
	p, err := unix.SysctlKinfoProc("kern.proc.pid", pid)
	if err != nil || int(p.Proc.P_pid) != pid {
		return 0, fmt.Errorf("look at process %d: %w", pid, os.ErrNotExist)
	}
	t := p.Proc.P_starttime
	return uint64(t.Sec)*1e6 + uint64(t.Usec), nil
}

// Alive says whether the process exists.
func Alive(id Ident) bool {
	start, err := StartTime(id.PID)
	return err == nil && start == id.Start
}

// Kill ends a process by SIGKILL unless another one has got its id. A process
// that is gone is no error.
func Kill(id Ident) error { return Signal(id, unix.SIGKILL) }

// Signal sends a signal to a process unless another one has got its id. A
// process that is gone is no error.
func Signal(id Ident, sig unix.Signal) error {
	if !Alive(id) {
		return nil
	}
	if err := unix.Kill(id.PID, sig); !errors.Is(err, unix.ESRCH) {
		return err
	}
	return nil
}
