package agent

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// write makes a file below dir.
func write(t testing.TB, dir, name, text string) {
	t.Helper()
	name = filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// peers D15: the packages that a session is said to have are those that are
// there.
func TestInstalled(t *testing.T) {
	dir := t.TempDir()
	if got := installedIn(filepath.Join(dir, "missing")); got == nil || len(got) != 0 {
		t.Errorf("nothing is there: got %#v, want an empty list", got)
	}
	write(t, dir, "python/six-1.16.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: six\nVersion: 1.16.0\n\nName: no\nVersion: 2")
	write(t, dir, "python/zope_interface-6.1.dist-info/METADATA", "Metadata-Version: 2.1\r\nname: zope.interface\r\nversion: 6.1\r\n")
	write(t, dir, "python/bare-0.1.dist-info/RECORD", "")
	write(t, dir, "python/six/__init__.py", "")
	write(t, dir, "javascript/node_modules/is-odd/package.json", `{"name":"is-odd","version":"3.0.1"}`)
	write(t, dir, "javascript/node_modules/@types/node/package.json", `{"name":"@types/node","version":"20.1.0"}`)
	write(t, dir, "javascript/node_modules/.package-lock.json", `{}`)
	write(t, dir, "javascript/node_modules/.bin/tool", ``)
	want := []string{"@types/node==20.1.0", "bare==0.1", "is-odd==3.0.1", "six==1.16.0", "zope.interface==6.1"}
	if got := installedIn(dir); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// Code that nobody trusts writes these folders.
func TestInstalledHostile(t *testing.T) {
	outside := t.TempDir()
	write(t, outside, "secret/package.json", `{"name":"secret","version":"1"}`)
	write(t, outside, "METADATA", "Name: secret\nVersion: 1\n")
	dir := t.TempDir()
	write(t, dir, "python/good-1.dist-info/METADATA", "Name: good\nVersion: 1\n")
	write(t, dir, "python/large-1.dist-info/METADATA", "X: "+strings.Repeat("y", 1<<20)+"\nName: large\nVersion: 9\n")
	write(t, dir, "python/escape-1.dist-info/METADATA", "Name: esc\x1b[31mape\nVersion: 1\n")
	write(t, dir, "python/.dist-info/METADATA", "")
	write(t, dir, "python/a b.dist-info/METADATA", "Name: a b\nVersion: 1\n")
	write(t, dir, "python/file.dist-info", "not a folder")
	write(t, dir, "javascript/node_modules/bad/package.json", `{"name":`)
	write(t, dir, "javascript/node_modules/typed/package.json", `{"name":["x"],"version":1}`)
	write(t, dir, "javascript/node_modules/huge/package.json", `{"name":"huge","version":"1","x":"`+strings.Repeat("y", 2<<20)+`"}`)
	write(t, dir, "javascript/node_modules/empty/package.json", `{}`)
	for name, target := range map[string]string{
		"python/link-1.dist-info":                      outside,
		"javascript/node_modules/secret":               filepath.Join(outside, "secret"),
		"javascript/node_modules/@scope":               outside,
		"javascript/node_modules/loop":                 "loop",
		"ruby":                                         outside,
		"python/out-1.dist-info/METADATA":              filepath.Join(outside, "METADATA"),
		"javascript/node_modules/inner/package.json":   filepath.Join(outside, "secret", "package.json"),
		"javascript/node_modules/climber/package.json": "../../../../" + filepath.Base(outside) + "/secret/package.json",
	} {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(target, name); err != nil {
			t.Skip(err)
		}
	}
	want := []string{"escape==1", "good==1", "large==1", "out==1"} // by their folders, where nothing better is there
	if got := installedIn(dir); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// It takes bounded work whatever is there.
func TestInstalledBounded(t *testing.T) {
	dir := t.TempDir()
	for i := range maxInstalled + 50 {
		if err := os.MkdirAll(filepath.Join(dir, "python", fmt.Sprintf("p%d-1.dist-info", i)), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if got := installedIn(dir); len(got) != maxInstalled {
		t.Errorf("got %d packages, want %d", len(got), maxInstalled)
	}
}

// What was read before is told again only while nothing has changed.
func TestShelf(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "packages")
	s := &shelf{dir: dir}
	expect := func(want ...string) {
		t.Helper()
		if got := s.packages(); !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	old := time.Now().Add(-time.Hour)
	age := func() {
		t.Helper()
		for _, name := range []string{".", "python", "javascript", "javascript/node_modules"} {
			if err := os.Chtimes(filepath.Join(dir, name), old, old); err != nil && !os.IsNotExist(err) {
				t.Fatal(err)
			}
		}
	}
	expect()
	write(t, dir, "python/one-1.dist-info/METADATA", "Name: one\nVersion: 1\n")
	expect("one==1") // too fresh to be remembered
	write(t, dir, "python/two-1.dist-info/METADATA", "Name: two\nVersion: 1\n")
	expect("one==1", "two==1")
	age()
	expect("one==1", "two==1")
	if s.stamp == "" {
		t.Error("it is not remembered")
	}
	if err := os.RemoveAll(filepath.Join(dir, "python/one-1.dist-info")); err != nil {
		t.Fatal(err)
	}
	expect("two==1")
	age()
	expect("two==1")
	write(t, dir, "javascript/node_modules/three/package.json", `{"name":"three","version":"3"}`)
	expect("three==3", "two==1")
}

func FuzzParseMetadata(f *testing.F) {
	f.Add([]byte("Metadata-Version: 2.1\nName: six\nVersion: 1.16.0\n\nText"))
	f.Add([]byte("Name:\x00\nVersion: \xff"))
	f.Fuzz(func(t *testing.T, text []byte) {
		p := describePackage(parseMetadata(text))
		if p == "" {
			return
		}
		name, version, ok := strings.Cut(p, "==")
		if !ok || name == "" || version == "" || strings.ContainsAny(p, " \n\x1b\x00") {
			t.Errorf("%q was read as %q", text, p)
		}
	})
}
