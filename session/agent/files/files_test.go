//go:build unix

package files

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/gokernel/gokernel/session/wire"
)

// open opens a workspace in a directory of its own.
func open(t testing.TB) (*Workspace, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "work")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	w, err := Open(dir, new(Sweeper))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	return w, dir
}

func write(t testing.TB, name, content string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func content(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// tree returns all that is below dir, one name a line.
func tree(t testing.TB, dir string) string {
	t.Helper()
	var names []string
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if rel, _ := filepath.Rel(dir, name); rel != "." {
			names = append(names, rel)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(names, "\n")
}

func manifest(name, content string) *wire.Manifest {
	sum := SumBytes([]byte(content))
	return &wire.Manifest{Path: name, Size: sum.Size, SHA256: sum.SHA256}
}

// unusable makes in dir what is no file to read or to write, and returns the
// paths with a part of what is to be said of each.
func unusable(t testing.TB, dir string) map[string]string {
	t.Helper()
	outside := filepath.Join(filepath.Dir(dir), "outside")
	write(t, outside, "secret")
	if err := os.Mkdir(filepath.Join(dir, "dir"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "fifo"), 0o644); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", filepath.Join(dir, "socket"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	for link, target := range map[string]string{
		"relative": "../outside", "absolute": outside, "up": "..", "null": os.DevNull, "todir": "dir",
	} {
		if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	leaves := "leads out of the working directory"
	return map[string]string{
		"": "empty", "..": `".."`, "../outside": `".."`, "dir/../../outside": `".."`, outside: "absolute", "dir/": "slash",
		".": "working directory itself", "a\x00b": "NUL", strings.Repeat("n", 256): "255 bytes",
		strings.Repeat("n/", 4000): "4096 bytes", "a\xff": "UTF-8",
		"relative": leaves, "absolute": leaves, "up/outside": leaves, "null": leaves,
		"dir": "directory", "todir": "directory", "fifo": "named pipe", "socket": "socket",
	}
}

func TestUnusablePaths(t *testing.T) {
	w, dir := open(t)
	bad := unusable(t, dir)
	before := tree(t, dir)
	for name, says := range bad {
		_, readErr := w.Read(name)
		putErr := w.Put(name, 0, []byte("new"))
		for doing, err := range map[string]error{"reading": readErr, "writing": putErr} {
			if err == nil || !strings.Contains(err.Error(), says) || !strings.HasPrefix(err.Error(), doing+" ") || len(err.Error()) > 400 {
				t.Errorf("%s %.40q = %v, want an error that says %q", doing, name, err, says)
			}
		}
		if has, err := w.Has(t.Context(), manifest(name, "secret")); has {
			t.Errorf("Has(%.40q) = %v, %v, want false", name, has, err)
		}
		if err := w.Chmod(name, 0o777); err == nil {
			t.Errorf("Chmod(%.40q) = nil, want an error", name)
		}
	}
	if got := tree(t, dir); got != before {
		t.Errorf("afterwards there is:\n%s\nwant:\n%s", got, before)
	}
	if got := content(t, filepath.Join(filepath.Dir(dir), "outside")); got != "secret" {
		t.Errorf("the file outside has %q, want it as it was", got)
	}
}

func TestErrorsCanBeTold(t *testing.T) {
	w, dir := open(t)
	write(t, filepath.Join(dir, "file"), "x")
	_, missing := w.Read("no/such/file")
	_, below := w.Read("file/x")
	_, leaves := w.Read("../x")
	_, list := w.List("no", "", 10)
	_, listFile := w.List("file", "", 10)
	for _, test := range []struct {
		err      error
		notExist bool
		bad      bool
		text     string
	}{
		{missing, true, false, "reading no/such/file: file does not exist"},
		{below, false, false, "reading file/x: not a directory"},
		{leaves, false, true, `reading ../x: not a path of a file here: it contains "..", which may leave the working directory`},
		{list, true, false, "listing no: file does not exist"},
		{listFile, false, false, "listing file: not a directory"},
	} {
		if test.err == nil || test.err.Error() != test.text {
			t.Errorf("got error %v, want %q", test.err, test.text)
		}
		if got := errors.Is(test.err, fs.ErrNotExist); got != test.notExist {
			t.Errorf("%v: is fs.ErrNotExist %v, want %v", test.err, got, test.notExist)
		}
		if got := errors.Is(test.err, ErrBad); got != test.bad {
			t.Errorf("%v: is ErrBad %v, want %v", test.err, got, test.bad)
		}
	}
}

// peers D1: what is there is told by content, never by name, size or time.
func TestHasGoesByContent(t *testing.T) {
	w, dir := open(t)
	file := filepath.Join(dir, "data")
	write(t, file, "old content")
	old, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	check := func(m *wire.Manifest, want bool) {
		t.Helper()
		if got, err := w.Has(t.Context(), m); got != want || err != nil {
			t.Errorf("Has(%s) = %v, %v, want %v", m.Path, got, err, want)
		}
	}
	check(manifest("data", "old content"), true)
	check(manifest("./data", "old content"), true)
	check(manifest("data", "new content"), false)
	check(manifest("data", "old content, and more"), false)
	check(manifest("other", "old content"), false)
	check(manifest("data/below", "old content"), false)

	// The same size, and the time put back: it has changed all the same.
	write(t, file, "new content")
	if err := os.Chtimes(file, old.ModTime(), old.ModTime()); err != nil {
		t.Fatal(err)
	}
	check(manifest("data", "old content"), false)
	check(manifest("data", "new content"), true)
}

// peers D1: a file that is mapped into memory changes without its times.
func TestHasSeesMappedMemory(t *testing.T) {
	w, dir := open(t)
	file := filepath.Join(dir, "mapped")
	write(t, file, "old content")
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	mapped, err := syscall.Mmap(int(f.Fd()), 0, 11, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Munmap(mapped) }()
	for i, word := range []string{"one", "two", "six"} {
		copy(mapped, word)
		want := word + " content"
		if has, err := w.Has(t.Context(), manifest("mapped", want)); !has || err != nil {
			t.Errorf("change %d: Has = %v, %v, want true", i, has, err)
		}
		if has, err := w.Has(t.Context(), manifest("mapped", "old content")); has || err != nil {
			t.Errorf("change %d: Has of the old content = %v, %v, want false", i, has, err)
		}
	}
}

func TestHasEndsWithContext(t *testing.T) {
	w, dir := open(t)
	write(t, filepath.Join(dir, "data"), "content")
	why := errors.New("it was interrupted")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	if _, err := w.Has(ctx, manifest("data", "content")); !errors.Is(err, why) {
		t.Errorf("Has = %v, want that it was interrupted", err)
	}
}

func TestPut(t *testing.T) {
	w, dir := open(t)
	if err := os.Symlink("sub", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name    string
		mode    fs.FileMode
		content string
		file    string
		want    fs.FileMode
	}{
		{"a.txt", 0, "one", "a.txt", 0o644},
		{"a.txt", 0o755, "two", "a.txt", 0o755},
		{"a.txt", 0, "", "a.txt", 0o755}, // that of the one before
		{"sub/deep/b", 0o600, "b", "sub/deep/b", 0o600},
		{"link/c", 0o444, "c", "sub/c", 0o444},
		{"link/c", 0o640, "c again", "sub/c", 0o640},
		{strings.Repeat("ü", 127), 0, "long", strings.Repeat("ü", 127), 0o644},
	} {
		if err := w.Put(test.name, test.mode, []byte(test.content)); err != nil {
			t.Errorf("Put(%s) = %v", test.name, err)
			continue
		}
		file := filepath.Join(dir, test.file)
		if got := content(t, file); got != test.content {
			t.Errorf("%s has %q, want %q", test.file, got, test.content)
		}
		if info, err := os.Stat(file); err != nil || info.Mode() != test.want {
			t.Errorf("%s has mode %v (%v), want %v", test.file, info.Mode(), err, test.want)
		}
	}
	if got := tree(t, dir); strings.Contains(got, partPrefix) {
		t.Errorf("something is left:\n%s", got)
	}
}

// What was there stays as it is, and nothing half-written is to be seen, until
// all has come and is what was announced.
func TestWriterIsAtomic(t *testing.T) {
	w, dir := open(t)
	file := filepath.Join(dir, "data")
	write(t, file, "old")
	seen := func(when, want string) {
		t.Helper()
		if got := content(t, file); got != want {
			t.Errorf("%s: the file has %q, want %q", when, got, want)
		}
		if list, err := w.List("", "", 10); err != nil || len(list) != 1 || list[0].Name != "data" {
			t.Errorf("%s: the list is %v, %v, want the file only", when, list, err)
		}
	}
	begin := func(limit int64) *Writer {
		t.Helper()
		p, err := w.Create("data", 0, limit)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	put := func(p *Writer, text string) {
		t.Helper()
		if _, err := p.Write([]byte(text)); err != nil {
			t.Errorf("Write(%q) = %v", text, err)
		}
	}
	want := SumBytes([]byte("new content"))

	p := begin(-1)
	put(p, "new ")
	seen("while it is written", "old")
	p.Discard()
	p.Discard()
	seen("after it was discarded", "old")

	p = begin(want.Size)
	put(p, "NEW content")
	if _, err := p.Commit(&want); !errors.Is(err, ErrChanged) || !strings.Contains(err.Error(), "writing data") {
		t.Errorf("Commit of other content = %v, want ErrChanged with the name", err)
	}
	seen("after other content has come", "old")

	p = begin(want.Size)
	put(p, "new")
	if _, err := p.Commit(&want); !errors.Is(err, ErrChanged) {
		t.Errorf("Commit of too little = %v, want ErrChanged", err)
	}
	seen("after too little has come", "old")

	p = begin(want.Size)
	put(p, "new")
	if n, err := p.Write([]byte(" content, and more")); n != 0 || !errors.Is(err, ErrChanged) {
		t.Errorf("Write past the limit = %d, %v, want ErrChanged", n, err)
	}
	p.Discard()
	seen("after too much has come", "old")

	p = begin(want.Size)
	put(p, "new ")
	put(p, "content")
	if got, err := p.Commit(&want); got != want || err != nil {
		t.Errorf("Commit = %v, %v, want %v", got, err, want)
	}
	p.Discard()
	seen("in the end", "new content")
	if got := tree(t, dir); got != "data" {
		t.Errorf("there is:\n%s\nwant the file only", got)
	}
}

// A directory that appears where a file is to be, and one that goes while its
// file is written, are errors that leave nothing.
func TestCommitCannotRename(t *testing.T) {
	w, dir := open(t)
	p, err := w.Create("sub/data", 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "sub", "data", "full"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Commit(nil); err == nil || !strings.HasPrefix(err.Error(), "writing sub/data: ") {
		t.Errorf("Commit over a directory = %v, want an error that names the file", err)
	}
	if got, want := tree(t, dir), "sub\nsub/data\nsub/data/full"; got != want {
		t.Errorf("there is:\n%s\nwant:\n%s", got, want)
	}
	if p, err = w.Create("gone/data", 0, -1); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(dir, "gone")); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Commit(nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Commit in a directory that has gone = %v, want fs.ErrNotExist", err)
	}
}

// A link that leads nowhere, or to another file, is replaced and not followed.
func TestPutReplacesLinks(t *testing.T) {
	w, dir := open(t)
	write(t, filepath.Join(dir, "target"), "target")
	for link, target := range map[string]string{"dangling": "nowhere", "inside": "target", "around": "around"} {
		if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
		if r, err := w.Read(link); err == nil {
			if r.Close(); link != "inside" {
				t.Errorf("Read(%s) = nil, want an error", link)
			}
		}
		if err := w.Put(link, 0, []byte("new")); err != nil {
			t.Errorf("Put(%s) = %v", link, err)
		}
		if info, err := os.Lstat(filepath.Join(dir, link)); err != nil || !info.Mode().IsRegular() {
			t.Errorf("%s is %v (%v), want a regular file", link, info.Mode(), err)
		}
	}
	if got := content(t, filepath.Join(dir, "target")); got != "target" {
		t.Errorf("the link's target has %q, want it as it was", got)
	}
}

// What a killed agent has left goes when its directory is written to; what
// another one just writes, and what only looks like it, stays.
func TestSweep(t *testing.T) {
	w, dir := open(t)
	left := partPrefix + "0123456789abcdef" + partSuffix
	for _, name := range []string{left, "sub/" + left, partPrefix + "x" + partSuffix, partPrefix + "0123456789abcdeg" + partSuffix} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, name), "half")
	}
	if err := os.Symlink("sub", filepath.Join(dir, partPrefix+"0123456789abcde0"+partSuffix)); err != nil {
		t.Fatal(err)
	}
	writing, err := w.Create("sub/data", 0, -1) // sweeps sub
	if err != nil {
		t.Fatal(err)
	}
	defer writing.Discard()
	if _, err := os.Lstat(filepath.Join(dir, "sub", left)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what was left in sub: %v, want it gone", err)
	}
	if _, err := os.Lstat(filepath.Join(dir, left)); err != nil {
		t.Errorf("what was left above it: %v, want it there until something is written there", err)
	}
	other, err := Open(dir, new(Sweeper))
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	other.Sweep()
	if err := other.Put("sub/more", 0, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := writing.Write([]byte("new")); err != nil {
		t.Error(err)
	}
	if _, err := writing.Commit(nil); err != nil {
		t.Errorf("Commit of what was just written = %v, want it untouched by others", err)
	}
	want := strings.Join([]string{
		partPrefix + "0123456789abcde0" + partSuffix, partPrefix + "0123456789abcdeg" + partSuffix, partPrefix + "x" + partSuffix,
		"sub", "sub/data", "sub/more",
	}, "\n")
	if got := tree(t, dir); got != want {
		t.Errorf("there is:\n%s\nwant:\n%s", got, want)
	}
}

func TestRead(t *testing.T) {
	w, dir := open(t)
	write(t, filepath.Join(dir, "log"), "begin")
	r, err := w.Read("log")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	f, err := os.OpenFile(filepath.Join(dir, "log"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteString(" and more")
	if err = errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(r); string(b) != "begin" || err != nil || r.Size() != 5 || r.Mode() != 0o644 {
		t.Errorf("read %q, %v of %d bytes with mode %v, want what was there when it was opened", b, err, r.Size(), r.Mode())
	}
}

func TestList(t *testing.T) {
	w, dir := open(t)
	if err := os.Mkdir(filepath.Join(dir, "b"), 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "a"), "four")
	write(t, filepath.Join(dir, "b", "x"), "")
	for link, target := range map[string]string{"c": "b", "d": "/", "e": "nowhere"} {
		if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	for _, top := range []string{"", ".", "./"} {
		list, err := w.List(top, "", 100)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, f := range list {
			size := f.Size
			if f.Dir || f.Link {
				size = 0 // whatever the file system says
			}
			got = append(got, fmt.Sprintf("%s %d %o dir=%v link=%v", f.Name, size, f.Mode, f.Dir, f.Link))
			if f.Modified.IsZero() {
				t.Errorf("%s has no time", f.Name)
			}
		}
		want := "a 4 644 dir=false link=false\nb 0 700 dir=true link=false\n" +
			"c 0 777 dir=true link=true\nd 0 777 dir=false link=true\ne 0 777 dir=false link=true"
		if strings.Join(got, "\n") != want {
			t.Errorf("List(%q):\n%s\nwant:\n%s", top, strings.Join(got, "\n"), want)
		}
	}
	for _, name := range []string{"b", "b/", "c", "./b"} {
		if list, err := w.List(name, "", 100); err != nil || len(list) != 1 || list[0].Name != "x" {
			t.Errorf("List(%q) = %v, %v, want x", name, list, err)
		}
	}
	for name, says := range map[string]string{"..": `".."`, "/": "absolute", "d": "leads out", "a": "not a directory"} {
		if _, err := w.List(name, "", 100); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("List(%q) = %v, want an error that says %q", name, err, says)
		}
	}
	var names []string
	for after := ""; ; {
		page, err := w.List("", after, 2)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range page {
			names = append(names, f.Name)
		}
		if len(page) < 2 {
			break
		}
		after = page[1].Name
	}
	if got := strings.Join(names, ""); got != "abcde" {
		t.Errorf("the pages have %q, want all names once", got)
	}
}

// No path that is accepted leads to a file outside, whatever it looks like.
func FuzzPut(f *testing.F) {
	dir := f.TempDir()
	work := filepath.Join(dir, "work")
	if err := os.Mkdir(work, 0o755); err != nil {
		f.Fatal(err)
	}
	for link, target := range map[string]string{"up": "..", "root": "/", "self": "."} {
		if err := os.Symlink(target, filepath.Join(work, link)); err != nil {
			f.Fatal(err)
		}
	}
	w, err := Open(work, new(Sweeper))
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = w.Close() })
	for _, seed := range []string{"a", "up/a", "root/tmp/a", "self/self/a", "../a", "a/../../b", "/a", "a//b", "up", "\x00", "self/up/a", "...", "a\\..\\b"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, name string) {
		err := w.Put(name, 0, []byte("x"))
		entries, dirErr := os.ReadDir(dir)
		if dirErr != nil || len(entries) != 1 {
			t.Fatalf("Put(%q) = %v left %v outside (%v)", name, err, entries, dirErr)
		}
		if err == nil {
			r, err := w.Read(name)
			if err != nil {
				t.Fatalf("Read(%q) after it was put = %v", name, err)
			}
			r.Close()
		}
	})
}
