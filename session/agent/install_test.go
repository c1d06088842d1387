//go:build unix

package agent

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gokernel/gokernel/session/agent/agenttest"
	"github.com/gokernel/gokernel/session/agent/install/installtest"
	"github.com/gokernel/gokernel/session/wire"
)

// pythonWithPip returns an interpreter that has pip, or ends the test.
func pythonWithPip(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"/usr/bin/python3", "python3", "python"} {
		path, err := exec.LookPath(name)
		if err != nil {
			continue
		}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		out, err := exec.CommandContext(ctx, path, "-c", "import pip, sys; print(sys.executable if sys.version_info >= (3, 9) else '')").Output()
		cancel()
		if path := strings.TrimSpace(string(out)); err == nil && path != "" {
			return path
		}
	}
	if os.Getenv("CI") == "true" {
		t.Fatal("no Python of 3.9 or newer with pip")
	}
	t.Skip("no Python of 3.9 or newer with pip")
	return ""
}

// holdPython starts an agent whose language is Python without IPython, with the
// index of a test.
func holdPython(t *testing.T, x *installtest.Index) (*held, *peer) {
	t.Helper()
	python := pythonWithPip(t)
	h := hold(t, t.TempDir(), func(c *wire.Config) {
		more := x.Env()
		more["GOKERNEL_PLAIN_SHELL"] = "1"
		c.Language, c.Interpreter, c.Env = "python", python, addEnv(agenttest.Env(), more)
	})
	k := h.attach("k", wire.KernelOwner, wire.Cursor{})
	return h, k
}

// text returns what a request has written to a stream.
func (p *peer) text(id, name string) string {
	text := ""
	for _, f := range p.seen {
		var c struct{ Name, Text string }
		if f.Request == id && f.MsgType == "stream" && json.Unmarshal(f.Content, &c) == nil && c.Name == name {
			text += c.Text
		}
	}
	return text
}

// replyOf returns the content of the reply to an execute.
func (p *peer) replyOf(id string) (status, ename, evalue string) {
	p.t.Helper()
	for _, f := range p.seen {
		var c struct{ Status, EName, EValue string }
		if f.Request == id && f.MsgType == "execute_reply" && json.Unmarshal(f.Content, &c) == nil {
			return c.Status, c.EName, c.EValue
		}
	}
	p.t.Fatalf("no reply to %s in:\n%s", id, strings.Join(p.log, "\n"))
	return "", "", ""
}

// A run's packages are there for its code and for the next runs, which look
// whether they are and install nothing.
func TestRunInstallsPackages(t *testing.T) {
	x := installtest.NewIndex(t,
		installtest.Wheel{Name: "gk-top", Version: "1.0", Requires: []string{"gk-bottom"}}, installtest.Wheel{Name: "gk-bottom", Version: "1.0"},
		installtest.Wheel{Name: "gk-top", Version: "2.0", Requires: []string{"gk-bottom"}},
	)
	h, k := holdPython(t, x)
	k.run("r1", wire.Run{Packages: []string{"gk-top<2", "pip"}, Progress: wire.ProgressAlways}, "import gk_top, gk_bottom; print(gk_top.version)")
	k.until("r1 status idle")
	if got := k.text("r1", "stdout"); got != "1.0\n" {
		_, _, evalue := k.replyOf("r1")
		t.Fatalf("got %q, want the version; %s", got, evalue)
	}
	result := k.result("r1 execute_reply ok")
	checkTiming(t, &result.Timing, wire.StageInstalling, wire.StageExecuting)
	var last wire.Progress
	for _, f := range k.reports {
		var p wire.Progress
		if json.Unmarshal(f.Content, &p) == nil && p.Stage == wire.StageInstalling {
			last = p
		}
	}
	if last.Stage != wire.StageInstalling {
		t.Error("no progress of the stage installing was reported")
	}

	// peers D3, and asked of the interpreter: nothing is asked of the index.
	asked := x.Asked("gk-top")
	k.run("r2", wire.Run{Packages: []string{"gk-top>=1", "gk-bottom"}}, "print('again')")
	k.until("r2 status idle")
	if got := x.Asked("gk-top"); got != asked || k.text("r2", "stdout") != "again\n" {
		t.Errorf("the index was asked %d times more and the code wrote %q, want 0 and again", got-asked, k.text("r2", "stdout"))
	}

	// Another version of what is imported is installed, and that is said.
	k.run("r3", wire.Run{Packages: []string{"gk-top==2.0"}}, "import importlib.metadata as m; print(gk_top.version, m.version('gk-top'))")
	k.until("r3 status idle")
	if got := k.text("r3", "stdout"); got != "1.0 2.0\n" {
		t.Errorf("got %q, want the imported and the installed version", got)
	}
	if got := k.text("r3", "stderr"); !strings.Contains(got, "gk-top was imported before") || strings.Contains(got, "gk-bottom") {
		t.Errorf("got %q, want that gk-top is still the one that was imported", got)
	}

	// What was removed by hand is missing: nothing is remembered.
	k.execute("r4", "import shutil, os, gk_bottom; d = os.path.dirname(gk_bottom.__file__); shutil.rmtree(d + '/gk_bottom-1.0.dist-info'); os.remove(gk_bottom.__file__)")
	k.until("r4 status idle")
	k.run("r5", wire.Run{Packages: []string{"gk-top"}}, "print(os.path.exists(gk_bottom.__file__))")
	k.until("r5 status idle")
	if got := k.text("r5", "stdout"); got != "True\n" {
		t.Errorf("got %q, want that what is required was installed again", got)
	}
	if entries, err := os.ReadDir(h.dir + "/packages"); err != nil || len(entries) != 1 {
		t.Errorf("got %v, %v, want the language's folder alone", entries, err)
	}
}

// peers D2: a failed installation fails the run in its stage, with the installer's
// words, and is not remembered as anything.
func TestFailedInstallIsNotRemembered(t *testing.T) {
	x := installtest.NewIndex(t, installtest.Wheel{Name: "gk-later", Version: "1.0", Broken: true})
	_, k := holdPython(t, x)
	for i, test := range []struct{ spec, want string }{
		{"gk-nowhere", "No matching distribution found for gk-nowhere"},
		{"gk-later>=3", "gk-later>=3"},
		{"gk-later", "pip did not install gk-later (exit status 1); it wrote:\n"},
	} {
		id := "r" + string(rune('a'+i))
		k.run(id, wire.Run{Packages: []string{"pip", test.spec}}, "print('ran')")
		k.until(id + " status idle")
		status, ename, evalue := k.replyOf(id)
		if status != "error" || ename != "InstallError" || !strings.Contains(evalue, test.want) || k.text(id, "stdout") != "" {
			t.Errorf("%s: got %s %s %q, want InstallError with %q and no code run", test.spec, status, ename, evalue, test.want)
		}
		if got := k.result(id + " execute_reply error InstallError"); got.Timing.Failed != wire.StageInstalling {
			t.Errorf("%s: got failed stage %q, want installing", test.spec, got.Timing.Failed)
		}
	}
	for id, test := range map[string]struct{ spec, want string }{ // peers D17
		"option": {"--index-url=http://x", "options are not taken"},
		"shell":  {"x; rm -rf /", "is no variable"},
	} {
		k.run(id, wire.Run{Packages: []string{"pip", test.spec}}, "print('ran')")
		k.until(id + " status idle")
		status, ename, evalue := k.replyOf(id)
		if status != "error" || ename != nameInvalid || !strings.Contains(evalue, test.want) || k.text(id, "stdout") != "" {
			t.Errorf("%s: got %s %s %q, want it refused with %q and no code run", test.spec, status, ename, evalue, test.want)
		}
	}
	x.Add(installtest.Wheel{Name: "gk-later", Version: "1.0"})
	k.run("r9", wire.Run{Packages: []string{"gk-later"}}, "import gk_later; print(gk_later.version)")
	k.until("r9 status idle")
	if got := k.text("r9", "stdout"); got != "1.0\n" {
		t.Errorf("got %q, want what could not be installed before", got)
	}
}

// The environment of a run reaches the installer, over that of the session.
func TestRunEnvReachesTheInstaller(t *testing.T) {
	x := installtest.NewIndex(t)
	other := installtest.NewIndex(t, installtest.Wheel{Name: "gk-private", Version: "1.0"})
	_, k := holdPython(t, x)
	k.run("r1", wire.Run{Packages: []string{"gk-private"}, Env: map[string]string{"PIP_INDEX_URL": other.Env()["PIP_INDEX_URL"]}}, "import gk_private")
	k.until("r1 status idle")
	if status, _, evalue := k.replyOf("r1"); status != "ok" {
		t.Errorf("got %s %s, want ok", status, evalue)
	}
}

// An installer that hangs is ended by an interrupt, with all that it has started,
// and the session goes on.
func TestHangingInstallerIsEnded(t *testing.T) {
	x := installtest.NewIndex(t)
	x.Hang("gk-slow")
	h, k := holdPython(t, x)
	hangs := x.Waits("/simple/gk-slow/")
	k.run("r1", wire.Run{Packages: []string{"gk-slow"}, Env: map[string]string{"GOKERNEL_TEST_INSTALLER": h.dir}}, "print('ran')")
	select {
	case <-hangs:
	case <-time.After(patience):
		t.Fatal("the installer did not ask the index")
	}
	if got := agenttest.Marked("GOKERNEL_TEST_INSTALLER=" + h.dir); len(got) == 0 {
		t.Log("processes cannot be listed here")
	}
	if _, err := h.call("k", wire.KernelOwner, wire.CallInterrupt, nil); err != nil {
		t.Fatal(err)
	}
	k.until("r1 status idle")
	if status, ename, _ := k.replyOf("r1"); status == "ok" || k.text("r1", "stdout") != "" {
		t.Errorf("got %s %s, want that the run was interrupted before its code", status, ename)
	}
	if got := agenttest.Marked("GOKERNEL_TEST_INSTALLER=" + h.dir); len(got) != 0 {
		t.Errorf("got processes %q after the interrupt, want none", got)
	}
	k.execute("r2", "print('goes on')")
	k.until("r2 status idle")
	if got := k.text("r2", "stdout"); got != "goes on\n" {
		t.Errorf("got %q, want that the session goes on", got)
	}
}

func TestAddEnv(t *testing.T) {
	env := []string{"A=1", "B=2", "C"}
	more := map[string]string{"B": "3", "D": "4=5"}
	if got := addEnv(env, more); !slices.Equal(got, []string{"A=1", "C", "B=3", "D=4=5"}) || len(more) != 2 || env[1] != "B=2" {
		t.Errorf("got %q, want B replaced, D added and nothing changed in place", got)
	}
	if got := addEnv(env, nil); !slices.Equal(got, env) {
		t.Errorf("got %q", got)
	}
}

// Code asks for packages while it runs: its process answers what it has while the
// code waits.
func TestCodeInstallsPackages(t *testing.T) {
	x := installtest.NewIndex(t, installtest.Wheel{Name: "gk-asked", Version: "1.0"})
	_, k := holdPython(t, x)
	k.execute("r1", "%packages gk-asked", "import gk_asked; print(gk_asked.version)")
	k.until("r1 status idle")
	if got := k.text("r1", "stdout"); !strings.HasSuffix(got, "1.0\n") {
		_, _, evalue := k.replyOf("r1")
		t.Errorf("got %q, want the version; %s", got, evalue)
	}
}
