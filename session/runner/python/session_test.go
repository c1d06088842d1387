//go:build unix

package python_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gokernel/gokernel/session/runner/runnertest"
)

// makeWheel is code that writes a package as pip installs it.
const makeWheel = `
import zipfile, os
def wheel(version):
    name = 'gokernel_demo-%s-py3-none-any.whl' % version
    info = 'gokernel_demo-%s.dist-info/' % version
    with zipfile.ZipFile(name, 'w') as z:
        z.writestr('gokernel_demo.py', 'version = %r' % version)
        z.writestr(info + 'METADATA', 'Metadata-Version: 2.1\nName: gokernel-demo\nVersion: %s\n' % version)
        z.writestr(info + 'WHEEL', 'Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n')
        z.writestr(info + 'RECORD', '')
    return name
first, second = wheel('1.0'), wheel('2.0')
`

func TestPackages(t *testing.T) {
	each(t, func(t *testing.T, s shell) {
		cmd := s.cmd
		folder := filepath.Join(t.TempDir(), "packages")
		cmd.Init = map[string]any{"packages": folder}
		r := runnertest.Start(t, cmd)
		if r.Must("import importlib.util; importlib.util.find_spec('pip') is None").Value() == "True" {
			got := r.Execute("%pip install --no-index nothing")
			if got.Reply["ename"] != "ModuleNotFoundError" || !strings.Contains(fmt.Sprint(got.Reply["evalue"]), "has no pip") {
				t.Errorf("got %v, want an error that says what is missing", got.Reply)
			}
			return
		}
		r.Must(makeWheel)
		// The interpreters of the test may be written to: say that they may not.
		r.Must("import gokernel_runner.packages as p; p._protected = lambda: True")
		got := r.Must("%pip install --no-index ./gokernel_demo-1.0-py3-none-any.whl").Text("stdout")
		if !strings.Contains(got, folder) || !strings.Contains(got, "Successfully installed") {
			t.Fatalf("got %q, want where it went", got)
		}
		if got := r.Must("import gokernel_demo as d; (d.version, d.__file__)").Value(); !strings.Contains(got, "'1.0'") || !strings.Contains(got, folder) {
			t.Errorf("got %s, want version 1.0 from %s", got, folder)
		}
		r.Must("%pip install --no-index ./gokernel_demo-2.0-py3-none-any.whl")
		if got := r.Must("import importlib; importlib.reload(d).version").Value(); got != "'2.0'" {
			t.Errorf("got %s, want the newer version", got)
		}
		// Of the older one nothing is left that would make it two.
		if got := missing(t, r, "gokernel-demo==2.0"); got != "[]" {
			t.Errorf("got missing %s after %%pip, want none", got)
		}
	})
}

// TestStartupTextComesWithTheFirstCell: errors of a profile are shown, and do no harm.
func TestStartupTextComesWithTheFirstCell(t *testing.T) {
	each(t, func(t *testing.T, s shell) {
		if s.plain {
			t.Skip("the plain shell reads no profile")
		}
		dir := t.TempDir()
		startup := filepath.Join(dir, "profile_default", "startup")
		if err := os.MkdirAll(startup, 0o755); err != nil {
			t.Fatal(err)
		}
		files := map[string]string{
			filepath.Join(startup, "00.py"):                                       "import os\nstarted = 5\nprint('hello')\nos.write(2, b'from the descriptor\\n')\n1/0\n",
			filepath.Join(dir, "profile_default", "ipython_config.py"):            "c.InteractiveShellApp.exec_lines = ['line = 6']\n",
			filepath.Join(dir, "profile_default", "ipython_kernel_config.py"):     "c.InteractiveShellApp.extensions = ['no_such_extension']\n",
			filepath.Join(dir, "profile_default", "ipython_kernel_config_bad.py"): "syntax error",
		}
		for name, text := range files {
			if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		cmd := s.cmd
		cmd.Env = append(cmd.Env[:len(cmd.Env):len(cmd.Env)], "IPYTHONDIR="+dir)
		r := runnertest.Start(t, cmd)
		got := r.Must("started + line")
		if got.Value() != "11" {
			t.Errorf("got value %q, want 11", got.Value())
		}
		all := got.Text("stderr") + got.Text("stdout")
		for _, want := range []string{"hello", "from the descriptor", "ZeroDivisionError", "no_such_extension"} {
			if !strings.Contains(all, want) {
				t.Errorf("got %q with the first cell, want %q in it", all, want)
			}
		}
	})
}

// TestBrokenIPython: an IPython that cannot be imported is said and replaced.
func TestBrokenIPython(t *testing.T) {
	broken := t.TempDir()
	if err := os.Mkdir(filepath.Join(broken, "IPython"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(broken, "IPython", "__init__.py"), []byte("raise ImportError('torn')"), 0o644); err != nil {
		t.Fatal(err)
	}
	each(t, func(t *testing.T, s shell) {
		if s.plain {
			t.Skip("needs no IPython")
		}
		cmd := s.cmd
		cmd.Env = append(cmd.Env[:len(cmd.Env):len(cmd.Env)], "PYTHONPATH="+broken)
		r := runnertest.Start(t, cmd)
		got := r.Must("1 + 1")
		if got.Value() != "2" || !strings.Contains(got.Text("stderr"), "torn") {
			t.Errorf("got %q and %q, want 2 and why IPython is not there", got.Value(), got.Text("stderr"))
		}
	})
}

// TestInterruptsAtAnyTime: wherever an interrupt comes, the packets stay whole, each
// request is answered and the cell after it is not hit.
func TestInterruptsAtAnyTime(t *testing.T) {
	each(t, func(t *testing.T, s shell) {
		r := runnertest.Start(t, s.cmd)
		hits := 0
		for i := range 60 {
			id := r.BeginExecute("for i in range(3000): print('x' * 50)")
			time.Sleep(time.Duration(i) * 150 * time.Microsecond) // any moment will do
			r.Interrupt(id)
			switch got := r.Finish(id); {
			case got.Status() == "ok":
			case got.Reply["ename"] == "KeyboardInterrupt":
				hits++
			default:
				t.Fatalf("got %v", got.Reply)
			}
			if got := r.Must("1").Value(); got != "1" {
				t.Fatalf("got %q after interrupt %d", got, i)
			}
		}
		if hits == 0 {
			t.Error("no interrupt came while the cell ran")
		}
	})
}

// TestSignalNobodySees: a signal from somebody else that does not wake the main thread,
// as when it comes just before a system call blocks, interrupts the cell all the same.
func TestSignalNobodySees(t *testing.T) {
	each(t, func(t *testing.T, s shell) {
		r := runnertest.Start(t, s.cmd)
		const code = `import signal, threading, time
def unseen(): signal.pthread_kill(threading.get_ident(), signal.SIGINT)
threading.Timer(0.1, unseen).start()
time.sleep(60)`
		if got := r.Execute(code); got.Reply["ename"] != "KeyboardInterrupt" {
			t.Errorf("got %v, want KeyboardInterrupt", got.Reply)
		}
		// Nor is a signal that the cell handles itself repeated, or any other taken for it.
		got := r.Must(`calls = []
signal.signal(signal.SIGINT, lambda *_: calls.append(1))
signal.signal(signal.SIGALRM, lambda *_: calls.append(2))
signal.raise_signal(signal.SIGINT); signal.alarm(1)
until = time.monotonic() + 1.3
while time.monotonic() < until: time.sleep(0.01)
calls`)
		if got.Value() != "[1, 2]" {
			t.Errorf("got calls %s, want one of each handler", got.Value())
		}
	})
}

// TestDeath: what a runner that dies leaves behind says why.
func TestDeath(t *testing.T) {
	each(t, func(t *testing.T, s shell) {
		r := runnertest.Start(t, s.cmd)
		r.BeginExecute("import os; print('last words'); os._exit(7)")
		r.UntilText("last words")
		if state := r.Exit(); state.ExitCode() != 7 {
			t.Errorf("got %v, want exit code 7", state)
		}
		r = runnertest.Start(t, s.cmd)
		r.Must("import atexit; atexit.register(lambda: print('at exit'));")
		r.Shutdown()
		r.UntilText("at exit")
		if state := r.Exit(); state.ExitCode() != 0 {
			t.Errorf("got %v, want exit code 0", state)
		}
	})
}
