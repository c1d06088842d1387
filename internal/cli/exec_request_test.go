package cli

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gokernel/gokernel/session"
)

// parsed returns what the flags and arguments of exec ask for.
func parsed(t *testing.T, stdin io.Reader, args ...string) (*session.Request, bool, error) {
	t.Helper()
	a := &app{stdin: stdin, stdout: io.Discard, stderr: io.Discard, logLevel: "warn"}
	var f execFlags
	cmd := a.execCommand()
	cmd.ResetFlags()
	f.add(cmd.Flags())
	if err := cmd.ParseFlags(args); err != nil {
		return nil, false, err
	}
	if err := f.check(cmd.Flags()); err != nil {
		return nil, false, err
	}
	return a.execRequest(t.Context(), &f, cmd.Flags().Args())
}

// place makes the files of a test in a new directory, and goes there.
func place(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(dir)
	return dir
}

func TestExecRequest(t *testing.T) {
	place(t, nil)
	t.Setenv("HERE", "a=b")
	r, stdin, err := parsed(t, nil, "--language", "python", "--session", "demo", "--keep", "--package", "a>=1,<2", "--package", "b",
		"--env", "X=1=2", "--env", "EMPTY=", "--env", "HERE", "--env", "X=3", "--cwd", "sub", "--lease", "90", "--timeout", "1h30m", "1 + 1")
	if err != nil {
		t.Fatal(err)
	}
	want := &session.Request{
		Code: "1 + 1", Language: "python", Session: "demo", KeepAlive: true, Packages: []string{"a>=1,<2", "b"},
		Env: map[string]string{"X": "3", "EMPTY": "", "HERE": "a=b"}, Cwd: "sub", Lease: 90 * time.Second, TimeLimit: 90 * time.Minute,
		Files: map[string]session.File{},
	}
	if d := cmp.Diff(want, r); d != "" {
		t.Errorf("request (-want +got):\n%s", d)
	}
	if stdin {
		t.Error("it says that standard input is part of it")
	}
}

func TestExecCode(t *testing.T) {
	place(t, map[string]string{"code.py": "from a file", "code.JS": "script", "bom.txt": "\ufeffx = 1", "-": "odd"})
	for _, c := range []struct {
		name     string
		args     []string
		code     string
		language string
		stdin    bool
	}{
		{"argument", []string{"1"}, "1", "", false},
		{"empty argument", []string{""}, "", "", false},
		{"after a double dash", []string{"--", "-1"}, "-1", "", false},
		{"a file", []string{"-f", "code.py"}, "from a file", "python", false},
		{"a file in another language", []string{"-f", "code.JS"}, "script", "javascript", false},
		{"a language wins over the name", []string{"-f", "code.JS", "--language", "python"}, "script", "python", false},
		{"a byte order mark", []string{"-f", "bom.txt"}, "x = 1", "", false},
		{"a dash", []string{"-"}, "from stdin", "", true},
		{"a dash for the file", []string{"-f", "-"}, "from stdin", "", true},
		{"nothing", nil, "from stdin", "", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, stdin, err := parsed(t, strings.NewReader("from stdin"), c.args...)
			if err != nil {
				t.Fatal(err)
			}
			if r.Code != c.code || r.Language != c.language || stdin != c.stdin {
				t.Errorf("got code %q, language %q, stdin %v, want %q, %q, %v", r.Code, r.Language, stdin, c.code, c.language, c.stdin)
			}
		})
	}
}

// What is typed into a command that is interrupted need not end first.
func TestExecCodeInterrupted(t *testing.T) {
	r, w := io.Pipe()
	defer w.Close()
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errSignal)
	a := &app{stdin: r, stdout: io.Discard, stderr: io.Discard}
	if _, _, err := a.execRequest(ctx, new(execFlags), []string{"-"}); !errors.Is(err, errSignal) {
		t.Errorf("got %v, want %v", err, errSignal)
	}
}

func TestExecFiles(t *testing.T) {
	dir := place(t, map[string]string{
		"data.csv": "1", "in/a.txt": "2", "in/deep/b.bin": "\x00\xff", "elsewhere/up.txt": "3", "work/x": "", "odd=name": "4",
	})
	if err := os.Symlink("a.txt", "in/link.txt"); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("in", "linked"); err != nil {
		t.Fatal(err)
	}
	t.Chdir("work")
	up := func(p string) string { return filepath.Join("..", filepath.FromSlash(p)) }
	for _, c := range []struct {
		name string
		file string
		want map[string]string
	}{
		{"path and source", "sub/d.csv=../data.csv", map[string]string{"sub/d.csv": up("data.csv")}},
		{"a path that is not clean", "./sub//d.csv=../data.csv", map[string]string{"sub/d.csv": up("data.csv")}},
		{"into a directory", "sub/=../data.csv", map[string]string{"sub/data.csv": up("data.csv")}},
		{"path alone", "x", map[string]string{"x": "x"}},
		{"path alone that is not clean", "./x", map[string]string{"x": "./x"}},
		{"path alone that goes up", "../data.csv", map[string]string{"data.csv": up("data.csv")}},
		{"path alone that is absolute", filepath.Join(dir, "data.csv"), map[string]string{"data.csv": filepath.Join(dir, "data.csv")}},
		{"a source with an equals sign", "o=../odd=name", map[string]string{"o": up("odd=name")}},
		{"a directory", "d=../in", map[string]string{
			"d/a.txt": filepath.Join(dir, "in/a.txt"), "d/link.txt": filepath.Join(dir, "in/link.txt"), "d/deep/b.bin": filepath.Join(dir, "in/deep/b.bin"),
		}},
		{"a directory alone that goes up", "../in/deep", map[string]string{"deep/b.bin": filepath.Join(dir, "in/deep/b.bin")}},
		{"a link to a directory", "d=../linked", map[string]string{
			"d/a.txt": filepath.Join(dir, "in/a.txt"), "d/link.txt": filepath.Join(dir, "in/link.txt"), "d/deep/b.bin": filepath.Join(dir, "in/deep/b.bin"),
		}},
		{"a directory to the working directory", ".=../elsewhere", map[string]string{"up.txt": filepath.Join(dir, "elsewhere/up.txt")}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, _, err := parsed(t, nil, "--file", c.file, "1")
			if err != nil {
				t.Fatal(err)
			}
			got := map[string]string{}
			for path, f := range r.Files {
				if f.Bytes != nil || f.Reader != nil {
					t.Errorf("%s: more than a path is set", path)
				}
				got[path] = f.Path
			}
			for path, source := range c.want { // a temporary directory may be behind a link
				a, err := os.ReadFile(source)
				b, err2 := os.ReadFile(got[path])
				if err != nil || err2 != nil || !bytes.Equal(a, b) {
					t.Errorf("%s comes from %q, want %q", path, got[path], source)
				}
			}
			if len(got) != len(c.want) {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

func TestExecDownloads(t *testing.T) {
	dir := place(t, map[string]string{"there/x": ""})
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		dir = real
	}
	for _, c := range []struct{ name, download, path, target string }{
		{"path alone", "out.csv", "out.csv", "out.csv"},
		{"path alone in a directory that is not there", "./made/out.csv", "made/out.csv", "made/out.csv"},
		{"path and target", "a/out.csv=there/new.csv", "a/out.csv", "there/new.csv"},
		{"into a directory", "a/out.csv=there", "a/out.csv", "there/out.csv"},
		{"into a directory with a slash", "out.csv=there/", "out.csv", "there/out.csv"},
		{"a target with an equals sign", "out.csv=a=b", "out.csv", "a=b"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, _, err := parsed(t, nil, "--download", c.download, "1")
			if err != nil {
				t.Fatal(err)
			}
			want := []session.Download{{Path: c.path, Target: filepath.Join(dir, filepath.FromSlash(c.target))}}
			if d := cmp.Diff(want, r.Downloads); d != "" {
				t.Errorf("downloads (-want +got):\n%s", d)
			}
		})
	}
}

// Bad use of every flag is refused before anything starts, by the flag's name and
// with what would be right.
func TestExecBadUse(t *testing.T) {
	place(t, map[string]string{"x": "", "dir/y": "", "binary": "\xff\xfe", "n.ipynb": "{}"})
	if err := os.Symlink(".", "dir/round"); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		args []string
		want []string
	}{
		{"code twice", []string{"-f", "x", "1"}, []string{"-f", "one of them"}},
		{"code file missing", []string{"-f", "nowhere.py"}, []string{"-f", "nowhere.py"}},
		{"code file empty", []string{"-f", ""}, []string{"--f", "value"}},
		{"code file is a directory", []string{"-f", "dir"}, []string{"-f", "dir"}},
		{"code is a notebook", []string{"-f", "n.ipynb"}, []string{"-f n.ipynb", "gokernel run"}},
		{"code is no text", []string{"-f", "binary"}, []string{"-f binary", "UTF-8"}},
		{"argument is no text", []string{"\xff"}, []string{"CODE", "UTF-8"}},
		{"stdin is no text", []string{"-"}, []string{"standard input", "UTF-8"}},
		{"language", []string{"--language", "", "1"}, []string{"--language", "value"}},
		{"session", []string{"--session", "", "1"}, []string{"--session", "value"}},
		{"cwd", []string{"--cwd", "", "1"}, []string{"--cwd", "value"}},
		{"keep", []string{"--keep=perhaps", "1"}, []string{"--keep", "perhaps"}},
		{"json", []string{"--json=perhaps", "1"}, []string{"--json", "perhaps"}},
		{"file empty", []string{"--file", "", "1"}, []string{"--file", "PATH=SOURCE"}},
		{"file without path", []string{"--file", "=x", "1"}, []string{"--file", "PATH=SOURCE"}},
		{"file without source", []string{"--file", "x=", "1"}, []string{"--file", "PATH=SOURCE"}},
		{"file missing", []string{"--file", "a=nowhere.csv", "1"}, []string{"--file", "nowhere.csv"}},
		{"file missing, path alone", []string{"--file", "nowhere.csv", "1"}, []string{"--file", "nowhere.csv"}},
		{"file goes up", []string{"--file", "../x=x", "1"}, []string{"--file", "relative path"}},
		{"file absolute", []string{"--file", "/x=x", "1"}, []string{"--file", "relative path"}},
		{"file without a name", []string{"--file", ".=x", "1"}, []string{"--file", "name"}},
		{"file twice", []string{"--file", "x", "--file", "./x", "1"}, []string{"--file", "twice"}},
		{"file goes round", []string{"--file", "dir", "1"}, []string{"--file", "round", "--file of its own"}},
		{"file is a device", []string{"--file", "x=" + os.DevNull, "1"}, []string{"--file", os.DevNull}},
		{"env without name", []string{"--env", "=1", "1"}, []string{"--env", "NAME=VALUE"}},
		{"env empty", []string{"--env", "", "1"}, []string{"--env", "NAME=VALUE"}},
		{"env not set here", []string{"--env", "GOKERNEL_TEST_NOT_SET", "1"}, []string{"--env", "GOKERNEL_TEST_NOT_SET=VALUE"}},
		{"env with zero byte", []string{"--env", "A=\x00", "1"}, []string{"--env A", "zero byte"}},
		{"env no text", []string{"--env", "A=\xff", "1"}, []string{"--env A", "UTF-8"}},
		{"download empty", []string{"--download", "", "1"}, []string{"--download", "PATH=TARGET"}},
		{"download without path", []string{"--download", "=x", "1"}, []string{"--download", "PATH=TARGET"}},
		{"download without target", []string{"--download", "x=", "1"}, []string{"--download", "PATH=TARGET"}},
		{"download goes up", []string{"--download", "../x", "1"}, []string{"--download", "below the working directory"}},
		{"download absolute", []string{"--download", "/etc/x", "1"}, []string{"--download", "below the working directory"}},
		{"download of everything", []string{"--download", ".", "1"}, []string{"--download", "path of a file"}},
		{"download twice", []string{"--download", "x", "--download", "./x=y", "1"}, []string{"--download", "twice"}},
		{"downloads become one", []string{"--download", "a/x=z", "--download", "b/x=z", "1"}, []string{"--download", "two files"}},
		{"download over a directory", []string{"--download", "dir", "1"}, []string{"--download", "PATH=TARGET"}},
		{"download into nowhere", []string{"--download", "x=nowhere/y", "1"}, []string{"--download", "nowhere"}},
		{"download into a directory that is none", []string{"--download", "a=x/y", "1"}, []string{"--download"}},
		{"lease", []string{"--lease", "soon", "--keep", "1"}, []string{"--lease", "24h"}},
		{"lease zero", []string{"--lease", "0", "--keep", "1"}, []string{"--lease", "more than 0"}},
		{"lease of nothing", []string{"--lease", "1h", "1"}, []string{"--lease", "--keep"}},
		{"timeout", []string{"--timeout", "soon", "1"}, []string{"--timeout", "90s"}},
		{"timeout negative", []string{"--timeout", "-1", "1"}, []string{"--timeout", "more than 0"}},
		{"timeout negative duration", []string{"--timeout", "-5s", "1"}, []string{"--timeout", "more than 0"}},
		{"timeout infinite", []string{"--timeout", "inf", "1"}, []string{"--timeout", "90s"}},
		{"timeout no number", []string{"--timeout", "nan", "1"}, []string{"--timeout", "90s"}},
		{"timeout too long", []string{"--timeout", "1e300", "1"}, []string{"--timeout", "90s"}},
		{"progress", []string{"--progress", "loud", "1"}, []string{"--progress", "auto, plain, json or none"}},
		{"unknown flag", []string{"--pakcage", "x", "1"}, []string{"--pakcage"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, _, err := parsed(t, strings.NewReader("\xff"), c.args...)
			if err == nil {
				t.Fatal("it was taken")
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("got %q, want %q in it", err, want)
				}
			}
		})
	}
}

// Every flag of exec is one that its users were promised, and none is missing.
func TestExecFlags(t *testing.T) {
	var f execFlags
	cmd := (&app{}).execCommand()
	cmd.ResetFlags()
	f.add(cmd.Flags())
	for _, name := range strings.Fields("f language session keep file package env cwd download lease timeout progress json") {
		flag := cmd.Flags().Lookup(name)
		if flag == nil {
			t.Fatalf("there is no --%s", name)
		}
		if flag.Usage == "" {
			t.Errorf("--%s is not explained", name)
		}
	}
	if cmd.Flags().ShorthandLookup("f") == nil {
		t.Error("there is no -f")
	}
	cmd.Flags().SortFlags = true
	n := len(strings.Split(strings.TrimSpace(cmd.Flags().FlagUsages()), "\n"))
	if n != 13 {
		t.Errorf("got %d flags, want 13", n)
	}
}
