//go:build linux || darwin

package provision_test

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gokernel/gokernel/kernel/kerneltest"
	"github.com/gokernel/gokernel/kernel/provision"
	"github.com/gokernel/gokernel/protocol"
	"github.com/gokernel/gokernel/sandbox"
	"github.com/gokernel/gokernel/sandbox/local"
	"github.com/gokernel/gokernel/sandbox/process"
	"github.com/gokernel/gokernel/session"
	"github.com/gokernel/gokernel/session/agent"
	"github.com/gokernel/gokernel/session/agent/agenttest"
)

const patience = 30 * time.Second

// TestMain makes the test binary a runner, an agent, or the tests.
func TestMain(m *testing.M) {
	agenttest.RunnerMain()
	if len(os.Args) > 1 && os.Args[1] == "agent" {
		os.Exit(local.AgentMain(os.Args[2:], func(ctx context.Context, spec sandbox.Spec, l net.Listener) error {
			return agent.Serve(ctx, spec, l, agent.Options{
				Isolations: map[string]sandbox.Isolation{"process": process.New()},
				Languages:  func(name string) (agent.Language, bool) { return agenttest.Language{}, name == "script" },
				Ended: func(reason string) {
					_ = session.Ended(context.Background(), filepath.Dir(filepath.Dir(spec.Dir)), spec.ID, reason)
				},
			})
		}))
	}
	os.Exit(agenttest.Run(m))
}

func manage(t *testing.T) *session.Manager {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	state := t.TempDir()
	m, err := session.NewManager(session.Options{StateDir: state, Driver: local.New(state, &local.Options{Agent: program})})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Release(); err != nil {
			t.Error(err)
		}
	})
	return m
}

func request(name string, kept bool) session.OpenRequest {
	return session.OpenRequest{
		Session: name, Create: name != "", Kept: kept, Language: "script", Interpreter: "scripted",
		Isolation: "process", Env: agenttest.Env(), Dir: os.TempDir(),
	}
}

func native(t *testing.T, m *session.Manager, r session.OpenRequest) (*provision.Instance, *kerneltest.Client) {
	t.Helper()
	i, err := provision.Native(t.Context(), m, r, nil)
	if err != nil {
		t.Fatalf("Native: %v", err)
	}
	return i, kerneltest.NewClient(t, i.Conn)
}

func closeInstance(t *testing.T, i *provision.Instance) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := i.Close(ctx); err != nil {
		t.Errorf("Close: %v", err)
	}
}

// stream returns what a request has printed.
func stream(c *kerneltest.Client, m *protocol.Message) string {
	var b strings.Builder
	for _, out := range c.Messages(m) {
		if out.Header.MsgType == "stream" {
			var s protocol.Stream
			c.Decode(out, &s)
			b.WriteString(s.Text)
		}
	}
	return b.String()
}

// AGENT 1: a kernel's own session ends with it, and nothing is left.
func TestOwned(t *testing.T) {
	m := manage(t)
	i, c := native(t, m, request("", false))
	r, reply := c.Execute("print hello")
	c.Idle(r)
	if reply.Status != protocol.StatusOK || stream(c, r) != "hello\n" {
		t.Errorf("status %s with %q, want ok with hello", reply.Status, stream(c, r))
	}
	closeInstance(t, i)
	closeInstance(t, i)
	if _, err := m.Get(t.Context(), i.Session.ID()); !errors.Is(err, session.ErrNotFound) {
		t.Errorf("Get of the closed session = %v, want ErrNotFound", err)
	}
}

// AGENT 1: a kept session has its variables for the next kernel.
func TestKept(t *testing.T) {
	m := manage(t)
	i, c := native(t, m, request("kept", true))
	r, _ := c.Execute("set x 42")
	c.Idle(r)
	closeInstance(t, i)

	i, c = native(t, m, request("kept", true))
	r, _ = c.Execute("get x")
	c.Idle(r)
	if got := stream(c, r); got != "42\n" {
		t.Errorf("x is %q, want 42", got)
	}
	closeInstance(t, i)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := i.Session.Close(ctx); err != nil {
		t.Errorf("closing the session: %v", err)
	}
}

// An instance whose session ends by itself can be closed.
func TestSessionEnds(t *testing.T) {
	m := manage(t)
	i, c := native(t, m, request("", false))
	r, _ := c.Execute("")
	c.Idle(r)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := i.Session.Close(ctx); err != nil {
		t.Fatal(err)
	}
	closeInstance(t, i)
}

// An interrupt ends what runs.
func TestInterrupt(t *testing.T) {
	m := manage(t)
	i, c := native(t, m, request("", false))
	r := c.Request(protocol.Shell, &protocol.ExecuteRequest{Code: "wait /nowhere/at/all", StoreHistory: true})
	c.WaitFor("execute_input", func(m *protocol.Message) bool { return m.Header.MsgType == "execute_input" })
	if err := i.Interrupt(t.Context()); err != nil {
		t.Fatal(err)
	}
	var reply protocol.ExecuteReply
	c.Decode(c.Reply(r), &reply)
	if reply.EName != "KeyboardInterrupt" {
		t.Errorf("the cell ended with %q, want KeyboardInterrupt", reply.EName)
	}
	closeInstance(t, i)
}

// What cannot be made leaves nothing.
func TestNativeFails(t *testing.T) {
	m := manage(t)
	r := request("", false)
	r.Isolation = "none such"
	if _, err := provision.Native(t.Context(), m, r, nil); err == nil {
		t.Error("Native with an unknown isolation = nil, want an error: its agent ends at once")
	}
	list, err := m.List(t.Context())
	if err != nil || len(list) > 0 {
		t.Errorf("List = %v, %v; want none", list, err)
	}
}
