//go:build linux || darwin

package local

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// errBusy says that somebody else has the lock.
var errBusy = errors.New("another process has the agent's lock")

// A lock is a locked file. The lock ends with the process at the latest.
type lock struct{ file *os.File }

// acquire makes the file if need be and locks it, or returns errBusy.
func acquire(path string) (*lock, error) {
	for {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return nil, fmt.Errorf("agent's lock: %w", err)
		}
		if err := lockFD(f); err != nil {
			f.Close()
			return nil, err
		}
		// Its last owner may have removed it meanwhile.
		ours, err := f.Stat()
		if err != nil {
			f.Close()
			return nil, fmt.Errorf("agent's lock: %w", err)
		}
		if now, err := os.Stat(path); err == nil && os.SameFile(ours, now) {
			return &lock{f}, nil
		}
		f.Close()
	}
}

// write replaces the content of the file.
func (l *lock) write(content []byte) error {
	if err := l.file.Truncate(0); err != nil {
		return fmt.Errorf("agent's lock: %w", err)
	}
	if _, err := l.file.WriteAt(content, 0); err != nil {
		return fmt.Errorf("agent's lock: %w", err)
	}
	return nil
}

// release removes the file and then the lock.
func (l *lock) release() error {
	err := os.Remove(l.file.Name())
	if errors.Is(err, fs.ErrNotExist) {
		err = nil // with the whole directory
	}
	return errors.Join(err, l.file.Close())
}
