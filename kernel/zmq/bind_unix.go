//go:build unix

package zmq

import (
	"errors"
	"syscall"
)

func isInUse(err error) bool   { return errors.Is(err, syscall.EADDRINUSE) }
func isRefused(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) }

// restrict makes the socket file its owner's from the moment that it exists,
// on systems where the file inherits the mode of the descriptor. Elsewhere the
// call fails or has no effect, and the mode is set after the fact.
func restrict(_, _ string, c syscall.RawConn) error {
	return c.Control(func(fd uintptr) { _ = syscall.Fchmod(int(fd), 0o600) })
}
