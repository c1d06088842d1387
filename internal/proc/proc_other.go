//go:build !linux

package proc

import (
	"errors"
	"fmt"
)

// All is not there on this system.
func All() ([]Info, error) {
	return nil, fmt.Errorf("list processes: %w on this system", errors.ErrUnsupported)
}

// Getenv finds nothing on this system.
func Getenv(int, string) (value string, ok bool) { return "", false }
