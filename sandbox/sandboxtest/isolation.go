// Package sandboxtest has what tests of sandboxes and of their users need: a
// suite that every isolation passes, and an isolation and a driver that fail on
// demand.
package sandboxtest

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/gokernel/gokernel/sandbox"
)

// Wait is how long the suite waits for what must happen.
const Wait = 20 * time.Second

// agentArg makes a test binary that calls [Main] be an agent that opens a
// sandbox and starts what its arguments say.
const agentArg = "sandboxtest-agent"

// Main runs the tests of a package that calls [TestIsolation]; its TestMain
// hands over to it. It returns the exit status. The suite starts the test
// binary again to have an agent that it can kill; newIsolation is for that
// process.
func Main(m *testing.M, newIsolation func() sandbox.Isolation) int {
	if len(os.Args) > 2 && os.Args[1] == agentArg {
		return agent(newIsolation(), os.Args[2])
	}
	return m.Run()
}

// agent runs a script in a sandbox with descriptor 3, which it has inherited,
// and waits to be killed.
func agent(isolation sandbox.Isolation, script string) int {
	ctx := context.Background()
	box, err := isolation.Open(ctx, sandbox.SandboxSpec{ID: "victim", Dir: os.TempDir()})
	if err != nil {
		os.Stderr.WriteString(err.Error())
		return 1
	}
	lifeline := os.NewFile(3, "lifeline")
	_, err = box.Start(ctx, sandbox.Command{
		Argv:   []string{"/bin/sh", "-c", script},
		Env:    []string{"PATH=/usr/bin:/bin"},
		Stdout: os.Stdout,
		Stderr: os.Stderr,
		Files:  []*os.File{lifeline},
	})
	lifeline.Close()
	if err != nil {
		os.Stderr.WriteString(err.Error())
		return 1
	}
	select {}
}
