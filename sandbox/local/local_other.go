//go:build !linux && !darwin

package local

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/gokernel/gokernel/sandbox"
)

// errUnsupported is the answer where there are no agents yet.
var errUnsupported = fmt.Errorf("local agents are not supported on this system yet: %w", errors.ErrUnsupported)

// Start is not there on this system.
func (d *Driver) Start(context.Context, sandbox.Spec) (sandbox.Handle, error) {
	return sandbox.Handle{}, errUnsupported
}

// Dial is not there on this system.
func (d *Driver) Dial(context.Context, sandbox.Handle) (net.Conn, error) {
	return nil, errUnsupported
}

// List finds no agents on this system.
func (d *Driver) List(context.Context) ([]sandbox.Handle, error) { return nil, nil }

// Stop is not there on this system.
func (d *Driver) Stop(context.Context, sandbox.Handle) error { return errUnsupported }

// AgentMain is not there on this system.
func AgentMain([]string, func(context.Context, sandbox.Spec, net.Listener) error) int { return 2 }
