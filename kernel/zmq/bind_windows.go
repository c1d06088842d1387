package zmq

import (
	"errors"
	"syscall"

	"golang.org/x/sys/windows"
)

func isInUse(err error) bool   { return errors.Is(err, windows.WSAEADDRINUSE) }
func isRefused(err error) bool { return errors.Is(err, windows.WSAECONNREFUSED) }

// restrict does nothing: a socket file has the rights of its directory.
func restrict(_, _ string, _ syscall.RawConn) error { return nil }
