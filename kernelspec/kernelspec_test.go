package kernelspec

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDirs(t *testing.T) {
	for name, test := range map[string]struct {
		os       string
		env      map[string]string
		prefixes []string
		want     []string
		runtime  string
	}{
		"linux": {
			os:      "linux",
			want:    []string{"/home/u/.local/share/jupyter/kernels", "/usr/local/share/jupyter/kernels", "/usr/share/jupyter/kernels", "/home/u/.ipython/kernels"},
			runtime: "/home/u/.local/share/jupyter/runtime",
		},
		"linux with everything": {
			os: "linux",
			env: map[string]string{
				"JUPYTER_PATH": "/a/:/b", "XDG_DATA_HOME": "/xdg", "IPYTHONDIR": "/ipy", "PYTHONUSERBASE": "/site", "XDG_RUNTIME_DIR": "/run/u",
			},
			prefixes: []string{"/venv", "/usr"},
			want: []string{
				"/a/kernels", "/b/kernels", "/xdg/jupyter/kernels", "/site/share/jupyter/kernels", "/venv/share/jupyter/kernels",
				"/usr/local/share/jupyter/kernels", "/usr/share/jupyter/kernels", "/ipy/kernels",
			},
			runtime: "/xdg/jupyter/runtime",
		},
		"environment preferred": {
			os:       "linux",
			env:      map[string]string{"JUPYTER_PREFER_ENV_PATH": "1", "JUPYTER_DATA_DIR": "/data", "JUPYTER_RUNTIME_DIR": "/rt"},
			prefixes: []string{"/venv"},
			want: []string{
				"/venv/share/jupyter/kernels", "/data/kernels", "/home/u/.local/share/jupyter/kernels",
				"/usr/local/share/jupyter/kernels", "/usr/share/jupyter/kernels", "/home/u/.ipython/kernels",
			},
			runtime: "/rt",
		},
		"environment not preferred": {
			os:       "linux",
			env:      map[string]string{"JUPYTER_PREFER_ENV_PATH": "False"},
			prefixes: []string{"/venv"},
			want: []string{
				"/home/u/.local/share/jupyter/kernels", "/venv/share/jupyter/kernels",
				"/usr/local/share/jupyter/kernels", "/usr/share/jupyter/kernels", "/home/u/.ipython/kernels",
			},
			runtime: "/home/u/.local/share/jupyter/runtime",
		},
		"mac": {
			os:  "darwin",
			env: map[string]string{"XDG_DATA_HOME": "/ignored"},
			want: []string{
				"/home/u/Library/Jupyter/kernels", "/usr/local/share/jupyter/kernels", "/usr/share/jupyter/kernels", "/home/u/.ipython/kernels",
			},
			runtime: "/home/u/Library/Jupyter/runtime",
		},
		"windows": {
			os:       "windows",
			env:      map[string]string{"APPDATA": `C:\Roaming`, "PROGRAMDATA": `C:\ProgramData`, "JUPYTER_PATH": `D:\a\;D:\b`},
			prefixes: []string{`C:\Py`},
			want: []string{
				`D:\a\kernels`, `D:\b\kernels`, `C:\Roaming\jupyter\kernels`, `C:\Py\share\jupyter\kernels`,
				`C:\ProgramData\jupyter\kernels`, `/home/u\.ipython\kernels`,
			},
			runtime: `C:\Roaming\jupyter\runtime`,
		},
		"windows without APPDATA": {
			os:      "windows",
			want:    []string{`/home/u\.jupyter\data\kernels`, `/home/u\.ipython\kernels`},
			runtime: `/home/u\.jupyter\data\runtime`,
		},
	} {
		s := &system{os: test.os, home: "/home/u", getenv: func(name string) string { return test.env[name] }}
		if diff := cmp.Diff(s.kernelDirs(test.prefixes), test.want); diff != "" {
			t.Errorf("%s: directories (-got +want):\n%s", name, diff)
		}
		if got := s.runtimeDir(); got != test.runtime {
			t.Errorf("%s: runtime directory: got %q, want %q", name, got, test.runtime)
		}
	}
}

func TestKernelsDir(t *testing.T) {
	for name, test := range map[string]struct {
		os      string
		env     map[string]string
		opts    InstallOptions
		want    string
		wantErr string
	}{
		"all users":           {os: "linux", want: "/usr/local/share/jupyter/kernels"},
		"user":                {os: "linux", opts: InstallOptions{User: true}, want: "/home/u/.local/share/jupyter/kernels"},
		"user, mac":           {os: "darwin", opts: InstallOptions{User: true}, want: "/home/u/Library/Jupyter/kernels"},
		"user, windows":       {os: "windows", env: map[string]string{"APPDATA": `C:\R`}, opts: InstallOptions{User: true}, want: `C:\R\jupyter\kernels`},
		"all users, windows":  {os: "windows", env: map[string]string{"PROGRAMDATA": `C:\P`}, want: `C:\P\jupyter\kernels`},
		"no such directory":   {os: "windows", wantErr: "no directory for all users"},
		"prefix of a Python":  {os: "linux", opts: InstallOptions{SysPrefix: "/venv"}, want: "/venv/share/jupyter/kernels"},
		"any prefix":          {os: "linux", opts: InstallOptions{Prefix: "/opt"}, want: "/opt/share/jupyter/kernels"},
		"more than one place": {os: "linux", opts: InstallOptions{User: true, Prefix: "/opt"}, wantErr: "only one"},
	} {
		s := &system{os: test.os, home: "/home/u", getenv: func(name string) string { return test.env[name] }}
		got, err := s.kernelsDir(test.opts)
		if got != test.want || (err == nil) != (test.wantErr == "") || err != nil && !strings.Contains(err.Error(), test.wantErr) {
			t.Errorf("%s: got %q, %v, want %q, error %q", name, got, err, test.want, test.wantErr)
		}
	}
}

func TestSpecKeepsUnknownKeys(t *testing.T) {
	text := `{"argv":["k","{connection_file}"],"display_name":"K","language":"x","metadata":{"a":{"b":1}},"future":{"x":[1,2]},"env":{"A":"b"}}`
	var s Spec
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		t.Fatal(err)
	}
	out, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	var got, want any
	if err := errors.Join(json.Unmarshal(out, &got), json.Unmarshal([]byte(text), &want)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(got, want); diff != "" {
		t.Errorf("spec after a round trip (-got +want):\n%s", diff)
	}
}

func TestParseRefusesBrokenSpecs(t *testing.T) {
	for text, want := range map[string]string{
		`{`:                                   "unexpected end",
		`[]`:                                  "cannot unmarshal array",
		`{"display_name":"K","language":"x"}`: "argv is empty",
		`{"argv":[],"language":"x"}`:          "argv is empty",
		`{"argv":"k"}`:                        "argv",
		`{"argv":["k"],"language":"x"}`:       "display_name is missing",
		`{"argv":["k"],"display_name":"x"}`:   "language is missing",
		`{"argv":["k"],"display_name":"x","language":"x","interrupt_mode":"shout"}`: `"shout"`,
	} {
		if _, err := parse("kernel.json", []byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got error %v, want one with %q", text, err, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"argv":["k","-f","{connection_file}"],"display_name":"K","language":"x","env":{"A":"${B}"},"other":1}`))
	f.Add([]byte(`{"argv":null}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := parse("kernel.json", text)
		if err != nil {
			return
		}
		out, err := json.Marshal(s)
		if err != nil {
			t.Fatalf("write %q: %v", text, err)
		}
		again, err := parse("kernel.json", out)
		if err != nil {
			t.Fatalf("read what was written, %q: %v", out, err)
		}
		if diff := cmp.Diff(again.Argv, s.Argv); diff != "" {
			t.Fatalf("argv after a round trip (-got +want):\n%s", diff)
		}
	})
}

func TestCommandAndEnviron(t *testing.T) {
	i := Installed{Dir: "/specs/k", Spec: &Spec{
		Argv: []string{"{prefix}/bin/k", "-f", "{connection_file}", "--res={resource_dir}", "{cpus}", "{other}", "{}"},
		Env:  map[string]string{"PATH": "/k:${PATH}", "HOME2": "$HOME/x", "COST": "$$5", "NONE": "${NOT_THERE}"},
	}}
	got := i.Command("/rt/{prefix}.json", "/py", map[string]string{"cpus": "4"})
	want := []string{"/py/bin/k", "-f", "/rt/{prefix}.json", "--res=/specs/k", "4", "{other}", "{}"}
	if diff := cmp.Diff(got, want); diff != "" {
		t.Errorf("command line (-got +want):\n%s", diff)
	}
	env := i.Spec.Environ([]string{"PATH=/bin", "HOME=/home/u", "LANG=C"})
	slices.Sort(env)
	wantEnv := []string{"COST=$5", "HOME2=/home/u/x", "HOME=/home/u", "LANG=C", "NONE=${NOT_THERE}", "PATH=/k:/bin"}
	slices.Sort(wantEnv)
	if diff := cmp.Diff(env, wantEnv); diff != "" {
		t.Errorf("environment (-got +want):\n%s", diff)
	}
}

func TestCheckName(t *testing.T) {
	for name, want := range map[string]bool{
		"gokernel": true, "Python3.11_x-y": true, "": false, "..": false, "a/b": false, "a b": false, "~x": false, "kernel\n": false,
	} {
		if err := CheckName(name); (err == nil) != want {
			t.Errorf("%q: got %v, want valid %v", name, err, want)
		}
	}
}

// isolate gives the test directories of its own and returns the user's.
func isolate(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"JUPYTER_PATH", "JUPYTER_PREFER_ENV_PATH", "IPYTHONDIR", "PYTHONUSERBASE", "XDG_DATA_HOME"} {
		t.Setenv(name, "")
	}
	t.Setenv("HOME", dir)
	t.Setenv("USERPROFILE", dir)
	t.Setenv("JUPYTER_DATA_DIR", filepath.Join(dir, "data"))
	return filepath.Join(dir, "data")
}

func testOptions(t *testing.T) InstallOptions {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return InstallOptions{User: true, Interpreter: self, Executable: self}
}

func TestInstallFindUninstall(t *testing.T) {
	data := isolate(t)
	opts := testOptions(t)
	opts.Name, opts.DisplayName = "Mine", "My Python"
	dir, err := Install(opts)
	if err != nil {
		t.Fatal(err)
	}
	if want := filepath.Join(data, "kernels", "mine"); dir != want {
		t.Errorf("directory: got %q, want %q", dir, want)
	}
	found, err := Find("MINE", nil)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{opts.Executable, "kernel", "--python", opts.Interpreter, "-f", "{connection_file}"}
	if diff := cmp.Diff(found.Spec.Argv, want); diff != "" {
		t.Errorf("argv (-got +want):\n%s", diff)
	}
	if s := found.Spec; s.DisplayName != "My Python" || s.InterruptMode != InterruptMessage || s.Language != "python" {
		t.Errorf("spec: got %+v", s)
	}

	// Again: replaced as a whole.
	stale := filepath.Join(dir, "stale")
	if err := os.WriteFile(stale, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	opts.DisplayName = "Renamed"
	if _, err := Install(opts); err != nil {
		t.Fatal(err)
	}
	if s, err := Read(dir); err != nil || s.DisplayName != "Renamed" {
		t.Errorf("after a second install: got %+v, %v", s, err)
	}
	var names []string
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if diff := cmp.Diff(names, []string{"kernel.json", "logo-32x32.png", "logo-64x64.png", "logo-svg.svg"}); diff != "" {
		t.Errorf("files (-got +want):\n%s", diff)
	}

	if removed, err := Uninstall("mine", nil); err != nil || removed != dir {
		t.Errorf("uninstall: got %q, %v, want %q", removed, err, dir)
	}
	if _, err := Find("mine", nil); !errors.Is(err, ErrNotFound) {
		t.Errorf("find after uninstall: got %v, want %v", err, ErrNotFound)
	}
	if left, err := os.ReadDir(filepath.Dir(dir)); err != nil || len(left) != 0 {
		t.Errorf("left behind: got %v, %v, want nothing", left, err)
	}
	if _, err := Uninstall("mine", nil); !errors.Is(err, ErrNotFound) {
		t.Errorf("second uninstall: got %v, want %v", err, ErrNotFound)
	}
}

func TestInstallErrors(t *testing.T) {
	data := isolate(t)
	if err := os.MkdirAll(data, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		change func(*InstallOptions)
		want   string
	}{
		"name":            {func(o *InstallOptions) { o.Name = "a b" }, "only letters"},
		"relative python": {func(o *InstallOptions) { o.Interpreter = "python3" }, "not absolute"},
		"two places":      {func(o *InstallOptions) { o.Prefix = "/opt" }, "only one"},
	} {
		opts := testOptions(t)
		test.change(&opts)
		if _, err := Install(opts); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got error %v, want one with %q", name, err, test.want)
		}
	}
	// Root may write everywhere but here.
	if _, err := os.Stat("/proc/self"); err == nil {
		opts := testOptions(t)
		opts.User, opts.Prefix = false, "/proc/no-such-place"
		if _, err := Install(opts); err == nil || !strings.Contains(err.Error(), "install kernel spec") {
			t.Errorf("place that cannot be written: got %v", err)
		}
	}
	if os.Geteuid() == 0 {
		return
	}
	if err := os.Chmod(data, 0o500); err != nil {
		t.Fatal(err)
	}
	if _, err := Install(testOptions(t)); err == nil || !strings.Contains(err.Error(), "--user") {
		t.Errorf("no permission: got %v, want a hint at --user", err)
	}
}

func TestListSkipsBrokenAndShadowedSpecs(t *testing.T) {
	data := isolate(t)
	first := t.TempDir()
	t.Setenv("JUPYTER_PATH", first)
	write := func(dir, name, text string) {
		t.Helper()
		path := filepath.Join(dir, "kernels", name)
		if err := os.MkdirAll(path, 0o700); err != nil {
			t.Fatal(err)
		}
		if text == "" {
			return
		}
		if err := os.WriteFile(filepath.Join(path, "kernel.json"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	spec := func(name string) string { return `{"argv":["k"],"display_name":"` + name + `","language":"x"}` }
	write(first, "Both", spec("first"))
	write(data, "both", spec("second"))
	write(first, "broken", "{")
	write(first, "repaired", "{")
	write(data, "repaired", spec("repaired"))
	write(data, "empty", "")
	write(data, "~odd", spec("odd"))
	list, err := List(nil)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, i := range list {
		if strings.HasPrefix(i.Dir, first) || strings.HasPrefix(i.Dir, data) { // not the machine's own
			got[i.Name] = i.Spec.DisplayName
		}
	}
	if diff := cmp.Diff(got, map[string]string{"both": "first", "repaired": "repaired"}); diff != "" {
		t.Errorf("list (-got +want):\n%s", diff)
	}
	if _, err := Find("broken", nil); err == nil || errors.Is(err, ErrNotFound) {
		t.Errorf("find a broken spec: got %v, want what is wrong with it", err)
	}
}
