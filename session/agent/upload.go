package agent

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io/fs"
	"maps"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/gokernel/gokernel/session/agent/files"
	"github.com/gokernel/gokernel/session/wire"
)

// workdir returns the working directory of a run, which is there. A relative one
// is below the session's own and made if it is missing.
func (a *Agent) workdir(spec *wire.Run) (string, error) {
	dir := a.config.Dir
	switch {
	case spec == nil || spec.Cwd == "" || spec.Cwd == "." || spec.Cwd == "./":
	case strings.ContainsRune(spec.Cwd, 0):
		return "", errors.New("working directory: its path contains a NUL")
	case filepath.IsAbs(spec.Cwd):
		dir = filepath.Clean(spec.Cwd)
	default:
		space, err := files.Open(a.config.Dir, &a.sweeper)
		if err != nil {
			return "", err
		}
		name := strings.TrimRight(spec.Cwd, "/")
		if err := errors.Join(space.MkdirAll(name), space.Close()); err != nil {
			return "", err
		}
		dir = filepath.Join(a.config.Dir, filepath.FromSlash(name))
	}
	info, err := os.Stat(dir)
	if err == nil && !info.IsDir() {
		err = fmt.Errorf("%s is no directory", dir)
	}
	if err != nil {
		return "", fmt.Errorf("working directory: %w", err)
	}
	return dir, nil
}

// upload performs the stage uploading of r: the files that came with it are
// written, and those that its caller has are asked for, where the session does
// not have them with that content. It returns when all are there.
func (a *Agent) upload(ctx context.Context, r *request, dir string, report report) error {
	if err := checkFiles(r.run); err != nil {
		return err
	}
	space, err := files.Open(dir, &a.sweeper)
	if err != nil {
		return err
	}
	return errors.Join(a.uploadTo(ctx, r, space, report), space.Close())
}

func (a *Agent) uploadTo(ctx context.Context, r *request, space *files.Workspace, report report) error {
	report("comparing files", 0, 0, "")
	x := newExchange(r, space, "sending files", report)
	var inline []string
	for _, name := range slices.Sorted(maps.Keys(r.run.Files)) {
		content := r.run.Files[name]
		sum := files.SumBytes(content)
		has, err := space.Has(ctx, &wire.Manifest{Path: name, Size: sum.Size, SHA256: sum.SHA256})
		if err != nil {
			return err
		}
		if !has {
			inline = append(inline, name)
			x.total += sum.Size
		}
	}
	need := wire.Need{}
	asked := map[string]bool{}
	for i := range r.run.Manifest {
		m := &r.run.Manifest[i]
		has, err := space.Has(ctx, m)
		if err != nil {
			return err
		}
		if has && m.Mode != 0 {
			has = space.Chmod(m.Path, fs.FileMode(m.Mode)) == nil // one of somebody else is replaced
		}
		if name, _ := wire.CleanPath(m.Path); !has && !asked[name] {
			asked[name] = true
			need.Files = append(need.Files, i)
			x.needed[i], x.missing[i] = m, true
			x.total += m.Size
		}
	}
	for _, name := range inline {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		content := r.run.Files[name]
		if err := space.Put(name, 0, content); err != nil {
			return err
		}
		x.mu.Lock()
		x.count(int64(len(content)))
		x.mu.Unlock()
	}
	if len(need.Files) == 0 {
		return nil
	}
	return a.exchange(ctx, x, wire.MsgNeed, need)
}

var sha256Form = regexp.MustCompile(`^[0-9a-f]{64}$`)

// checkFiles returns an error when the files that a run brings make no sense:
// one that is named twice must have the same content both times.
func checkFiles(spec *wire.Run) error {
	seen := map[string]files.Checksum{}
	add := func(name string, sum files.Checksum) error {
		clean, err := wire.CleanPath(name)
		if err != nil {
			return fmt.Errorf("file %.200q: %w", name, err)
		}
		if before, ok := seen[clean]; ok && before != sum {
			return fmt.Errorf("file %.200q: it is named twice, with different content", clean)
		}
		seen[clean] = sum
		return nil
	}
	for name, content := range spec.Files {
		if err := add(name, files.SumBytes(content)); err != nil {
			return err
		}
	}
	for _, m := range spec.Manifest {
		if m.Size < 0 || !sha256Form.MatchString(m.SHA256) {
			return fmt.Errorf("file %.200q: its size or its SHA-256 makes no sense", m.Path)
		}
		if err := add(m.Path, files.Checksum{Size: m.Size, SHA256: m.SHA256}); err != nil {
			return err
		}
	}
	return nil
}

// incoming returns where the put of a file goes that a run has asked for.
func (a *Agent) incoming(c net.Conn, t *wire.Transfer) (sink, error) {
	x, part, err := a.join(c, t.Run)
	if err != nil {
		return nil, err
	}
	m := x.needed[t.Index]
	if m == nil {
		part.leave()
		return nil, fmt.Errorf("%w: run %s does not ask for file %d", errBad, quoteID(t.Run), t.Index)
	}
	want := files.Checksum{Size: m.Size, SHA256: m.SHA256}
	if part == nil || !x.misses(t.Index) {
		return &repeatedFile{hash: sha256.New(), want: want, part: part}, nil
	}
	w, err := x.space.Create(m.Path, fs.FileMode(m.Mode), m.Size)
	if err != nil {
		part.leave()
		x.finish(err)
		return nil, err
	}
	return &incomingFile{Writer: w, x: x, part: part, index: t.Index, want: want}, nil
}

func (x *exchange) misses(index int) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.missing[index]
}

// An incomingFile is the sink of a put that a run has asked for.
type incomingFile struct {
	*files.Writer
	x       *exchange
	part    *share
	index   int
	want    files.Checksum
	counted int64
}

func (f *incomingFile) Write(b []byte) (int, error) {
	n, err := f.Writer.Write(b)
	f.counted += int64(n)
	f.x.mu.Lock()
	f.x.count(int64(n))
	f.x.mu.Unlock()
	return n, err
}

// commit makes the file appear, unless the stage is over meanwhile. When it is
// not what was announced, the stage has failed.
func (f *incomingFile) commit() (files.Checksum, error) {
	defer f.part.leave()
	f.part.letGo() // that the last has come ends the exchange, but not the connection
	f.x.mu.Lock()
	defer f.x.mu.Unlock()
	if f.x.over || f.x.ended {
		f.Discard()
		return files.Checksum{}, fmt.Errorf("%w: the run waits for no files any more", errBad)
	}
	sum, err := f.Commit(&f.want)
	if err != nil {
		f.x.finishLocked(err)
		return sum, err
	}
	f.counted = 0
	delete(f.x.missing, f.index)
	if len(f.x.missing) == 0 {
		f.x.finishLocked(nil)
	}
	return sum, nil
}

func (f *incomingFile) discard(why error) {
	f.part.letGo()
	f.Discard()
	f.x.mu.Lock()
	f.x.count(-f.counted)
	f.counted = 0
	if why != nil {
		f.x.finishLocked(why)
	}
	f.x.mu.Unlock()
	f.part.leave()
}

// A repeatedFile is the sink of a put that has come before, to an end that its
// front did not hear of.
type repeatedFile struct {
	hash hash.Hash
	size int64
	want files.Checksum
	part *share // nil when the exchange is over
}

func (f *repeatedFile) Write(b []byte) (int, error) {
	f.size += int64(len(b))
	return f.hash.Write(b)
}

func (f *repeatedFile) commit() (files.Checksum, error) {
	f.part.leave()
	got := files.Checksum{Size: f.size, SHA256: hex.EncodeToString(f.hash.Sum(nil))}
	if got != f.want {
		return got, fmt.Errorf("%w, which has come before", files.ErrChanged)
	}
	return got, nil
}

func (f *repeatedFile) discard(error) { f.part.leave() }
