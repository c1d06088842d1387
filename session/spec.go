package session

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/gokernel/gokernel/sandbox"
	"github.com/gokernel/gokernel/session/wire"
)

func specFile(dir string) string { return filepath.Join(dir, "spec.json") }

// writeSpec keeps the spec in the session's directory, for an agent that has to
// be started again and for other fronts of the same user. Who reads it at the
// same time gets the old one or the new one.
func writeSpec(spec *sandbox.Spec) error {
	b, err := json.Marshal(spec)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(spec.Dir, "spec-*") // mode 0600
	if err != nil {
		return fmt.Errorf("session directory: %w", err)
	}
	_, err = f.Write(b)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), specFile(spec.Dir))
	}
	if err != nil {
		return errors.Join(fmt.Errorf("session spec: %w", err), os.Remove(f.Name()))
	}
	return nil
}

// readSpec reads what writeSpec has written. The error wraps ErrExpired when
// the directory is gone.
func readSpec(dir string) (*sandbox.Spec, error) {
	b, err := os.ReadFile(specFile(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: its directory is gone", ErrExpired)
	}
	if err != nil {
		return nil, fmt.Errorf("session spec: %w", err)
	}
	spec := new(sandbox.Spec)
	if err := json.Unmarshal(b, spec); err != nil {
		return nil, fmt.Errorf("session spec: %w", err)
	}
	return spec, nil
}

// keepSpec makes the session of spec one that stands by itself; a lease of 0
// leaves that as it is. It returns the lease that it has then.
func keepSpec(spec *sandbox.Spec, lease time.Duration) (time.Duration, error) {
	var c wire.Config
	if err := json.Unmarshal(spec.Config, &c); err != nil {
		return 0, fmt.Errorf("session spec: %w", err)
	}
	c.Kept = true
	if lease > 0 {
		c.Lease = lease
	}
	raw, err := json.Marshal(c)
	if err != nil {
		return 0, fmt.Errorf("session spec: %w", err)
	}
	spec.Config = raw
	return cmp.Or(c.Lease, wire.DefaultLease), nil
}
