//go:build unix

// Package python_test runs the conformance suite, and what is Python's own, with
// every Python that the machine has.
package python_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gokernel/gokernel/session/runner"
	"github.com/gokernel/gokernel/session/runner/runnertest"
)

var code = runnertest.Code{
	One: "1", ValueOfOne: "1",
	Print: "print('out')", PrintErr: "import sys; print('err', file=sys.stderr)",
	Fail: "1/0", Error: "ZeroDivisionError",
	Set: "x = [1, 2]", Get: "x", ValueOfX: "[1, 2]",
	Loop:        "print('loop')\nwhile True: pass",
	Sleep:       "import time\nprint('sleep')\ntime.sleep(60)",
	Child:       "import os\nprint('before')\nos.system('echo child')\nprint('after')",
	Input:       "print(input('name?'))",
	Interrupted: "KeyboardInterrupt",
	Exit:        "exit()",
	Lines:       "for i in range(200000): print(i)",
	Cwd:         "import os; print(os.getcwd())",
	Chdir:       "import os; os.chdir('..')",
	Getenv:      "import os; print(os.environ.get('GOKERNEL_TEST', 'none'))",
	Setenv:      "import os; os.environ['GOKERNEL_TEST'] = 'changed'",
}

// A python is an interpreter to test with.
type python struct {
	path    string
	version string
	ipython bool
}

// pythons are the interpreters of the machine, one of each minor version, and
// one with IPython.
var pythons = sync.OnceValue(func() []python {
	var found []python
	seen := map[string]bool{}
	for _, path := range candidates() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		info, err := runner.Inspect(ctx, path)
		cancel()
		if err != nil {
			continue
		}
		minor := info.Version[:strings.LastIndexByte(info.Version, '.')]
		key := minor
		if info.HasIPython {
			key += "+IPython"
		}
		if seen[key] {
			continue
		}
		seen[key] = true
		found = append(found, python{info.Executable, minor, info.HasIPython})
	}
	return found
})

// requirePythons returns pythons, or fails where tests must run.
func requirePythons(t *testing.T) []python {
	t.Helper()
	found := pythons()
	if len(found) > 0 {
		return found
	}
	if os.Getenv("CI") == "true" {
		t.Fatal("this machine has no Python of 3.9 or newer")
	}
	t.Skip("this machine has no Python of 3.9 or newer")
	return nil
}

func candidates() []string {
	list := []string{"/usr/bin/python3", "python3", "python"}
	root := os.Getenv("PYENV_ROOT")
	if home, err := os.UserHomeDir(); root == "" && err == nil {
		root = filepath.Join(home, ".pyenv")
	}
	patterns := []string{"/usr/bin/python3.*", "/usr/local/bin/python3.*", filepath.Join(root, "versions", "3.*", "bin", "python")}
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		patterns = append(patterns, filepath.Join(dir, "python3.*"))
	}
	name := regexp.MustCompile(`^python(3\.\d+)?$`)
	for _, pattern := range patterns {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			continue
		}
		for _, p := range paths {
			if name.MatchString(filepath.Base(p)) && !slices.Contains(list, p) {
				list = append(list, p)
			}
		}
	}
	return list
}

// workspace holds the program and a home directory for all tests of the package,
// so that Python compiles the program once.
var workspace string

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "gokernel-python-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	workspace = dir
	return m.Run()
}

// program installs the runner and returns its entry.
func program(t *testing.T) string {
	t.Helper()
	path, err := runner.Python().Install(filepath.Join(workspace, "program"))
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// A shell is an interpreter with one of its shells.
type shell struct {
	name string
	python
	plain bool
	cmd   runnertest.Command
}

func shells(t *testing.T) []shell {
	t.Helper()
	path := program(t)
	home := filepath.Join(workspace, "home")
	var list []shell
	for _, p := range requirePythons(t) {
		for _, plain := range []bool{false, true} {
			if !plain && !p.ipython {
				continue
			}
			s := shell{name: p.version + " plain", python: p, plain: plain}
			env := []string{"HOME=" + home, "IPYTHONDIR=" + filepath.Join(home, "ipython"), "MPLCONFIGDIR=" + filepath.Join(home, "mpl")}
			if plain {
				env = append(env, "GOKERNEL_PLAIN_SHELL=1")
			} else {
				s.name = p.version + " IPython"
			}
			s.cmd = runnertest.Command{Argv: runner.Python().Command(p.path, path), Env: env, Code: code}
			list = append(list, s)
		}
	}
	return list
}

// each runs a test with every interpreter and shell.
func each(t *testing.T, run func(t *testing.T, s shell)) {
	for _, s := range shells(t) {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			run(t, s)
		})
	}
}

func TestConformance(t *testing.T) {
	each(t, func(t *testing.T, s shell) { runnertest.Test(t, s.cmd) })
}

func TestSourcesCompile(t *testing.T) {
	entry := program(t)
	for _, p := range requirePythons(t) {
		// -W error finds escapes and comparisons that later versions refuse.
		out, err := exec.Command(p.path, "-W", "error", "-m", "compileall", "-q", "-f", filepath.Dir(entry)).CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v\n%s", p.version, err, out)
		}
	}
}
