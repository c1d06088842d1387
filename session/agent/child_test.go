//go:build unix

package agent

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"context"
	"encoding/json"
	"net"

	"github.com/gokernel/gokernel/sandbox"
	isolation "github.com/gokernel/gokernel/sandbox/process"
	"github.com/gokernel/gokernel/session/agent/agenttest"
	"github.com/gokernel/gokernel/session/wire"
)

// agentVariable makes the test binary an agent; its value is the session's
// directory and the socket, with a newline between.
const agentVariable = "GOKERNEL_TEST_AGENT"

// childAgent is the agent in a process of its own.
func childAgent(arg string) int {
	dir, socket, _ := strings.Cut(arg, "\n")
	l, err := net.Listen("unix", socket)
	if err != nil {
		return 1
	}
	config := &wire.Config{
		Language: "script", Interpreter: "scripted", Programs: dir, Isolation: "process", Kept: true,
		Dir: dir, Env: agenttest.Env(),
	}
	raw, err := json.Marshal(config)
	if err != nil {
		return 1
	}
	err = Serve(context.Background(), sandbox.Spec{ID: testID, Dir: dir, Secret: testSecret, Config: raw}, l, Options{
		Isolations: map[string]sandbox.Isolation{"process": isolation.New()},
		Languages:  func(name string) (Language, bool) { return agenttest.Language{}, name == "script" },
	})
	if err != nil {
		return 1
	}
	return 0
}

// A child is an agent in a process of its own, to be killed.
type child struct {
	*held
	cmd *exec.Cmd
}

func holdChild(t *testing.T, state, _ string) *child {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "s")
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), agentVariable+"="+state+"\n"+socket)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c := &child{&held{t: t, socket: socket}, cmd}
	t.Cleanup(c.kill)
	for deadline := time.Now().Add(patience); ; {
		if conn, err := net.Dial("unix", socket); err == nil {
			_ = conn.Close()
			return c
		}
		if time.Now().After(deadline) {
			t.Fatal("the agent does not listen")
		}
		time.Sleep(5 * time.Millisecond) // nothing tells of another process's socket: dial again
	}
}

// kill kills the agent as SIGKILL does, and waits.
func (c *child) kill() {
	_ = c.cmd.Process.Kill()
	_ = c.cmd.Wait()
}

func kill(t *testing.T, pid string) {
	t.Helper()
	sendSignal(t, pid, syscall.SIGKILL)
}

// sendSignal sends a signal.
func sendSignal(t *testing.T, pid string, sig syscall.Signal) {
	t.Helper()
	n, err := strconv.Atoi(pid)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(n, sig); err != nil {
		t.Fatal(err)
	}
}

// running reports whether a process is there and no zombie.
func running(t *testing.T, pid string) bool {
	t.Helper()
	b, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	return !strings.HasPrefix(rest, "Z")
}
