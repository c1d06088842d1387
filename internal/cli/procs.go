package cli

import (
	"os"
	"runtime"
)

// oneProcessor lets this process run Go code on one processor. An agent and a
// kernel pass messages on from goroutine to goroutine; to wake another thread
// for each step takes longer than the step. Whoever sets GOMAXPROCS is obeyed.
func oneProcessor() {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(1)
	}
}
