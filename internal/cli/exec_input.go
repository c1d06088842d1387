package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/gokernel/gokernel/session"
)

// An asker answers what code asks from a terminal. It reads in a goroutine of
// its own, one line for each question, which ends with its line or with the
// process: what waits for a key cannot be called off.
type asker struct {
	terminal *os.File
	screen   *screen
	lines    *bufio.Reader
	turn     sync.Mutex // held while a line is read
}

func newAsker(terminal *os.File, screen *screen) *asker {
	return &asker{terminal: terminal, screen: screen, lines: bufio.NewReader(terminal)}
}

// ask shows a prompt and returns the line that is typed, without its end. What is
// typed for a password is not shown. The end of the input is session.ErrNoAnswer.
func (a *asker) ask(ctx context.Context, prompt string, password bool) (string, error) {
	restore := func() error { return nil }
	if password {
		var err error
		if restore, err = hideInput(a.terminal); err != nil {
			return "", err
		}
	}
	answered := a.screen.ask(prompt)
	type answer struct {
		line string
		err  error
	}
	read := make(chan answer, 1)
	go func() {
		a.turn.Lock()
		defer a.turn.Unlock()
		line, err := a.lines.ReadString('\n')
		read <- answer{line, err}
	}()
	var got answer
	select {
	case got = <-read:
	case <-ctx.Done():
		got.err = context.Cause(ctx)
	}
	answered(!password && strings.HasSuffix(got.line, "\n"))
	if err := restore(); err != nil {
		return "", fmt.Errorf("showing again what is typed: %w", err)
	}
	line := strings.TrimSuffix(strings.TrimSuffix(got.line, "\n"), "\r")
	if errors.Is(got.err, io.EOF) && line == "" {
		return "", session.ErrNoAnswer
	}
	if got.err != nil && !errors.Is(got.err, io.EOF) {
		return "", fmt.Errorf("reading the answer: %w", got.err)
	}
	if !utf8.ValidString(line) {
		return "", errors.New("reading the answer: it is not UTF-8")
	}
	return line, nil
}
