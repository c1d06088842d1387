//go:build !unix

package process

import (
	"errors"
	"fmt"

	"github.com/gokernel/gokernel/sandbox"
)

const endNote = "It is not supported on this system yet."

func open(sandbox.SandboxSpec) (sandbox.Sandbox, error) {
	return nil, fmt.Errorf("open sandbox: isolation %s is not supported on this system yet: %w", Name, errors.ErrUnsupported)
}
