//go:build unix

// Package javascript_test runs the conformance suite, and what is JavaScript's own,
// with the Node.js that the machine has.
package javascript_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/gokernel/gokernel/session/runner"
	"github.com/gokernel/gokernel/session/runner/runnertest"
)

var code = runnertest.Code{
	One: "1", ValueOfOne: "1",
	Print: "console.log('out')", PrintErr: "console.error('err')",
	Fail: "null.x", Error: "TypeError",
	Set: "const x = [1, 2]", Get: "x", ValueOfX: "[ 1, 2 ]",
	Loop:        "console.log('loop'); while (true);",
	Sleep:       "console.log('sleep'); await new Promise((done) => setTimeout(done, 60000))",
	Child:       "console.log('before'); require('child_process').execFileSync('echo', ['child'], {stdio: 'inherit'}); console.log('after')",
	Input:       "console.log(await input('name?'))",
	Interrupted: "Interrupted",
	Exit:        "process.exit()",
	Cwd:         "console.log(process.cwd())", Chdir: "process.chdir('..')",
	Getenv: "console.log(process.env.GOKERNEL_TEST ?? 'none')", Setenv: "process.env.GOKERNEL_TEST = 'changed'",
	Lines: "for (let i = 0; i < 200000; i++) console.log(i)",
}

// workspace holds the program for all tests of the package.
var workspace string

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "gokernel-javascript-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	workspace = dir
	return m.Run()
}

// node returns the path of Node.js. It skips the test when there is none, and
// fails it where tests must run.
func node(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("node")
	if err == nil {
		return path
	}
	if os.Getenv("CI") == "true" {
		t.Fatalf("this machine has no Node.js: %v", err)
	}
	t.Skipf("this machine has no Node.js: %v", err)
	return ""
}

func command(t *testing.T) runnertest.Command {
	t.Helper()
	interpreter := node(t)
	program, err := runner.JavaScript().Install(filepath.Join(workspace, "program"))
	if err != nil {
		t.Fatal(err)
	}
	return runnertest.Command{Argv: runner.JavaScript().Command(interpreter, program), Code: code}
}

func TestConformance(t *testing.T) {
	runnertest.Test(t, command(t))
}
