package cli

import (
	"fmt"
	"os"

	"golang.org/x/sys/windows"
)

// endOfInput is what ends the input on a terminal.
const endOfInput = "Ctrl-Z and Enter"

// width returns how many columns the terminal has.
func width(terminal *os.File) int {
	var info windows.ConsoleScreenBufferInfo
	if err := windows.GetConsoleScreenBufferInfo(windows.Handle(terminal.Fd()), &info); err != nil {
		return defaultWidth
	}
	return int(info.Window.Right-info.Window.Left) + 1
}

// hideInput makes the terminal show no longer what is typed, until restore.
func hideInput(terminal *os.File) (restore func() error, err error) {
	console := windows.Handle(terminal.Fd())
	var before uint32
	if err := windows.GetConsoleMode(console, &before); err != nil {
		return nil, fmt.Errorf("hiding what is typed: %w", err)
	}
	hidden := before&^windows.ENABLE_ECHO_INPUT | windows.ENABLE_LINE_INPUT | windows.ENABLE_PROCESSED_INPUT
	if err := windows.SetConsoleMode(console, hidden); err != nil {
		return nil, fmt.Errorf("hiding what is typed: %w", err)
	}
	return func() error { return windows.SetConsoleMode(console, before) }, nil
}
