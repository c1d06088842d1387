//go:build unix

package install

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gokernel/gokernel/session/agent/install/installtest"
)

type wheel = installtest.Wheel

func TestPipInstallsAChain(t *testing.T) {
	x := installtest.NewIndex(t,
		wheel{Name: "gk-top", Version: "1.0", Requires: []string{"gk_middle>=2", "gk-extra; extra == 'more'"}, Extras: []string{"more"}},
		wheel{Name: "gk-middle", Version: "2.1", Requires: []string{"gk.bottom"}},
		wheel{Name: "gk-middle", Version: "1.0"},
		wheel{Name: "gk-bottom", Version: "3.0", Scripts: map[string]string{"gk-run": "gk_bottom:main"}},
		wheel{Name: "gk-extra", Version: "4.0"},
	)
	b := newBench(t, "python", python(t), x.Env())
	if got := b.must("gk-top"); !slices.Equal(got, []string{"gk-bottom", "gk-middle", "gk-top"}) {
		t.Errorf("got %q changed, want the package and what it requires", got)
	}
	if got := b.eval("import gk_top, gk_middle, gk_bottom; print(gk_top.version, gk_middle.version, gk_bottom.version)"); got != "1.0 2.1 3.0" {
		t.Errorf("got versions %s", got)
	}
	last := b.reports[len(b.reports)-1]
	if last != (reported{"installed 3 packages", 3, 3}) {
		t.Errorf("got last report %v, want 3 of 3 packages", last)
	}
	if !slices.ContainsFunc(b.reports, func(r reported) bool { return r.total == 3 && r.done == 1 }) {
		t.Errorf("got %v, want counts while packages are fetched", b.reports)
	}
	// What the session has is not fetched again, an extra is.
	if got := b.must("gk-top[more]"); !slices.Contains(got, "gk-extra") || slices.Contains(got, "gk-middle") {
		t.Errorf("got %q changed, want gk-extra and nothing that was there", got)
	}
	if info, err := os.Stat(filepath.Join(b.job.Folder, "bin", "gk-run")); err != nil || info.Mode()&0o100 == 0 {
		t.Errorf("got %v, %v for the script, want an executable file", info, err)
	}
}

func TestPipReplacesAVersion(t *testing.T) {
	files := func(version string, more ...string) map[string]string {
		m := map[string]string{"gk_space/part/__init__.py": "version = '" + version + "'\n"}
		for _, name := range more {
			m[name] = ""
		}
		return m
	}
	x := installtest.NewIndex(t,
		wheel{Name: "gk-part", Version: "1.0", Files: files("1.0", "gk_space/part/gone.py", "gk_space/part/deep/er/gone.py"), Scripts: map[string]string{"gk-old": "gk_space.part:x"}},
		wheel{Name: "gk-part", Version: "2.0", Files: files("2.0", "gk_space/part/new.py")},
		wheel{Name: "gk-other", Version: "1.0", Files: map[string]string{"gk_space/other.py": "x = 1\n"}},
	)
	b := newBench(t, "python", python(t), x.Env())
	b.must("gk-part==1.0", "gk-other")
	b.eval("import gk_space.part.gone, gk_space.other")
	b.must("gk-part==2.0")
	got := b.tree()
	want := []string{"gk_space/other.py", "gk_space/part/__init__.py", "gk_space/part/new.py"}
	got = slices.DeleteFunc(got, func(n string) bool { return strings.Contains(n, ".dist-info") })
	if !slices.Equal(got, want) {
		t.Errorf("got files %q, want %q: nothing of the old version, all of the other package", got, want)
	}
	if got := b.eval("import importlib.metadata as m; print(m.version('gk-part'), len([d for d in m.distributions() if d.metadata['Name'] == 'gk-part']))"); got != "2.0 1" {
		t.Errorf("got version and number of metadata %s, want 2.0 1", got)
	}
	if _, err := os.Stat(filepath.Join(b.job.Folder, "gk_space", "part", "deep")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v for a folder of the old version, want that it is gone", err)
	}
	// And back.
	b.must("gk-part<2")
	if got := b.eval("import gk_space.part as p; print(p.version)"); got != "1.0" {
		t.Errorf("got %s, want 1.0", got)
	}
}

// peers D2: what fails is not there afterwards, and can be installed later.
func TestPipFailsAndThenSucceeds(t *testing.T) {
	x := installtest.NewIndex(t,
		wheel{Name: "gk-good", Version: "1.0"},
		wheel{Name: "gk-broken", Version: "1.0", Broken: true},
		wheel{Name: "gk-half", Version: "1.0", Requires: []string{"gk-broken"}},
		wheel{Name: "gk-lost", Version: "1.0", Requires: []string{"gk-nowhere"}},
	)
	b := newBench(t, "python", python(t), x.Env())
	b.must("gk-good")
	b.fails("gk-good>7", "gk-good>7")
	b.fails("gk-nowhere", "gk-nowhere")
	b.fails("gk-nowhere", "gk-lost")
	b.fails("gk_broken", "gk-broken")
	b.fails("gk_broken", "gk-half", "gk-good")
	x.Add(wheel{Name: "gk-broken", Version: "1.0"})
	if got := b.must("gk-half"); !slices.Equal(got, []string{"gk-broken", "gk-half"}) {
		t.Errorf("got %q changed, want both", got)
	}
}

// What the interpreter has is not fetched again, nor hidden by another version.
func TestPipTakesWhatTheInterpreterHas(t *testing.T) {
	host := t.TempDir()
	old := wheel{Name: "gk-host", Version: "1.0"}
	fetched := wheel{Name: "gk-host", Version: "9.0"}
	x := installtest.NewIndex(t, old)
	py := python(t)
	hostBench := newBench(t, "python", py, x.Env())
	hostBench.job.Folder = filepath.Join(host, "lib")
	hostBench.must("gk-host")
	x.Add(fetched, wheel{Name: "gk-user", Version: "1.0", Requires: []string{"gk-host>=1"}})
	b := newBench(t, "python", py, with(x.Env(), "PYTHONPATH", hostBench.job.Folder))
	if got := b.must("gk-user"); !slices.Equal(got, []string{"gk-user"}) {
		t.Errorf("got %q changed, want only what is not there", got)
	}
	if n := x.Fetched(fetched); n != 0 {
		t.Errorf("the newer version was fetched %d times, want never", n)
	}
	if got := b.must("gk-host>1"); !slices.Equal(got, []string{"gk-host"}) {
		t.Errorf("got %q changed, want the newer version", got)
	}
	if got := hostBench.eval("import gk_host; print(gk_host.version)"); got != "1.0" {
		t.Errorf("the interpreter's own package is %s now, want it left alone", got)
	}
}

func with(env map[string]string, name, value string) map[string]string {
	env[name] = value
	return env
}

func TestPipInstallsFromAURL(t *testing.T) {
	w := wheel{Name: "gk-direct", Version: "1.0", Requires: []string{"gk-plain"}}
	x := installtest.NewIndex(t, w, wheel{Name: "gk-plain", Version: "1.0"})
	b := newBench(t, "python", python(t), x.Env())
	if got := b.must("gk-direct @ " + x.FileURL(w)); !slices.Equal(got, []string{"gk-direct", "gk-plain"}) {
		t.Errorf("got %q changed", got)
	}
	raw, err := os.ReadFile(filepath.Join(b.job.Folder, "gk_direct-1.0.dist-info", "direct_url.json"))
	if err != nil || !strings.Contains(string(raw), x.FileURL(w)) {
		t.Errorf("got %s, %v, want where it came from", raw, err)
	}
}

func TestPipThatHangsIsEnded(t *testing.T) {
	x := installtest.NewIndex(t, wheel{Name: "gk-good", Version: "1.0"})
	x.Hang("gk-slow")
	b := newBench(t, "python", python(t), x.Env())
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	hangs := x.Waits("/simple/gk-slow/")
	go func() {
		<-hangs
		cancel()
	}()
	if _, err := b.installIn(ctx, "gk-good", "gk-slow"); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
	if got := b.tree(); len(got) != 0 {
		t.Errorf("got %q in the folder, want nothing", got)
	}
	b.must("gk-good")
}

func TestPipIsMissing(t *testing.T) {
	dir := t.TempDir()
	py := python(t)
	// An interpreter without site-packages has no pip.
	script := filepath.Join(dir, "python")
	if err := os.WriteFile(script, []byte("#!/bin/sh\nexec '"+py+"' -S -E \"$@\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	b := newBench(t, "python", script, nil)
	b.fails("has no pip: install it", "gk-good")
}

// A pip that cannot say what it would install installs all.
func TestOldPip(t *testing.T) {
	x := installtest.NewIndex(t, wheel{Name: "gk-top", Version: "1.0", Requires: []string{"gk-bottom"}}, wheel{Name: "gk-bottom", Version: "1.0"})
	b := newBench(t, "python", python(t), x.Env())
	calls := 0
	start := func(ctx context.Context, c Command, output func([]byte)) (int, error) {
		calls++
		if slices.Contains(c.Argv, "--report") {
			output([]byte("\nUsage:\n  pip install [options]\n\nno such option: --dry-run\n"))
			return 2, nil
		}
		return run(ctx, c, output)
	}
	b.job.Packages = []string{"gk-top"}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	got, err := b.job.Run(ctx, start, func(string, int64, int64, string) {})
	if err != nil || !slices.Equal(got, []string{"gk-bottom", "gk-top"}) || calls != 2 {
		t.Errorf("got %q, %v after %d calls, want both packages after 2", got, err, calls)
	}
}

// peers D17: specifiers are arguments after --, and nothing goes through a shell.
func TestSpecifiersAreArguments(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"uv", "npm"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct{ language, path, tool, spec string }{
		{"python", "", "/bin/python", `gk-x>=1,<2; os_name != "a b"`},
		{"python", dir, "uv", `gk-x>=1,<2; os_name != "a b"`},
		{"javascript", dir, "npm", "@s/x@>=1 <2 || ^3"},
	} {
		job := &Job{
			Language: test.language, Interpreter: "/bin/python", Folder: filepath.Join(t.TempDir(), "p"),
			Env: []string{"PATH=" + test.path, "TOKEN=secret"}, Packages: []string{test.spec, "gk-y"},
		}
		var commands []Command
		stop := errors.New("stop")
		_, err := job.Run(t.Context(), func(_ context.Context, c Command, _ func([]byte)) (int, error) {
			commands = append(commands, c)
			return 0, stop
		}, func(string, int64, int64, string) {})
		if !errors.Is(err, stop) || len(commands) != 1 {
			t.Fatalf("%s: got %v after %d commands, want the error of the first", test.tool, err, len(commands))
		}
		argv := commands[0].Argv
		if argv[0] != test.tool || !slices.Equal(argv[len(argv)-3:], []string{"--", test.spec, "gk-y"}) {
			t.Errorf("got %q, want %s with the specifiers as they are after --", argv, test.tool)
		}
		if !slices.Equal(commands[0].Env, job.Env) {
			t.Errorf("got environment %q, want it untouched", commands[0].Env)
		}
		job.Packages = []string{"gk-y", "-r/etc/passwd"}
		if _, err := job.Run(t.Context(), run, nil); err == nil || !strings.Contains(err.Error(), "options are not taken") {
			t.Errorf("got %v, want that options are refused", err)
		}
	}
}

// An installation that was cut short while packages were moved in is cleaned up by
// the next one, and what was half there does not count before.
func TestCutShort(t *testing.T) {
	x := installtest.NewIndex(t, wheel{Name: "gk-a", Version: "1.0"}, wheel{Name: "gk-a", Version: "2.0", Files: map[string]string{"gk_b.py": ""}})
	b := newBench(t, "python", python(t), x.Env())
	b.must("gk-a==1.0")
	// As it is between the two renames.
	info := filepath.Join(b.job.Folder, "gk_a-1.0.dist-info")
	if err := os.Rename(info, filepath.Join(b.job.Folder, removing+"gk_a-1.0")); err != nil {
		t.Fatal(err)
	}
	staging := filepath.Join(filepath.Dir(b.job.Folder), ".python-staging", "target")
	if err := os.MkdirAll(staging, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(staging, "stale.py"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := b.eval("import importlib.metadata as m; print([d for d in m.distributions() if d.metadata['Name'] == 'gk-a'])"); got != "[]" {
		t.Errorf("got %s, want that it does not count", got)
	}
	b.must("gk-a==2.0")
	for _, gone := range []string{"gk_a.py", "stale.py", removing + "gk_a-1.0"} {
		if _, err := os.Lstat(filepath.Join(b.job.Folder, gone)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: got %v, want that it is gone", gone, err)
		}
	}
}

// What the list of a package's files names outside of the folder stays.
func TestRemoveStaysInTheFolder(t *testing.T) {
	dir := t.TempDir()
	folder := filepath.Join(dir, "packages")
	outside := filepath.Join(dir, "precious")
	for path, content := range map[string]string{
		outside: "x", filepath.Join(folder, "mine.py"): "", filepath.Join(folder, "linked", "x"): "",
		filepath.Join(folder, removing+"a-1", "RECORD"): "../precious,,\n" + outside + ",,\nmine.py,,\nout/precious,,\n../../bin/../precious,,\n\"\n,,,\n",
	} {
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(content), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(dir, filepath.Join(folder, "out")); err != nil {
		t.Fatal(err)
	}
	job := &Job{Language: "python", Folder: folder}
	w, err := job.prepare(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer w.close()
	if err := w.finishRemovals(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(outside); err != nil {
		t.Errorf("got %v for a file outside, want it untouched", err)
	}
	if _, err := os.Stat(filepath.Join(folder, "mine.py")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v for a file of the package, want that it is gone", err)
	}
}

// TestUV runs the real uv, where there is one: it is no part of what gokernel needs.
func TestUV(t *testing.T) {
	if _, err := exec.LookPath("uv"); err != nil {
		t.Skip("uv is not installed; it is used where it is")
	}
	x := installtest.NewIndex(t, wheel{Name: "gk-top", Version: "1.0", Requires: []string{"gk-bottom"}}, wheel{Name: "gk-bottom", Version: "1.0"},
		wheel{Name: "gk-top", Version: "2.0"})
	b := newBench(t, "python", python(t), x.Env())
	if got := b.must("gk-top<2"); !slices.Equal(got, []string{"gk-bottom", "gk-top"}) {
		t.Errorf("got %q changed", got)
	}
	b.must("gk-top==2")
	if got := b.eval("import gk_top; print(gk_top.version)"); got != "2.0" {
		t.Errorf("got %s, want 2.0", got)
	}
	b.fails("gk-nowhere", "gk-nowhere")
}
