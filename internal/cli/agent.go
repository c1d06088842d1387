package cli

import (
	"context"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/gokernel/gokernel/sandbox"
	"github.com/gokernel/gokernel/sandbox/local"
	"github.com/gokernel/gokernel/sandbox/process"
	"github.com/gokernel/gokernel/session"
	"github.com/gokernel/gokernel/session/agent"
	"github.com/gokernel/gokernel/session/runner"
)

// agentCommand is the command that makes this program the agent of a session.
// It is for drivers, not for people.
const agentCommand = "agent"

// isolations are the isolations that an agent can be asked for.
func isolations() map[string]sandbox.Isolation {
	return map[string]sandbox.Isolation{"process": process.New()}
}

// agentMain is the agent process.
func agentMain(args []string) int {
	oneProcessor()
	return local.AgentMain(args, func(ctx context.Context, spec sandbox.Spec, l net.Listener) error {
		ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM)
		defer stop()
		signal.Ignore(syscall.SIGINT, syscall.SIGHUP)
		log, closeLog := agentLog(spec.Dir)
		defer closeLog()
		if _, err := process.Reap(ctx, spec.ID); err != nil {
			log.Warn("ending what an earlier agent had left", "error", err)
		}
		languages := runner.Languages()
		return agent.Serve(ctx, spec, l, agent.Options{
			Isolations: isolations(),
			Languages:  func(name string) (agent.Language, bool) { l, ok := languages[name]; return l, ok },
			Logger:     log,
			Ended:      func(reason string) { ended(spec, reason, log) },
		})
	})
}

// ended notes in the registry that the session is over.
func ended(spec sandbox.Spec, reason string, log *slog.Logger) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := session.Ended(ctx, filepath.Dir(filepath.Dir(spec.Dir)), spec.ID, reason); err != nil {
		log.Warn("noting the end of the session", "error", err)
	}
}

// agentLog opens the agent's log in the session's directory. It holds what went
// wrong, never code or outputs.
func agentLog(dir string) (*slog.Logger, func()) {
	f, err := os.OpenFile(filepath.Join(dir, "agent.log"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return slog.New(slog.DiscardHandler), func() {}
	}
	var level slog.Level // info
	if text := os.Getenv("GOKERNEL_AGENT_LOG"); text != "" {
		_ = level.UnmarshalText([]byte(text)) // an unknown level leaves it at info
	}
	return slog.New(slog.NewTextHandler(f, &slog.HandlerOptions{Level: level})), func() { _ = f.Close() }
}
