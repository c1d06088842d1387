//go:build !linux && !darwin

package proc

import (
	"errors"
	"fmt"
	"syscall"
)

// StartTime is not there on this system.
func StartTime(pid int) (uint64, error) {
	return 0, fmt.Errorf("look at process %d: %w on this system", pid, errors.ErrUnsupported)
}

// Alive is false on this system.
func Alive(Ident) bool { return false }

// Kill is not there on this system.
func Kill(id Ident) error { return Signal(id, syscall.SIGKILL) }

// Signal is not there on this system.
func Signal(id Ident, _ syscall.Signal) error {
	return fmt.Errorf("signal process %d: %w on this system", id.PID, errors.ErrUnsupported)
}
