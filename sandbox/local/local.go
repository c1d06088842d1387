// Package local is the driver whose agents are processes of this machine.
//
// An agent is the program "gokernel agent", started twice removed from its
// front: the front starts a shell that starts the agent and ends at once (or,
// where there is no shell, "gokernel agent --spawn", which costs the start of
// one more Go program), and the agent makes a session of its own. So it is no
// child of the front and in neither its process group nor its terminal. Its standard streams are the
// null device and its working directory is the root. It has two more
// descriptors: from 3 it reads its [sandbox.Spec] as JSON, on 4 it says "ok" or
// what went wrong; both are closed then.
//
// An agent holds a lock on the file agent.lock in its session's directory for
// all of its life, so that there is one at most, and listens on agent.sock
// there. The file says which process it is. The directory has mode 0700, and
// both ends of a connection check that the other one is of the same user.
//
// It works on Linux and macOS; elsewhere every method returns an error that
// wraps [errors.ErrUnsupported].
package local

import (
	"log/slog"
	"time"

	"github.com/gokernel/gokernel/sandbox"
)

// Name is the driver's name in handles.
const Name = "local"

// AgentVariable names the program to start as agent, when neither the spec nor
// the options do.
const AgentVariable = "GOKERNEL_AGENT"

// Options adjust a driver. The zero value is ready to use.
type Options struct {
	// Agent is the program to start as agent where the spec names none.
	Agent string
	// Grace is how long Stop lets an agent end by itself before it kills it.
	// It is 5 s by default.
	Grace  time.Duration
	Logger *slog.Logger // nothing is logged by default
}

// A Driver starts agents and finds them again. Its methods are safe for
// concurrent use, also by several processes.
type Driver struct {
	dir   string
	agent string
	shell string // starts agents; empty when there is none
	grace time.Duration
	log   *slog.Logger
}

var _ sandbox.Driver = (*Driver)(nil)

// New returns the driver for the sessions whose directories lie in stateDir or
// in a directory there. A spec without one gets stateDir/sessions/ID. opts may
// be nil.
func New(stateDir string, opts *Options) *Driver {
	d := &Driver{dir: stateDir, shell: "/bin/sh", grace: 5 * time.Second, log: slog.New(slog.DiscardHandler)}
	if opts == nil {
		return d
	}
	d.agent = opts.Agent
	if opts.Grace > 0 {
		d.grace = opts.Grace
	}
	if opts.Logger != nil {
		d.log = opts.Logger
	}
	return d
}
