// Package process is the isolation "none": commands are plain processes of the
// machine, with all the rights of the agent's user. What it adds is order:
// every command leads a session and a process group of its own, has no
// controlling terminal and no descriptors but those asked for, and is ended
// with everything that it has started.
//
// On Linux a command also dies with the process that has opened the sandbox,
// however that ends, and the sandbox makes that process a child subreaper, so
// that what a command leaves behind becomes its child and is found. Every
// command has [Marker] in its environment; by it [Reap] finds what a killed
// agent has left. Code that both leaves its session and clears its environment
// gets away: there is no confinement here, and Capabilities says so.
//
// It needs Linux or another Unix; elsewhere opening a sandbox is an error that
// wraps [errors.ErrUnsupported].
package process

import (
	"context"
	"fmt"

	"github.com/gokernel/gokernel/internal/proc"
	"github.com/gokernel/gokernel/sandbox"
)

// Marker is the environment variable that every command gets; its value is the
// id of the session.
const Marker = proc.Marker

// Name is the name of the isolation, as in [sandbox.Capabilities].
const Name = "process"

// An Isolation opens sandboxes that confine nothing. Its methods are safe for
// concurrent use.
type Isolation struct{}

var _ sandbox.Isolation = (*Isolation)(nil)

// New returns the isolation.
func New() *Isolation { return &Isolation{} }

// Open makes a sandbox. The calling process becomes a child subreaper for the
// rest of its life (Linux), and its descriptors from 3 on are closed on exec
// whenever a command starts. The sandbox runs two goroutines, which Close ends:
// one, on a thread of its own, starts commands, and one waits for adopted
// children that have ended. One more a command waits for its end.
func (*Isolation) Open(ctx context.Context, spec sandbox.SandboxSpec) (sandbox.Sandbox, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("open sandbox: %w", err)
	}
	if err := proc.CheckID(spec.ID); err != nil {
		return nil, fmt.Errorf("open sandbox: %w", err)
	}
	return open(spec)
}

// Capabilities says that nothing is confined.
func (*Isolation) Capabilities() sandbox.Capabilities {
	return sandbox.Capabilities{
		Name: Name,
		Note: "No isolation: code runs with your rights and reaches your files, your processes and the network. " + endNote,
	}
}

// Reap ends what an earlier, killed agent of the session id has left running,
// and says how many processes that was. The calling process and its ancestors
// are spared, agents are not marked and so neither. Call it only while no agent
// of that session lives, or from the new agent before it starts commands. On
// systems other than Linux it returns an error that wraps
// [errors.ErrUnsupported].
func Reap(ctx context.Context, id string) (int, error) {
	n, err := proc.EndMarked(ctx, id)
	if err != nil {
		return n, fmt.Errorf("reap session %s: %w", id, err)
	}
	return n, nil
}
