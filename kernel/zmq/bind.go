package zmq

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strconv"
	"syscall"
	"time"

	"github.com/gokernel/gokernel/protocol"
)

// maxSocketPath is the longest path of a unix socket that Linux takes, a byte
// less than its struct has room for; other systems take less and say so.
const maxSocketPath = 107

var (
	errInUse     = errors.New("another process is listening there: stop it, or choose another port (0 means any that is free)")
	errNotSocket = errors.New("a file that is not a socket is there: remove it or choose another path")
)

// address returns what package net calls the address of a socket.
func address(info *protocol.ConnectionInfo, port protocol.Port) (network, addr string, err error) {
	switch info.Transport {
	case "tcp", "":
		ip := info.IP
		if ip == "*" {
			ip = ""
		}
		return "tcp", net.JoinHostPort(ip, strconv.Itoa(int(port))), nil
	case "ipc":
		path := info.IP + "-" + strconv.Itoa(int(port))
		if info.IP == "" {
			return "", "", errors.New("transport ipc needs a path in ip")
		}
		if len(path) > maxSocketPath {
			return "", "", fmt.Errorf("socket path of %d bytes is longer than the %d that the system allows: choose a shorter directory", len(path), maxSocketPath)
		}
		return "unix", path, nil
	}
	return "", "", fmt.Errorf("transport %q is not supported: use tcp or ipc", info.Transport)
}

// bind listens on one socket of info. A port of 0 becomes a free one.
func bind(info *protocol.ConnectionInfo, port *protocol.Port) (net.Listener, error) {
	if info.Transport == "ipc" && *port == 0 {
		return bindFreePath(info, port)
	}
	network, addr, err := address(info, *port)
	if err != nil {
		return nil, err
	}
	if network == "unix" {
		return bindPath(addr)
	}
	l, err := net.Listen(network, addr)
	if err != nil {
		return nil, explain(err)
	}
	if t, ok := l.Addr().(*net.TCPAddr); ok {
		*port = protocol.Port(t.Port)
	}
	return l, nil
}

// bindFreePath takes the first path that nobody has.
func bindFreePath(info *protocol.ConnectionInfo, port *protocol.Port) (net.Listener, error) {
	for n := protocol.Port(1); n <= 65535; n++ {
		_, path, err := address(info, n)
		if err != nil {
			return nil, err
		}
		l, err := bindPath(path)
		if errors.Is(err, errInUse) || errors.Is(err, errNotSocket) {
			continue
		}
		if err == nil {
			*port = n
		}
		return l, err
	}
	return nil, errInUse
}

// bindPath listens on a unix socket that only its owner may connect to. The file
// of a socket that nobody listens on any more is replaced. Closing the listener
// removes the file.
func bindPath(path string) (net.Listener, error) {
	lc := net.ListenConfig{Control: restrict}
	l, err := lc.Listen(context.Background(), "unix", path)
	if isInUse(err) {
		if err := removeStale(path); err != nil {
			return nil, err
		}
		l, err = lc.Listen(context.Background(), "unix", path)
	}
	if err != nil {
		return nil, explain(err)
	}
	if err := os.Chmod(path, 0o600); err != nil { // where restrict is not enough
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// removeStale removes the socket file at path if nobody listens on it.
func removeStale(path string) error {
	st, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if st.Mode().Type() != fs.ModeSocket {
		return errNotSocket
	}
	c, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		return errors.Join(errInUse, c.Close())
	}
	if !isRefused(err) {
		return fmt.Errorf("%w (%w)", errInUse, err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove stale socket: %w", err)
	}
	return nil
}

// explain says what to do about an address that cannot be listened on.
func explain(err error) error {
	switch {
	case isInUse(err):
		return fmt.Errorf("%w (%w)", errInUse, err)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("this machine does not have that address: use one it has, 127.0.0.1 say (%w)", err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("not allowed: use a port above 1023, or a directory you own (%w)", err)
	}
	return err
}
