package files

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"math"
	"os"
	"path"
	"strings"
	"sync"
)

// A part is a file that comes to be: beside where it is to appear, under a name
// that nobody has asked for, and locked while somebody writes it, so that one
// that a killed agent has left can be told from one that is just being written.
const (
	partPrefix = ".gokernel-"
	partSuffix = ".part"
	partUnique = 16 // characters between the two
)

// isPart reports whether name is that of a part.
func isPart(name string) bool {
	if len(name) != len(partPrefix)+partUnique+len(partSuffix) || !strings.HasPrefix(name, partPrefix) || !strings.HasSuffix(name, partSuffix) {
		return false
	}
	_, err := hex.DecodeString(name[len(partPrefix) : len(partPrefix)+partUnique])
	return err == nil
}

// ErrChanged is wrapped by errors about content that is not what was announced.
var ErrChanged = errors.New("the content is not what was announced")

// A Writer writes one file. It must be ended by Commit or Discard; until Commit
// what was there before stays as it is. It is for one goroutine.
type Writer struct {
	w       *Workspace
	dir     *os.Root // that the file is in
	file    *os.File
	part    string // name of file, in dir
	base    string // name that it is to have there
	name    string // path as it was named
	mode    fs.FileMode
	limit   int64
	hash    hash.Hash
	size    int64
	lock    io.Closer
	settled bool
}

// Create begins to write the file name, whose directories are made if they are
// missing. mode are its permission bits; 0 means those of the file that it
// replaces, else 0644. More than limit bytes are refused; a negative limit is
// none.
func (w *Workspace) Create(name string, mode fs.FileMode, limit int64) (*Writer, error) {
	const doing = "writing"
	name, err := clean(doing, name)
	if err != nil {
		return nil, err
	}
	old, err := w.root.Stat(name)
	if w.escapes != nil && errors.Is(err, w.escapes) {
		return nil, w.fail(doing, name, err)
	}
	if err == nil && !old.Mode().IsRegular() {
		return nil, fmt.Errorf("%s %s: there is a %s with this name", doing, quote(name), kind(old.Mode()))
	}
	if mode.Perm() == 0 {
		mode = 0o644
		if err == nil {
			mode = old.Mode().Perm()
		}
	}
	if limit < 0 {
		limit = math.MaxInt64
	}
	parent := path.Dir(name)
	if err := w.mkdirAll(parent); err != nil {
		return nil, w.fail(doing, name, err)
	}
	dir, err := w.root.OpenRoot(parent)
	if err != nil {
		return nil, w.fail(doing, name, err)
	}
	w.sweeper.sweep(path.Join(w.dir, parent), dir)
	p := &Writer{w: w, dir: dir, base: path.Base(name), name: name, mode: mode.Perm(), limit: limit, hash: sha256.New()}
	if err := p.create(); err != nil {
		return nil, errors.Join(w.fail(doing, name, err), dir.Close())
	}
	return p, nil
}

// create makes the part. Somebody who looks for parts that were left may find it
// before it is locked; then it is made again.
func (p *Writer) create() error {
	for {
		var unique [partUnique / 2]byte
		_, _ = rand.Read(unique[:]) // never fails
		name := partPrefix + hex.EncodeToString(unique[:]) + partSuffix
		f, err := p.dir.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return err
		}
		lock, ours, err := lockFile(f)
		if err != nil {
			return errors.Join(err, f.Close(), p.dir.Remove(name))
		}
		if ours {
			if info, err := p.dir.Lstat(name); err == nil && info.Mode().IsRegular() {
				p.file, p.part, p.lock = f, name, lock
				return nil
			}
		}
		if err := errors.Join(f.Close(), closeLock(lock)); err != nil {
			return err
		}
	}
}

func closeLock(lock io.Closer) error {
	if lock == nil {
		return nil
	}
	return lock.Close()
}

// Write appends b.
func (p *Writer) Write(b []byte) (int, error) {
	if int64(len(b)) > p.limit-p.size {
		return 0, fmt.Errorf("writing %s: %w: it is larger than %d bytes", quote(p.name), ErrChanged, p.limit)
	}
	n, err := p.file.Write(b)
	p.size += int64(n)
	_, _ = p.hash.Write(b[:n]) // never fails
	if err != nil {
		return n, p.w.fail("writing", p.name, err)
	}
	return n, nil
}

// Size returns how many bytes have been written.
func (p *Writer) Size() int64 { return p.size }

// Commit makes the file appear and returns what it is. If want is not nil it
// must be that. After an error, as after Discard, nothing has changed.
func (p *Writer) Commit(want *Checksum) (Checksum, error) {
	got := Checksum{Size: p.size, SHA256: hex.EncodeToString(p.hash.Sum(nil))}
	if want != nil && got != *want {
		p.Discard()
		return got, fmt.Errorf("writing %s: %w: %d bytes with hash %.12s have come in place of %d with %.12s",
			quote(p.name), ErrChanged, got.Size, got.SHA256, want.Size, want.SHA256)
	}
	err := p.file.Chmod(p.mode)
	err = errors.Join(err, p.file.Close()) // network file systems say only now that they are full
	if err == nil {
		err = p.dir.Rename(p.part, p.base)
	}
	if err != nil {
		err = p.w.fail("writing", p.name, err)
		p.Discard()
		return got, err
	}
	p.settled = true
	_ = closeLock(p.lock) // nothing was written through it
	_ = p.dir.Close()
	return got, nil
}

// Discard leaves everything as it was. After Commit it does nothing.
func (p *Writer) Discard() {
	if p.settled {
		return
	}
	p.settled = true
	_ = p.file.Close() // what it holds is of no interest, or it is closed
	_ = p.dir.Remove(p.part)
	_ = closeLock(p.lock)
	_ = p.dir.Close()
}

// Put writes the file name with this content; see Create.
func (w *Workspace) Put(name string, mode fs.FileMode, content []byte) error {
	p, err := w.Create(name, mode, int64(len(content)))
	if err != nil {
		return err
	}
	defer p.Discard()
	if _, err := p.Write(content); err != nil {
		return err
	}
	_, err = p.Commit(nil)
	return err
}

// A Sweeper removes parts that killed agents have left, from each directory once.
// What cannot be removed stays: it is in nobody's way. The zero value is ready; it
// is safe for concurrent use.
type Sweeper struct {
	mu    sync.Mutex
	swept map[string]struct{}
}

// sweep looks through dir, which name tells from others.
func (s *Sweeper) sweep(name string, dir *os.Root) {
	s.mu.Lock()
	_, done := s.swept[name]
	if s.swept == nil {
		s.swept = map[string]struct{}{}
	}
	s.swept[name] = struct{}{}
	s.mu.Unlock()
	if done {
		return
	}
	names, err := readNames(dir)
	if err != nil {
		return
	}
	for _, part := range names {
		if isPart(part) {
			removeLeft(dir, part)
		}
	}
}

// removeLeft removes a part unless somebody writes it.
func removeLeft(dir *os.Root, part string) {
	if info, err := dir.Lstat(part); err != nil || !info.Mode().IsRegular() {
		return
	}
	f, err := dir.OpenFile(part, os.O_RDONLY|nonblock, 0)
	if err != nil {
		return
	}
	defer f.Close() // it was only looked at
	lock, ours, err := lockFile(f)
	if err != nil || !ours || lock == nil {
		return
	}
	_ = dir.Remove(part)
	_ = lock.Close()
}

// Sweep removes from the directory itself what killed agents have left there.
func (w *Workspace) Sweep() { w.sweeper.sweep(w.dir, w.root) }
