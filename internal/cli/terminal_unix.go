//go:build unix

package cli

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// endOfInput is what ends the input on a terminal.
const endOfInput = "Ctrl-D"

// width returns how many columns the terminal has.
func width(terminal *os.File) int {
	size, err := unix.IoctlGetWinsize(int(terminal.Fd()), unix.TIOCGWINSZ)
	if err != nil || size.Col == 0 {
		return defaultWidth
	}
	return int(size.Col)
}

// hideInput makes the terminal show no longer what is typed, until restore.
func hideInput(terminal *os.File) (restore func() error, err error) {
	fd := int(terminal.Fd())
	before, err := unix.IoctlGetTermios(fd, getTermios)
	if err != nil {
		return nil, fmt.Errorf("hiding what is typed: %w", err)
	}
	hidden := *before
	hidden.Lflag &^= unix.ECHO
	hidden.Lflag |= unix.ICANON | unix.ISIG
	if err := unix.IoctlSetTermios(fd, setTermios, &hidden); err != nil {
		return nil, fmt.Errorf("hiding what is typed: %w", err)
	}
	return func() error { return unix.IoctlSetTermios(fd, setTermios, before) }, nil
}
