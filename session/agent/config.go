package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/gokernel/gokernel/sandbox"
	"github.com/gokernel/gokernel/session/wire"
)

// ownedGrace is how long an owned session waits for its front after a link that
// was lost without a detach, and half of what it waits after its start. A front
// that lives re-dials well within it.
const ownedGrace = 5 * time.Second

// A Language starts the runner of one language; see package runner.
type Language interface {
	// Install makes sure that the language's program is under dir and returns
	// the path of its entry.
	Install(dir string) (program string, err error)
	// Command returns the argument vector that starts the program.
	Command(interpreter, program string) []string
}

// Options are what the program that is the agent gives it.
type Options struct {
	// Isolations by name; wire.Config.Isolation names one.
	Isolations map[string]sandbox.Isolation
	// Languages finds a language by name.
	Languages func(name string) (Language, bool)
	// Ended is called when the session has ended for good: nothing of it runs any
	// more, and its directory is about to go. Until it returns, whoever comes is
	// told that the session ends. It may be nil.
	Ended  func(reason string)
	Logger *slog.Logger
	// Grace replaces ownedGrace in tests; 0 means ownedGrace.
	Grace time.Duration

	maxQueued int // replaces the constant in tests; 0 means that
}

func parseConfig(raw json.RawMessage) (*wire.Config, error) {
	c := new(wire.Config)
	if err := json.Unmarshal(raw, c); err != nil {
		return nil, fmt.Errorf("agent configuration: %w", err)
	}
	if c.Language == "" || c.Interpreter == "" {
		return nil, errors.New("agent configuration: language and interpreter must be given")
	}
	if c.Lease <= 0 {
		c.Lease = wire.DefaultLease
	}
	return c, nil
}
