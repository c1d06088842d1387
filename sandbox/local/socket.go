//go:build linux || darwin

package local

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
)

// A peer is the process at the other end of a connection; its pid is 0 where
// the system does not tell.
type peer struct{ uid, pid int }

// listenSocket listens on the socket in dir. The caller has the lock, so a
// socket that is there is a dead agent's.
func listenSocket(dir string) (net.Listener, error) {
	if err := removeSocket(dir); err != nil {
		return nil, err
	}
	address, done, err := socketAddress(dir)
	if err != nil {
		return nil, err
	}
	defer done()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: address, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("agent's socket in %s: %w", dir, errors.Unwrap(err))
	}
	l.SetUnlinkOnClose(false)
	if err := os.Chmod(filepath.Join(dir, socketName), 0o600); err != nil {
		l.Close()
		return nil, fmt.Errorf("agent's socket: %w", err)
	}
	return &listener{l, os.Geteuid()}, nil
}

func removeSocket(dir string) error {
	path := filepath.Join(dir, socketName)
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil && info.Mode().Type() != fs.ModeSocket {
		err = fmt.Errorf("%s is no socket", path)
	}
	if err == nil {
		err = os.Remove(path)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("agent's socket: %w", err)
	}
	return nil
}

func dialSocket(ctx context.Context, dir string) (*net.UnixConn, error) {
	address, done, err := socketAddress(dir)
	if err != nil {
		return nil, err
	}
	defer done()
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "unix", address)
	if err != nil {
		return nil, err
	}
	return conn.(*net.UnixConn), nil
}

// A listener accepts connections of one user only and closes others.
type listener struct {
	*net.UnixListener
	uid int
}

func (l *listener) Accept() (net.Conn, error) {
	for {
		conn, err := l.AcceptUnix()
		if err != nil {
			return nil, err
		}
		if peer, err := peerOf(conn); err == nil && peer.uid == l.uid {
			return conn, nil
		}
		conn.Close()
	}
}

// control runs ask on the descriptor of a connection.
func control(conn *net.UnixConn, ask func(fd int) error) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var askErr error
	if err := raw.Control(func(fd uintptr) { askErr = ask(int(fd)) }); err != nil {
		return err
	}
	return askErr
}

// globEscape makes a pattern that matches path only.
func globEscape(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}
