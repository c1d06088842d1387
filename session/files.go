package session

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"

	"github.com/gokernel/gokernel/session/wire"
)

// A FileInfo describes a file in a session.
type FileInfo = wire.FileInfo

// An Exit says how a command ended.
type Exit = wire.Exit

// ReadFile writes the file at path, relative to the session's working directory
// and with slashes, to w as it comes, and returns how many bytes it has written.
// The error wraps fs.ErrNotExist when there is no such file. After an error w
// may have got a part of it.
func (s *Session) ReadFile(ctx context.Context, path string, w io.Writer) (int64, error) {
	var n int64
	err := s.transfer(ctx, func(l *transferLink) (err error) {
		n, err = l.get(ctx, wire.Transfer{Path: path}, w)
		return err
	})
	return n, s.about("reading", path, err)
}

// WriteFile makes the file at path, relative to the session's working directory
// and with slashes, what r gives until its end. It appears there complete or
// not at all; missing directories are made. mode are its permission bits, 0
// means those of the file that is there, else 0644. A read of r that blocks is
// waited for, also when ctx ends.
func (s *Session) WriteFile(ctx context.Context, path string, r io.Reader, mode fs.FileMode) error {
	err := s.transfer(ctx, func(l *transferLink) error {
		_, err := l.put(ctx, wire.Transfer{Path: path, Mode: uint32(mode.Perm())}, r)
		return err
	})
	return s.about("writing", path, err)
}

// ListFiles returns what is in the directory dir, relative to the session's
// working directory and with slashes; "" is that itself. It is sorted by name.
// The error wraps fs.ErrNotExist when there is no such directory.
func (s *Session) ListFiles(ctx context.Context, dir string) ([]FileInfo, error) {
	all := []FileInfo{}
	for args := (wire.ListArgs{Path: dir}); ; {
		var page []FileInfo
		if err := s.call(ctx, wire.CallList, args, &page); err != nil {
			return nil, s.about("listing", dir, err)
		}
		all = append(all, page...)
		if len(page) < wire.MaxList {
			return all, nil
		}
		args.After = page[len(page)-1].Name
	}
}

// A Command is a program to run in a session, beside its queue of requests.
type Command struct {
	// Argv is the program, looked up on the session's PATH, and its arguments.
	// No shell sees them.
	Argv []string
	// Env is added to the session's environment.
	Env map[string]string
	// Cwd is the working directory, absolute or relative to the session's;
	// empty means that.
	Cwd string
	// Stdout and Stderr get what the program writes, as it comes; nil ones are
	// left out. They are called one at a time from the caller's goroutine. One
	// that blocks stops the program when its pipe is full. What the program has
	// left running in the background is not waited for.
	Stdout, Stderr io.Writer
}

// Command runs a command in the session's sandbox and returns how it ended. A
// status other than 0 is no error. When ctx ends, or a writer fails, the command
// is killed with all that it has started.
func (s *Session) Command(ctx context.Context, c Command) (Exit, error) {
	if len(c.Argv) == 0 {
		return Exit{}, errors.New("running a command: no program is given")
	}
	var exit Exit
	err := s.transfer(ctx, func(l *transferLink) (err error) {
		exit, err = l.command(ctx, &c)
		return err
	})
	return exit, s.about("running", c.Argv[0], err)
}

// command runs c and returns how it ended.
func (l *transferLink) command(ctx context.Context, c *Command) (exit Exit, err error) {
	defer l.guard(ctx, &err)()
	if err := l.send(wire.CommandHead{Type: wire.TypeCommand, Argv: c.Argv, Env: maps.Clone(c.Env), Cwd: c.Cwd}); err != nil {
		return Exit{}, err
	}
	end, err := l.receive(func(name string, part []byte) error {
		w := c.Stdout
		if name == "stderr" {
			w = c.Stderr
		}
		if w == nil {
			return nil
		}
		_, err := w.Write(part)
		return err
	})
	switch {
	case err != nil:
		return Exit{}, err
	case end.Exit == nil:
		return Exit{}, fmt.Errorf("%w: a command's end without its status", wire.ErrPacket)
	}
	return *end.Exit, nil
}

// transfer performs one transfer on a connection of its own.
func (s *Session) transfer(ctx context.Context, do func(*transferLink) error) error {
	l, err := s.dialTransfer(ctx, "")
	if err != nil {
		return err
	}
	defer l.close()
	return do(l)
}

// about says in err what was being done, in which session.
func (s *Session) about(doing, what string, err error) error {
	var said *transferError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &said):
		return fmt.Errorf("session %s: %w", s.id, err) // the agent says what it did
	}
	return fmt.Errorf("%s %s in session %s: %w", doing, what, s.id, err)
}
