package session

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/gokernel/gokernel/session/wire"
)

// A State is what a session is doing.
type State = wire.State

// States of a session. The last two are of one whose agent does not say it
// itself.
const (
	StateStarting = wire.StateStarting
	StateIdle     = wire.StateIdle
	StateBusy     = wire.StateBusy
	StateFailed   = wire.StateFailed // its language process cannot be started
	// StateDead is that of a session whose agent has died: its variables are
	// gone, its files are there. A run or a kernel starts a new agent.
	StateDead State = "dead"
	// StateSilent is that of a session whose agent is there and does not answer.
	StateSilent State = "silent"
)

// A RunRecord is what a session remembers of a run.
type RunRecord = wire.RunRecord

// A RunState is how far a run is.
type RunState = wire.RunState

// States of a run.
const (
	RunQueued  = wire.RunQueued
	RunRunning = wire.RunRunning
	RunDone    = wire.RunDone
)

// An Info says what a session is and how it is. Its agent measures it when it is
// asked for; of a session whose agent is dead or silent it holds what the
// registry knows.
//
// In JSON times that are zero are null and lists are never.
type Info struct {
	ID    string `json:"session_id"`
	Name  string `json:"name"` // "" if it has none
	State State  `json:"state"`
	// Languages are those that have a process, the session's own first.
	Languages []string  `json:"languages"`
	Created   time.Time `json:"created_at"`
	// LastUsed is when a run or another request last came or ended; now while
	// there is one. Zero when the agent does not say it.
	LastUsed time.Time `json:"last_used_at"`
	// Expires is when the lease runs out if nothing happens. Zero while it is
	// held, because something runs or is attached, and of sessions without one.
	Expires time.Time `json:"expires_at"`
	// Runs is how many runs and cells have been executed since the agent began.
	Runs int `json:"runs"`
	// Packages are those in the session's own package folders, as name==version.
	Packages  []string `json:"packages"`
	Cwd       string   `json:"cwd"` // the working directory
	Isolation string   `json:"isolation"`
	// CPU is what the session's processes have used, in seconds, and Memory what
	// they have resident, in bytes.
	CPU    float64 `json:"cpu_seconds"`
	Memory uint64  `json:"memory_bytes"`

	Kept         bool   `json:"-"` // it stands by itself, under a lease
	Attached     bool   `json:"-"` // a kernel is attached
	AttachedRuns int    `json:"-"` // runs whose callers are attached
	Queued       int    `json:"-"` // requests that wait for their turn
	AgentPID     int    `json:"-"`
	PID          int    `json:"-"` // of the session's own language process; 0 while there is none
	Epoch        uint64 `json:"-"` // how many agents the session has had
	Journal      int64  `json:"-"` // bytes on disk
	Failure      string `json:"-"` // why the language process cannot be started
}

// Running reports whether the session's agent has answered.
func (i *Info) Running() bool { return i.State != StateDead && i.State != StateSilent }

// Language returns the session's own language.
func (i *Info) Language() string {
	if len(i.Languages) == 0 {
		return ""
	}
	return i.Languages[0]
}

// MarshalJSON implements json.Marshaler.
func (i Info) MarshalJSON() ([]byte, error) {
	type plain Info
	out := struct {
		plain
		LastUsed *time.Time `json:"last_used_at"`
		Expires  *time.Time `json:"expires_at"`
	}{plain: plain(i)}
	if !i.LastUsed.IsZero() {
		out.LastUsed = &i.LastUsed
	}
	if !i.Expires.IsZero() {
		out.Expires = &i.Expires
	}
	if out.Packages == nil {
		out.Packages = []string{}
	}
	if out.Languages == nil {
		out.Languages = []string{}
	}
	return json.Marshal(out)
}

// measured returns what an agent has said about its session.
func measured(w *wire.Info) *Info {
	languages := w.Languages
	if len(languages) == 0 && w.Language != "" { // an older agent
		languages = []string{w.Language}
	}
	return &Info{
		ID: w.ID, Name: w.Name, State: w.State, Languages: slices.Clone(languages), Created: w.Created, LastUsed: w.LastActive,
		Expires: w.Expires, Runs: w.Executed, Packages: w.Packages, Cwd: w.Dir, Isolation: w.Isolation, CPU: w.CPU, Memory: w.Memory,
		Kept: w.Kept, Attached: w.Attached, AttachedRuns: w.Runs, Queued: w.Queued, AgentPID: w.AgentPID, PID: w.PID, Epoch: w.Epoch,
		Journal: w.Journal, Failure: w.Failure,
	}
}

// registered returns what the registry knows about a session whose agent has
// not answered because of err.
func registered(row *Row, err error) *Info {
	i := &Info{
		ID: row.ID, Name: row.Name, State: StateSilent, Created: row.Created, Cwd: row.Dir, Isolation: row.Isolation, Kept: row.Kept,
	}
	if row.Language != "" {
		i.Languages = []string{row.Language}
	}
	switch {
	case row.State == RowStarting:
		i.State = StateStarting
	case errors.Is(err, ErrDead):
		i.State = StateDead
	}
	return i
}

// Info asks the agent what the session is and how it is. When the agent is dead
// the error wraps ErrDead, and the Info, which is not nil then, says what the
// registry knows.
func (s *Session) Info(ctx context.Context) (*Info, error) {
	w := new(wire.Info)
	err := s.call(ctx, wire.CallInfo, nil, w)
	if err == nil {
		return measured(w), nil
	}
	if errors.Is(err, ErrDead) {
		s.mu.Lock()
		defer s.mu.Unlock()
		return registered(s.row, err), err
	}
	return nil, err
}
