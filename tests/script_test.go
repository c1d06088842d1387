package tests

import (
	"errors"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/gokernel/gokernel/session/agent/install/installtest"
)

// TestScript runs the scripts of script/, which use gokernel as a shell does.
// In them $PYTHON is a Python with the Jupyter clients, and
//
//	status N COMMAND [ARG...]
//
// runs a command that must exit with the status N. pip, uv and npm find the
// packages of packageSources, and nothing else.
func TestScript(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("the scripts have Unix paths")
	}
	binary, err := built.binary()
	if err != nil {
		t.Fatal(err)
	}
	python, err := built.python()
	if err != nil {
		missing(t, err)
	}
	sources := packageSources(t)
	// State directories hold sockets, whose paths must be short.
	root, err := os.MkdirTemp(built.dir, "script-")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir: "script",
		Setup: func(env *testscript.Env) error {
			home, err := os.MkdirTemp(root, "home-")
			if err != nil {
				return err
			}
			state := filepath.Join(home, "state")
			env.Setenv("HOME", home)
			env.Setenv("XDG_STATE_HOME", state)
			env.Setenv("XDG_DATA_HOME", filepath.Join(home, "data"))
			env.Setenv("IPYTHONDIR", filepath.Join(home, "ipython"))
			env.Setenv("MPLCONFIGDIR", filepath.Join(home, "matplotlib"))
			env.Setenv("PYTHON", python)
			path := []string{filepath.Dir(binary), filepath.Dir(python), env.Getenv("PATH")}
			env.Setenv("PATH", strings.Join(path, string(os.PathListSeparator)))
			for name, value := range sources {
				env.Setenv(name, value)
			}
			env.Defer(func() {
				cmd := exec.Command(binary, "sessions", "close", "--all")
				cmd.Env = append(os.Environ(), "XDG_STATE_HOME="+state)
				if out, err := cmd.CombinedOutput(); err != nil {
					t.Errorf("closing the sessions that are left: %v\n%s", err, out)
				}
			})
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"status": status},
	})
}

// packageSources serves packages until the test ends, and returns the environment
// in which installers use them.
func packageSources(t *testing.T) map[string]string {
	index := installtest.NewIndex(t,
		installtest.Wheel{Name: "apple", Version: "1.0"}, installtest.Wheel{Name: "apple", Version: "2.0"},
		installtest.Wheel{Name: "pie", Version: "0.1", Requires: []string{"apple<2"}},
	)
	env := index.Env()
	maps.Copy(env, installtest.NewRegistry(t, installtest.Module{Name: "plum", Version: "3.2.1"}).Env())
	return env
}

func status(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: status N COMMAND [ARG...]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("%v: exit status %d, want %d", args[1:], got, want)
	}
}
