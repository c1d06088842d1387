// Package sandbox says where agents live and how an agent confines what it
// starts: a [Driver] starts agents and finds them again, an [Isolation] makes
// the place where code that nobody trusts runs. It defines the interfaces; the
// packages below it implement them.
package sandbox

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"os"
	"time"
)

// ErrNotFound is returned for a handle whose agent does not exist any more.
var ErrNotFound = errors.New("no such agent")

// A Driver starts agents and finds them again. A stream to the agent is all
// that it hands out, so that a pod is like a process. Its methods are safe for
// concurrent use.
type Driver interface {
	// Start starts the agent of a session and returns when it accepts
	// connections. It is idempotent on spec.ID: if that agent is up, its handle
	// is returned. The agent outlives the caller.
	Start(ctx context.Context, spec Spec) (Handle, error)
	// Dial opens a stream to the agent. The stream may break at any time.
	Dial(ctx context.Context, h Handle) (net.Conn, error)
	// List returns what exists, to adopt or reap after a restart.
	List(ctx context.Context) ([]Handle, error)
	// Stop ends the agent and all that runs in its sandbox, and returns when
	// nothing of it is left. Stopping what is gone is no error.
	Stop(ctx context.Context, h Handle) error
}

// A Handle finds an agent again. It is small, serialisable and safe to log.
type Handle struct {
	Driver string          `json:"driver"`
	ID     string          `json:"id"`              // of the session
	State  json.RawMessage `json:"state,omitempty"` // the driver's own
}

// A Spec says what agent to start. It holds a secret and an environment, and
// is handed over by descriptor, never on a command line or in a log.
type Spec struct {
	ID     string `json:"id"`
	Dir    string `json:"dir"`    // the session's directory: socket, journal, packages
	Secret string `json:"secret"` // what a front must know to talk to the agent
	// Agent is the program to start as agent; empty means the running one.
	Agent string `json:"agent,omitempty"`
	// Config is the agent's own configuration, opaque to drivers.
	Config json.RawMessage `json:"config"`
}

// An Isolation makes, on the agent's side, the place where code that nobody
// trusts runs.
type Isolation interface {
	// Open makes a sandbox. On an error nothing is left of it.
	Open(ctx context.Context, spec SandboxSpec) (Sandbox, error)
	// Capabilities says what is really enforced here: shown to users, never
	// guessed.
	Capabilities() Capabilities
}

// A SandboxSpec says what sandbox to make.
type SandboxSpec struct {
	ID  string // of the session
	Dir string // a directory for the isolation's own files
}

// Capabilities says what an isolation enforces.
type Capabilities struct {
	Name string `json:"name"` // process, linuxns, ...
	// Files, Processes, Network and Agent say whether code is kept from other
	// files, other processes, the network and its own agent.
	Files     bool `json:"files"`
	Processes bool `json:"processes"`
	Network   bool `json:"network"`
	Agent     bool `json:"agent"`
	// Reaps says whether everything that code has started ends with the
	// sandbox, even when the agent is killed.
	Reaps bool   `json:"reaps"`
	Note  string `json:"note,omitempty"` // a sentence for users
}

// A Sandbox is a place where commands run. Its methods are safe for concurrent
// use.
type Sandbox interface {
	// Start starts a command. The context bounds only the start.
	Start(ctx context.Context, cmd Command) (Process, error)
	// Stats says what all processes in the sandbox use together.
	Stats(ctx context.Context) (Stats, error)
	// Close ends all that runs in the sandbox; nothing of it is left. It is
	// idempotent.
	Close() error
}

// A Meterer is a Sandbox that can measure what its processes use for a while.
type Meterer interface {
	// Meter begins to measure, in some microseconds.
	Meter() (Meter, error)
}

// A Meter measures what all processes of a sandbox use together from when it was
// made. It holds nothing and need not be ended. Its methods are not safe for
// concurrent use.
type Meter interface {
	// Look takes a sample of the memory that is in use. Between two looks a peak
	// is seen only of processes that are there at the second.
	Look() error
	// End takes a last one and says what was used; soon after the beginning it is
	// as quick as that, and then may miss what background processes use.
	End() (Used, error)
}

// Used says what processes have used meanwhile.
type Used struct {
	CPU  time.Duration // of those that have ended too
	Peak uint64        // the most memory that they had together, in bytes resident
}

// A Command is what a Sandbox starts.
type Command struct {
	Argv []string
	Env  []string // the whole environment
	Dir  string
	// Stdin, Stdout and Stderr are the descriptors 0 to 2; nil is the null
	// device. Files become 3, 4 and so on. The caller keeps and closes its own
	// copies.
	Stdin, Stdout, Stderr *os.File
	Files                 []*os.File
}

// A Process is a started command, leading a process group of its own. It dies
// with its agent.
type Process interface {
	PID() int // as the host sees it
	// Signal sends sig to the process group, so to the children too.
	Signal(sig os.Signal) error
	// Wait returns when the process itself has ended and says how. It may be
	// called by several goroutines.
	Wait(ctx context.Context) (Exit, error)
	// Kill ends the process and everything that it has started, and returns
	// when none of it is left.
	Kill(ctx context.Context) error
}

// An Exit says how a process ended.
type Exit struct {
	Code   int    // exit status; -1 when ended by a signal
	Signal string // name of the signal that ended it, such as SIGKILL, or ""
	Core   bool
}

// Stats says what processes use.
type Stats struct {
	Processes int
	Memory    uint64 // bytes resident
	CPU       time.Duration
}
