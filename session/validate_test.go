package session

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Bad input of every field is refused, by the field's name and with what would
// be right.
func TestValidate(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	m := &Manager{interpreters: map[string]string{"python": "python3", "javascript": "node"}}
	id := "6e0f4a8e-6f0b-4e8e-9a55-52a7a4c43f66"
	for _, tc := range []struct {
		name   string
		r      Request
		field  string // "" when it is right
		reason string
	}{
		{"nothing", Request{}, "code", "give what to run"},
		{"blank code", Request{Code: " \n"}, "code", "give what to run"},
		{"only files", Request{Files: map[string]File{"a": {Bytes: []byte{}}}}, "", ""},
		{"only packages", Request{Packages: []string{"six"}}, "", ""},
		{"huge code", Request{Code: strings.Repeat("x", maxCode+1)}, "code", "file"},
		{"language", Request{Code: "1", Language: "javascript"}, "", ""},
		{"unknown language", Request{Code: "1", Language: "Python"}, "language", "javascript or python"},

		{"name", Request{Code: "1", Session: "a-b.c_9"}, "", ""},
		{"id", Request{Code: "1", Session: id}, "", ""},
		{"bad name", Request{Code: "1", Session: "Not A Name"}, "session", "only a-z"},
		{"long name", Request{Code: "1", Session: strings.Repeat("a", 65)}, "session", "more than 64"},

		{"file", Request{Code: "1", Files: map[string]File{"a/b.csv": {Path: file}}}, "", ""},
		{"absolute file", files("/etc/passwd", File{Bytes: []byte("x")}), "files[/etc/passwd]", "relative"},
		{"file above", files("a/../../b", File{Bytes: []byte("x")}), "files[a/../../b]", ".."},
		{"file inside by ..", files("a/../b", File{Bytes: []byte("x")}), "files[a/../b]", ".."},
		{"backslash", files(`..\b`, File{Bytes: []byte("x")}), `files[..\b]`, "backslash"},
		{"drive", files("C:b", File{Bytes: []byte("x")}), "files[C:b]", "drive"},
		{"NUL", files("a\x00b", File{Bytes: []byte("x")}), "files[a\x00b]", "NUL"},
		{"no name", files("", File{Bytes: []byte("x")}), "files[]", "empty"},
		{"the directory", files("./", File{Bytes: []byte("x")}), "files[./]", "slash"},
		{"same file", Request{Files: map[string]File{"a": {Bytes: []byte{}}, "./a": {Bytes: []byte{}}}}, "files[a]", "same file"},
		{"file in a file", Request{Files: map[string]File{"a": {Bytes: []byte{}}, "a/b/c": {Bytes: []byte{}}}}, "files[a/b/c]", `lies in "a"`},
		{"no content", files("a", File{}), "files[a]", "one of"},
		{"two contents", files("a", File{Bytes: []byte("x"), Path: file}), "files[a]", "one of"},
		{"missing path", files("a", File{Path: filepath.Join(dir, "none")}), "files[a].path", "no such file"},
		{"directory", files("a", File{Path: dir}), "files[a].path", "directory"},
		{"mode", files("a", File{Path: file, Mode: fs.ModeSetuid | 0o755}), "files[a].mode", "0644"},

		{"packages", Request{Code: "1", Packages: []string{"six>=1", "attrs"}}, "", ""},
		{"option", Request{Code: "1", Packages: []string{"six", "--index-url=x"}}, "packages[1]", "right are"},       // peers D17
		{"shell", Request{Code: "1", Packages: []string{"six; touch /tmp/x"}}, "packages[0]", "right are"},           // peers D17
		{"npm", Request{Code: "1", Language: "javascript", Packages: []string{"$(id)"}}, "packages[0]", "right are"}, // peers D17
		{"local package", Request{Code: "1", Packages: []string{"./evil"}}, "packages[0]", "right are"},

		{"env", Request{Code: "1", Env: map[string]string{"A_1": "=x"}}, "", ""},
		{"env without name", Request{Code: "1", Env: map[string]string{"": "x"}}, "env", "no name"},
		{"env with =", Request{Code: "1", Env: map[string]string{"A=B": "x"}}, "env", "="},
		{"env with NUL", Request{Code: "1", Env: map[string]string{"A": "x\x00"}}, "env[A]", "NUL"},
		{"env too large", Request{Code: "1", Env: map[string]string{"A": strings.Repeat("x", maxEnv)}}, "env", "more than"},

		{"cwd", Request{Code: "1", Cwd: "sub/dir"}, "", ""},
		{"cwd itself", Request{Code: "1", Cwd: "."}, "", ""},
		{"cwd above", Request{Code: "1", Cwd: "../x"}, "cwd", ".."},
		{"cwd with NUL", Request{Code: "1", Cwd: "/a\x00"}, "cwd", "NUL"},

		{"lease", Request{Code: "1", KeepAlive: true, Lease: time.Hour}, "", ""},
		{"negative lease", Request{Code: "1", KeepAlive: true, Lease: -1}, "lease", "negative"},
		{"lease of nothing", Request{Code: "1", Lease: time.Hour}, "lease", "KeepAlive"},
		{"negative limit", Request{Code: "1", TimeLimit: -time.Second}, "time limit", "negative"},

		{"download", Request{Code: "1", Downloads: []Download{{Path: "a/b"}, {Path: "c", Target: filepath.Join(dir, "c")}}}, "", ""},
		{"download above", Request{Code: "1", Downloads: []Download{{Path: "../a"}}}, "downloads[../a]", ".."},
		{"absolute download", Request{Code: "1", Downloads: []Download{{Path: "/a"}}}, "downloads[/a]", "relative"},
		{"download twice", Request{Code: "1", Downloads: []Download{{Path: "a"}, {Path: "./a"}}}, "downloads[./a]", "twice"},
		{"target twice", Request{Code: "1", Downloads: []Download{{Path: "a", Target: dir + "/x"}, {Path: "b", Target: dir + "/./x"}}}, "downloads[b].target", "another"},
		{"target nowhere", Request{Code: "1", Downloads: []Download{{Path: "a", Target: filepath.Join(dir, "none", "x")}}}, "downloads[a].target", "must exist"},
		{"target in a file", Request{Code: "1", Downloads: []Download{{Path: "a", Target: filepath.Join(file, "x")}}}, "downloads[a].target", "not a directory"},
		{"directory target", Request{Code: "1", Downloads: []Download{{Path: "a", Target: dir}}}, "downloads[a].target", "directory"},
	} {
		err := m.validate(&tc.r)
		if tc.field == "" {
			if err != nil {
				t.Errorf("%s: %v, want nil", tc.name, err)
			}
			continue
		}
		var wrong *InvalidError
		if !errors.As(err, &wrong) || wrong.Field != tc.field || !strings.Contains(wrong.Reason, tc.reason) {
			t.Errorf("%s: %v, want an InvalidError of %q with %q", tc.name, err, tc.field, tc.reason)
		}
	}
}

func files(name string, f File) Request { return Request{Files: map[string]File{name: f}} }

// Whatever the path of a file is, one that is accepted stays in the directory
// that it is relative to.
func FuzzCheckPath(f *testing.F) {
	for _, s := range []string{"a/b", "../a", `a\b`, "C:/x", "a/./b//c", "/", "..", "a\x00b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		clean, err := checkPath(name)
		if err != nil {
			return
		}
		base := filepath.Join(string(filepath.Separator), "base")
		full := filepath.Join(base, filepath.FromSlash(name))
		if rel, err := filepath.Rel(base, full); err != nil || !filepath.IsLocal(rel) || filepath.ToSlash(rel) != clean {
			t.Errorf("%q is accepted as %q and leads to %q", name, clean, full)
		}
	})
}

// Text is held whole up to its limit; past it head and tail are held, and how
// much is missing is said.
func TestText(t *testing.T) {
	for _, tc := range []struct {
		pieces []string
		want   string
	}{
		{nil, ""},
		{[]string{"abcd", "efgh"}, "abcdefgh"},
		{[]string{"abcdefgh"}, "abcdefgh"},
		{[]string{"abcdefghi"}, "abcd\n[1 bytes are left out here]\nfghi"},
		{[]string{"ab", "cdefghijklmnop", "q"}, "abcd\n[9 bytes are left out here]\nnopq"},
		{[]string{"abcü", "ab", "efgh"}, "abc\n[4 bytes are left out here]\nefgh"},
		{[]string{"abcd", "üüü"}, "abcd\n[2 bytes are left out here]\nüü"},
		{[]string{"abcd", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n"}, "abcd\n[6 bytes are left out here]\nklmn"},
	} {
		x := text{limit: 8}
		for _, p := range tc.pieces {
			x.add(p)
		}
		if got := x.String(); got != tc.want {
			t.Errorf("%q: got %q, want %q", tc.pieces, got, tc.want)
		}
	}
}
