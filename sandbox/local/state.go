//go:build linux || darwin

package local

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/gokernel/gokernel/internal/proc"
	"github.com/gokernel/gokernel/sandbox"
)

// Names of files in a session's directory.
const (
	socketName = "agent.sock"
	lockName   = "agent.lock"
)

// agentCommand is the command line of an agent, after the program.
const (
	agentCommand = "agent"
	spawnFlag    = "--spawn"
)

// state is what a handle and the lock file say of an agent.
type state struct {
	PID    int    `json:"pid"`
	Start  uint64 `json:"start"` // see proc.Ident
	Socket string `json:"socket"`
	Dir    string `json:"dir"`
}

func (s state) ident() proc.Ident { return proc.Ident{PID: s.PID, Start: s.Start} }

// lockFile is what an agent writes into its lock file.
type lockFile struct {
	ID string `json:"id"`
	state
}

func (l lockFile) handle() (sandbox.Handle, error) {
	raw, err := json.Marshal(l.state)
	if err != nil {
		return sandbox.Handle{}, err
	}
	return sandbox.Handle{Driver: Name, ID: l.ID, State: raw}, nil
}

// stateOf returns the state of a handle. A handle without one is for whatever
// agent the session has.
func (d *Driver) stateOf(h sandbox.Handle) (state, error) {
	if h.Driver != "" && h.Driver != Name {
		return state{}, fmt.Errorf("session %s belongs to driver %q, not %q", h.ID, h.Driver, Name)
	}
	var s state
	if len(h.State) > 0 {
		if err := json.Unmarshal(h.State, &s); err != nil {
			return state{}, fmt.Errorf("handle of session %s: %w", h.ID, err)
		}
	}
	if s.Dir == "" {
		if err := checkID(h.ID); err != nil {
			return state{}, err
		}
		s.Dir = filepath.Join(d.dir, "sessions", h.ID)
	}
	if s.Socket == "" {
		s.Socket = filepath.Join(s.Dir, socketName)
	}
	return s, nil
}

func checkID(id string) error {
	if err := proc.CheckID(id); err != nil {
		return err
	}
	if id == "." || id == ".." {
		return fmt.Errorf("session id %q is no name of a directory", id)
	}
	return nil
}

// complete checks a spec and fills in its directory.
func (d *Driver) complete(spec sandbox.Spec) (sandbox.Spec, error) {
	if err := checkID(spec.ID); err != nil {
		return spec, err
	}
	root, err := filepath.Abs(d.dir)
	if err != nil {
		return spec, fmt.Errorf("state directory: %w", err)
	}
	if spec.Dir == "" {
		spec.Dir = filepath.Join(root, "sessions", spec.ID)
	}
	if spec.Dir, err = filepath.Abs(spec.Dir); err != nil {
		return spec, fmt.Errorf("session directory: %w", err)
	}
	rel, err := filepath.Rel(root, spec.Dir)
	if depth := strings.Count(rel, string(filepath.Separator)); err != nil || depth > 1 || strings.HasPrefix(rel, ".") {
		return spec, fmt.Errorf("session directory %s is neither in %s nor in a directory there, where List looks", spec.Dir, root)
	}
	return spec, nil
}

// agentEnv returns the environment of an agent: that of this process without
// what says whose child it is.
func agentEnv() []string {
	var env []string
	for _, v := range proc.Unmark(os.Environ()) {
		if !strings.HasPrefix(v, "JPY_PARENT_PID=") {
			env = append(env, v)
		}
	}
	return env
}
