package agent

import (
	"os"

	"golang.org/x/sys/unix"
)

const fionread = unix.TIOCINQ

// growPipe makes room in a pipe, so that a library that writes while it holds
// the interpreter's lock is not stopped at once. Without it things are slower.
func growPipe(f *os.File) {
	raw, err := f.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) { _, _ = unix.FcntlInt(fd, unix.F_SETPIPE_SZ, pipeSize) })
}

// capacity returns the room of a pipe in bytes.
func capacity(f *os.File) int {
	raw, err := f.SyscallConn()
	if err != nil {
		return pipeSize
	}
	n := pipeSize
	_ = raw.Control(func(fd uintptr) {
		if c, err := unix.FcntlInt(fd, unix.F_GETPIPE_SZ, 0); err == nil {
			n = c
		}
	})
	return n
}
