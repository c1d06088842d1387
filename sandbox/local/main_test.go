//go:build linux

package local_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gokernel/gokernel/sandbox"
	"github.com/gokernel/gokernel/sandbox/local"
	"github.com/gokernel/gokernel/sandbox/process"
)

const limit = 20 * time.Second

// TestMain makes the test binary an agent, a creator of agents, or the tests.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "agent" {
		os.Exit(local.AgentMain(os.Args[2:], serve))
	}
	if len(os.Args) > 3 && os.Args[1] == "creator" {
		os.Exit(create(os.Args[2], os.Args[3]))
	}
	// With the race detector every process sleeps for a second when it ends.
	if err := os.Setenv("GORACE", "atexit_sleep_ms=0"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// config is the configuration of test agents.
type config struct {
	Hang    bool `json:"hang"`    // do not end at SIGTERM
	Command bool `json:"command"` // leave a daemon running
}

// serve answers each line of a connection with a line.
func serve(ctx context.Context, spec sandbox.Spec, l net.Listener) error {
	var c config
	if err := json.Unmarshal(spec.Config, &c); err != nil {
		return err
	}
	daemon := ""
	if c.Command {
		pid, err := startDaemon(ctx, spec)
		if err != nil {
			return err
		}
		daemon = pid
	}
	stop := context.AfterFunc(ctx, func() {
		if !c.Hang {
			l.Close()
		}
	})
	defer stop()
	for {
		conn, err := l.Accept()
		if err != nil {
			return nil
		}
		go func() {
			defer conn.Close()
			lines := bufio.NewScanner(conn)
			for lines.Scan() {
				fmt.Fprintln(conn, strings.TrimSpace(answer(lines.Text(), spec, daemon)))
			}
		}()
	}
}

func answer(question string, spec sandbox.Spec, daemon string) string {
	switch verb, rest, _ := strings.Cut(question, " "); verb {
	case "pid":
		return fmt.Sprint(os.Getpid())
	case "daemon":
		return daemon
	case "env":
		value, ok := os.LookupEnv(rest)
		return fmt.Sprintln(ok, value)
	case "cwd":
		dir, err := os.Getwd()
		return fmt.Sprintln(dir, err)
	case "secret":
		return spec.Secret
	case "fds":
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			return err.Error()
		}
		var targets []string
		for _, entry := range entries {
			if target, err := os.Readlink("/proc/self/fd/" + entry.Name()); err == nil {
				targets = append(targets, entry.Name()+"="+target)
			}
		}
		return strings.Join(targets, " ")
	}
	return "what?"
}

// startDaemon starts a command that leaves a daemon, and returns its pid.
func startDaemon(ctx context.Context, spec sandbox.Spec) (string, error) {
	box, err := process.New().Open(ctx, sandbox.SandboxSpec{ID: spec.ID, Dir: spec.Dir})
	if err != nil {
		return "", err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return "", err
	}
	_, err = box.Start(ctx, sandbox.Command{
		Argv:   []string{"/bin/sh", "-c", "setsid sh -c 'echo $$; exec sleep 1000 >/dev/null' & exit"},
		Env:    []string{"PATH=/usr/bin:/bin"},
		Stdout: w,
	})
	w.Close()
	if err != nil {
		return "", err
	}
	line, err := bufio.NewReader(r).ReadString('\n')
	return strings.TrimSpace(line), err
}

// create starts an agent, prints its handle and waits to be killed. With the
// program "self" it removes its own file first.
func create(dir, program string) int {
	if program == "self" {
		self, err := os.Executable()
		if err == nil {
			err = os.Remove(self)
		}
		if err != nil {
			fmt.Println(err)
			return 1
		}
		program = "/proc/self/exe"
	}
	h, err := local.New(dir, &local.Options{Agent: program}).Start(context.Background(), newSpec("created", config{}))
	if err != nil {
		fmt.Println(err)
		return 1
	}
	if err := json.NewEncoder(os.Stdout).Encode(h); err != nil {
		return 1
	}
	select {}
}

func newSpec(id string, c config) sandbox.Spec {
	raw, err := json.Marshal(c)
	if err != nil {
		panic(err) // a struct of booleans
	}
	return sandbox.Spec{ID: id, Secret: "s3cret-of-" + id, Config: raw}
}

// A site is a driver with a state directory of its own.
type site struct {
	*local.Driver
	dir string
}

func newSite(t *testing.T) *site {
	t.Helper()
	return newSiteIn(t, t.TempDir())
}

func newSiteIn(t *testing.T, dir string) *site {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	s := &site{local.New(dir, &local.Options{Agent: self, Grace: limit}), dir}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		defer cancel()
		handles, err := s.List(ctx)
		if err != nil {
			t.Errorf("list: %v", err)
		}
		for _, h := range handles {
			if err := s.Stop(ctx, h); err != nil {
				t.Errorf("stop: %v", err)
			}
		}
	})
	return s
}

func (s *site) start(t *testing.T, id string, c config) sandbox.Handle {
	t.Helper()
	h, err := s.Start(t.Context(), newSpec(id, c))
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// ask dials the agent and asks one question.
func (s *site) ask(t *testing.T, h sandbox.Handle, question string) string {
	t.Helper()
	conn, err := s.Dial(t.Context(), h)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(limit)); err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Fprintln(conn, question); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		t.Fatalf("ask %s: %v", question, err)
	}
	return strings.TrimSpace(line)
}

func (s *site) stop(t *testing.T, h sandbox.Handle) {
	t.Helper()
	if err := s.Stop(t.Context(), h); err != nil {
		t.Fatal(err)
	}
}

// files returns what lies in a session's directory.
func (s *site) files(t *testing.T, id string) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(s.dir, "sessions", id))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names
}
