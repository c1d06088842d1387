package wire

import "time"

// DefaultLease is how long a kept session may be idle with nothing attached.
const DefaultLease = 24 * time.Hour

// A Config is what an agent is told about its session. It travels in
// sandbox.Spec.Config and is kept in the session's directory, readable by its
// owner only, for an agent that has to be started again.
type Config struct {
	Name        string   `json:"name,omitempty"`
	Language    string   `json:"language"`
	Interpreter string   `json:"interpreter"` // path of the language's program
	Programs    string   `json:"programs"`    // directory that runner programs are installed in
	History     string   `json:"history"`     // file of input history, shared by sessions
	Env         []string `json:"env"`
	Dir         string   `json:"dir"` // working directory of the language process
	Isolation   string   `json:"isolation"`
	Kept        bool     `json:"kept"`
	// Lease is how long a kept session may be idle; 0 means DefaultLease.
	Lease time.Duration `json:"lease,omitempty"`
}
