// Package files is what an agent does with the files of a session's working
// directory: it says whether one has a certain content, writes one so that it
// appears complete or not at all, reads and lists. Paths come from others and
// never lead out of the directory.
package files

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"

	"github.com/gokernel/gokernel/session/wire"
)

// ErrBad is wrapped by errors about paths that no file of a workspace can have.
var ErrBad = errors.New("not a path of a file here")

// blockSize is how much is read or written at once, in bytes.
const blockSize = wire.MaxData

// A Workspace is a working directory. Paths are relative to it, with slashes, as
// wire.CleanPath has them; symbolic links are followed unless they lead out of
// it. Errors name the file, and wrap fs.ErrNotExist and the like. It is safe for
// concurrent use.
type Workspace struct {
	dir     string
	root    *os.Root
	escapes error // with which root refuses what leads out of it
	sweeper *Sweeper
}

// Open opens the directory dir, which must exist. Close it in the end. s removes
// what killed agents have left in directories that are written to.
func Open(dir string, s *Sweeper) (*Workspace, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("working directory: %w", err)
	}
	_, err = root.Lstat("..")
	return &Workspace{dir: dir, root: root, escapes: plain(err), sweeper: s}, nil
}

// Close closes the directory. Files that are open stay so.
func (w *Workspace) Close() error { return w.root.Close() }

// plain takes out of err which system call failed on which path.
func plain(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	var l *os.LinkError
	if errors.As(err, &l) {
		return l.Err
	}
	return err
}

// fail says what was being done to name when err came.
func (w *Workspace) fail(doing, name string, err error) error {
	switch cause := plain(err); {
	case w.escapes != nil && errors.Is(cause, w.escapes):
		return fmt.Errorf("%s %s: %w: it leads out of the working directory", doing, quote(name), ErrBad)
	case errors.Is(cause, fs.ErrNotExist):
		return fmt.Errorf("%s %s: %w", doing, quote(name), fs.ErrNotExist)
	default:
		return fmt.Errorf("%s %s: %w", doing, quote(name), cause)
	}
}

// quote returns a path as it stands in an error: plainly where it can, and not
// at any length.
func quote(name string) string {
	const most = 200
	for _, r := range name {
		if len(name) > most || r < ' ' || r == 0x7f || r == 0xfffd {
			return fmt.Sprintf("%.*q", most, name)
		}
	}
	if name == "" {
		return `""`
	}
	return name
}

// clean checks a path that somebody has named.
func clean(doing, name string) (string, error) {
	path, err := wire.CleanPath(name)
	if err != nil {
		return "", fmt.Errorf("%s %s: %w: %w", doing, quote(name), ErrBad, err)
	}
	return path, nil
}

// kind says in words what a file is that is not a regular one.
func kind(mode fs.FileMode) string {
	switch {
	case mode.IsDir():
		return "directory"
	case mode&fs.ModeNamedPipe != 0:
		return "named pipe"
	case mode&fs.ModeSocket != 0:
		return "socket"
	case mode&fs.ModeDevice != 0:
		return "device"
	}
	return "special file"
}

// open opens a regular file to read it.
func (w *Workspace) open(doing, name string) (*os.File, fs.FileInfo, error) {
	info, err := w.root.Stat(name) // opening a device may have consequences
	if err != nil {
		return nil, nil, w.fail(doing, name, err)
	}
	var f *os.File
	if info.Mode().IsRegular() {
		if f, err = w.root.OpenFile(name, os.O_RDONLY|nonblock, 0); err == nil {
			if info, err = f.Stat(); err != nil {
				err = errors.Join(err, f.Close())
			}
		}
		if err != nil {
			return nil, nil, w.fail(doing, name, err)
		}
	}
	if !info.Mode().IsRegular() {
		err = fmt.Errorf("%s %s: it is a %s, not a regular file", doing, quote(name), kind(info.Mode()))
		if f != nil {
			err = errors.Join(err, f.Close())
		}
		return nil, nil, err
	}
	return f, info, nil
}

// Has reports whether the file that m names is there with this content. It is
// read to tell: times and sizes say nothing for certain, for a file that is
// mapped into memory changes without them.
func (w *Workspace) Has(ctx context.Context, m *wire.Manifest) (bool, error) {
	const doing = "comparing"
	name, err := clean(doing, m.Path)
	if err != nil {
		return false, err
	}
	info, err := w.root.Stat(name)
	if err != nil && w.escapes != nil && errors.Is(err, w.escapes) {
		return false, w.fail(doing, name, err)
	}
	if err != nil || !info.Mode().IsRegular() || info.Size() != m.Size {
		return false, nil // what is in the way is told when it is written
	}
	f, _, err := w.open(doing, name)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	sum, err := Sum(ctx, f)
	if err = errors.Join(err, f.Close()); err != nil {
		return false, w.fail(doing, name, err)
	}
	return sum.Size == m.Size && sum.SHA256 == m.SHA256, nil
}

// A Checksum says what a content is.
type Checksum struct {
	Size   int64
	SHA256 string // lower-case hex
}

// SumBytes returns the checksum of b.
func SumBytes(b []byte) Checksum {
	sum := sha256.Sum256(b)
	return Checksum{Size: int64(len(b)), SHA256: hex.EncodeToString(sum[:])}
}

// Sum reads r until its end or that of ctx.
func Sum(ctx context.Context, r io.Reader) (Checksum, error) {
	hash := sha256.New()
	block := make([]byte, blockSize)
	var size int64
	for {
		if ctx.Err() != nil {
			return Checksum{}, context.Cause(ctx)
		}
		n, err := r.Read(block)
		size += int64(n)
		_, _ = hash.Write(block[:n]) // never fails
		if errors.Is(err, io.EOF) {
			return Checksum{Size: size, SHA256: hex.EncodeToString(hash.Sum(nil))}, nil
		}
		if err != nil {
			return Checksum{}, err
		}
	}
}

// Chmod gives a regular file permission bits, unless it has them.
func (w *Workspace) Chmod(name string, mode fs.FileMode) error {
	const doing = "changing the mode of"
	name, err := clean(doing, name)
	if err != nil {
		return err
	}
	f, info, err := w.open(doing, name)
	if err != nil {
		return err
	}
	if info.Mode().Perm() != mode.Perm() {
		err = f.Chmod(mode.Perm())
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return w.fail(doing, name, err)
	}
	return nil
}

// MkdirAll makes the directory name, with those that it is in, unless it is
// there.
func (w *Workspace) MkdirAll(name string) error {
	const doing = "making the directory"
	name, err := clean(doing, name)
	if err != nil {
		return err
	}
	if err := w.mkdirAll(name); err != nil {
		return w.fail(doing, name, err)
	}
	return nil
}

func (w *Workspace) mkdirAll(name string) error {
	err := w.root.MkdirAll(name, 0o777)
	if errors.Is(err, fs.ErrExist) {
		return errors.New("something in its path is no directory")
	}
	if err != nil {
		return err
	}
	info, err := w.root.Stat(name) // a link to a file is not seen above
	if err == nil && !info.IsDir() {
		err = errors.New("something in its path is no directory")
	}
	return err
}

// List returns at most limit files of the directory name, sorted by name, of
// those whose names come after the name after. An empty name is the working
// directory itself.
func (w *Workspace) List(name, after string, limit int) ([]wire.FileInfo, error) {
	const doing = "listing"
	name, err := cleanDir(doing, name)
	if err != nil {
		return nil, err
	}
	dir, err := w.root.OpenRoot(name)
	if err != nil {
		return nil, w.fail(doing, name, err)
	}
	defer dir.Close() // it was only read
	names, err := readNames(dir)
	if err != nil {
		return nil, w.fail(doing, name, err)
	}
	list := []wire.FileInfo{}
	first, found := slices.BinarySearch(names, after)
	if found {
		first++
	}
	for _, entry := range names[first:] {
		if len(list) == limit {
			break
		}
		if isPart(entry) {
			continue
		}
		info, err := dir.Lstat(entry)
		if err != nil {
			continue // it has just gone
		}
		f := wire.FileInfo{
			Name: entry, Size: info.Size(), Mode: uint32(info.Mode().Perm()), Dir: info.IsDir(),
			Link: info.Mode()&fs.ModeSymlink != 0, Modified: info.ModTime(),
		}
		if f.Link {
			if target, err := w.root.Stat(path.Join(name, entry)); err == nil {
				f.Dir = target.IsDir()
			}
		}
		list = append(list, f)
	}
	return list, nil
}

// cleanDir checks the path of a directory; "." is the working directory itself.
func cleanDir(doing, name string) (string, error) {
	if name == "" || name == "." || name == "./" {
		return ".", nil
	}
	if trimmed := name[:len(name)-1]; trimmed != "" && name[len(name)-1] == '/' {
		name = trimmed
	}
	return clean(doing, name)
}

// readNames returns the names in a directory, sorted.
func readNames(dir *os.Root) ([]string, error) {
	f, err := dir.Open(".")
	if err != nil {
		return nil, err
	}
	names, err := f.Readdirnames(-1)
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	slices.Sort(names)
	return names, nil
}

// A Reader reads a regular file as it was when it was opened: no further than
// its end then, though it may grow. It is for one goroutine.
type Reader struct {
	w    *Workspace
	name string
	file *os.File
	from io.Reader
	info fs.FileInfo
}

// Read opens a regular file to read it. Anything else is refused, without
// waiting for whoever may be at its other end. Close the Reader in the end.
func (w *Workspace) Read(name string) (*Reader, error) {
	const doing = "reading"
	name, err := clean(doing, name)
	if err != nil {
		return nil, err
	}
	f, info, err := w.open(doing, name)
	if err != nil {
		return nil, err
	}
	r := &Reader{w: w, name: name, file: f, from: f, info: info}
	if info.Size() > 0 { // some files do not know theirs
		r.from = io.LimitReader(f, info.Size())
	}
	return r, nil
}

// Read implements io.Reader.
func (r *Reader) Read(b []byte) (int, error) {
	n, err := r.from.Read(b)
	if err != nil && !errors.Is(err, io.EOF) {
		err = r.w.fail("reading", r.name, err)
	}
	return n, err
}

// Size returns the size of the file when it was opened.
func (r *Reader) Size() int64 { return r.info.Size() }

// Mode returns the permission bits of the file.
func (r *Reader) Mode() fs.FileMode { return r.info.Mode().Perm() }

// Close closes the file.
func (r *Reader) Close() { _ = r.file.Close() } // it was only read
