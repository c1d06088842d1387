package agent

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

// An account is what a session remembers of itself when its agent is replaced:
// when it was made and how many executes it has performed. It is a small file in
// the session's directory, written in place. The dispatcher writes to it.
type account struct {
	created  time.Time
	executed int
	file     *os.File // nil when it cannot be written
}

// accountFormat has the same length whatever it holds, so that a later one covers
// an earlier one.
const (
	accountFormat = "created %019d executed %019d\n"
	accountSize   = len("created ") + 19 + len(" executed ") + 19 + 1
)

// openAccount opens the account of the session in dir, making it when there is
// none. The error says why the account lives in memory only.
func openAccount(dir string, now time.Time) (*account, error) {
	a := &account{created: now.Truncate(time.Microsecond)}
	f, err := os.OpenFile(filepath.Join(dir, "account"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return a, fmt.Errorf("the session's account: %w", err)
	}
	text := make([]byte, accountSize)
	n, err := io.ReadFull(f, text)
	if n > 0 {
		var micro int64
		if _, err := fmt.Sscanf(string(text), accountFormat, &micro, &a.executed); err == nil && n == accountSize && micro > 0 {
			a.created = time.UnixMicro(micro)
			a.executed = max(0, a.executed)
			a.file = f
			return a, nil
		}
		a.executed = 0
		err = errors.New("it is damaged and begins anew")
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	a.file = f
	return a, errors.Join(err, a.write())
}

// write writes the account. One that cannot be written is not tried again.
func (a *account) write() error {
	if a.file == nil {
		return nil
	}
	_, err := a.file.WriteAt(fmt.Appendf(nil, accountFormat, a.created.UnixMicro(), a.executed), 0)
	if err != nil {
		err = errors.Join(fmt.Errorf("the session's account: %w", err), a.close())
	}
	return err
}

// count notes that so many executes have been performed.
func (a *account) count(executed int) error {
	a.executed = executed
	return a.write()
}

func (a *account) close() error {
	if a.file == nil {
		return nil
	}
	f := a.file
	a.file = nil
	return f.Close()
}
