//go:build unix

package agent

import (
	"os"
	"testing"

	"github.com/gokernel/gokernel/session/agent/agenttest"
)

func TestMain(m *testing.M) {
	agenttest.RunnerMain()
	if arg := os.Getenv(agentVariable); arg != "" {
		os.Exit(childAgent(arg))
	}
	os.Exit(agenttest.Run(m))
}
