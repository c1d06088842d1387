//go:build unix

package agent

import (
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// pipeSize is the room that is asked for in an output pipe, in bytes.
const pipeSize = 1 << 20

// channelPair returns the two ends of a runner's channel.
func channelPair() (ours net.Conn, theirs *os.File, err error) {
	syscall.ForkLock.RLock()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err == nil {
		unix.CloseOnExec(fds[0])
		unix.CloseOnExec(fds[1])
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return nil, nil, err
	}
	for _, fd := range fds {
		for _, option := range []int{unix.SO_SNDBUF, unix.SO_RCVBUF} {
			_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, option, pipeSize) // slower without, no more
		}
	}
	theirs = os.NewFile(uintptr(fds[1]), "runner channel")
	f := os.NewFile(uintptr(fds[0]), "agent channel")
	ours, err = net.FileConn(f)
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, nil, errors.Join(err, theirs.Close())
	}
	return ours, theirs, nil
}

// newOutPipe returns a pipe that never blocks its readers, and its write end.
func newOutPipe(name string) (*outPipe, *os.File, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, nil, fmt.Errorf("output pipe: %w", err)
	}
	growPipe(w)
	// os.Pipe sets both ends non-blocking, which code that writes does not
	// expect; what the agent reads is shared with the runner and stays so.
	_ = w.Fd() // sets the write end blocking again
	return &outPipe{name: name, r: r}, w, nil
}

// readNow reads what is there and returns how much, at most 0 when nothing is.
func readNow(f *os.File, b []byte) int {
	raw, err := f.SyscallConn()
	if err != nil {
		return 0
	}
	n := 0
	err = raw.Control(func(fd uintptr) {
		for {
			var rerr error
			n, rerr = unix.Read(int(fd), b)
			if !errors.Is(rerr, unix.EINTR) {
				return
			}
		}
	})
	if err != nil {
		return 0
	}
	return n
}

// writeNow writes b or, when there is no room, nothing: whoever reads has
// enough to read already.
func writeNow(f *os.File, b []byte) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var werr error
	if err := raw.Control(func(fd uintptr) { _, werr = unix.Write(int(fd), b) }); err != nil {
		return err
	}
	if errors.Is(werr, unix.EAGAIN) {
		return nil
	}
	return werr
}

// filled returns how many bytes wait in a pipe.
func filled(f *os.File) int {
	raw, err := f.SyscallConn()
	if err != nil {
		return 0
	}
	n := 0
	err = raw.Control(func(fd uintptr) { n, _ = unix.IoctlGetInt(int(fd), fionread) })
	if err != nil {
		return 0
	}
	return n
}

// setNonblock makes reads of f return at once.
func setNonblock(f *os.File) {
	raw, err := f.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) { _ = unix.SetNonblock(int(fd), true) }) // an open descriptor
}
