//go:build unix

package files

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// nonblock keeps an open from waiting for whoever may be at the other end.
const nonblock = unix.O_NONBLOCK

// lockFile locks f against everybody else, also beyond f's own end, until the
// lock that it returns is closed. It is nil where files cannot be locked. ours
// is false when somebody else has it.
func lockFile(f *os.File) (lock io.Closer, ours bool, err error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return nil, false, err
	}
	var copied int
	var copyErr error
	if err := raw.Control(func(fd uintptr) { copied, copyErr = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0) }); err != nil {
		return nil, false, err
	}
	if copyErr != nil {
		return nil, false, fmt.Errorf("locking: %w", copyErr)
	}
	err = unix.Flock(copied, unix.LOCK_EX|unix.LOCK_NB)
	switch {
	case err == nil:
		return os.NewFile(uintptr(copied), f.Name()), true, nil
	case errors.Is(err, unix.EWOULDBLOCK):
		return nil, false, unix.Close(copied)
	default: // not on this file system
		return nil, true, unix.Close(copied)
	}
}
