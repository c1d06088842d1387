package session

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/gokernel/gokernel/session/wire"
)

const (
	// linksAtOnce is how many transfer connections a run has at a time.
	linksAtOnce = 2
	// maxTries is how often a file is tried whose connection breaks.
	maxTries = 4
	// maxReserved is how much memory a size that is only said reserves.
	maxReserved = 64 << 20
)

// transferEach calls do for 0 to n-1, on a few connections at once, again for
// what failed because its connection broke. It returns how each went. When
// together is set the first that fails ends the others, and is first.
func (s *Session) transferEach(ctx context.Context, run string, n int, together bool,
	do func(context.Context, *transferLink, int) error,
) (errs []error, first error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	errs = make([]error, n)
	next := make(chan int, n)
	for i := range n {
		next <- i
	}
	close(next)
	var workers sync.WaitGroup
	for range min(n, linksAtOnce) {
		workers.Go(func() {
			var l *transferLink
			for i := range next {
				errs[i] = s.transferOne(ctx, run, &l, func(l *transferLink) error { return do(ctx, l, i) })
				if errs[i] != nil && together {
					cancel(errs[i])
				}
			}
			if l != nil {
				l.close()
			}
		})
	}
	workers.Wait()
	return errs, context.Cause(ctx)
}

// transferOne performs one transfer on *link, which is dialled when it is nil,
// and again on another when that breaks.
func (s *Session) transferOne(ctx context.Context, run string, link **transferLink, do func(*transferLink) error) error {
	for try := 1; ; try++ {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		var err error
		if *link == nil {
			*link, err = s.dialTransfer(ctx, run)
		}
		if l := *link; err == nil {
			err = do(l)
			if l.broken {
				l.close()
				*link = nil
			}
		}
		var local *localError
		if err == nil || ctx.Err() != nil || errors.As(err, &local) || !isLinkError(err) || try == maxTries {
			return err
		}
		s.m.log.Debug("a transfer's connection broke", "session", s.id, "error", err)
		if err := pause(ctx, firstPause<<try); err != nil {
			return err
		}
	}
}

// fetch gets what the agent offers of downloads, as the run with this id. What
// it returns has an element for each of downloads: one failure does not spoil
// the others.
func (s *Session) fetch(ctx context.Context, run string, offer *wire.Offer, downloads []Download) []Downloaded {
	out := make([]Downloaded, len(downloads))
	errs, _ := s.transferEach(ctx, run, len(downloads), false, func(ctx context.Context, l *transferLink, i int) error {
		if i >= len(offer.Files) {
			return errors.New("the session does not offer it")
		}
		offered := &offer.Files[i]
		if offered.Error != "" {
			return &transferError{code: offered.Code, text: offered.Error}
		}
		d, err := fetchOne(ctx, l, wire.Transfer{Run: run, Index: i}, offered, downloads[i].Target)
		out[i] = d
		return err
	})
	for i, err := range errs {
		if err != nil {
			out[i] = Downloaded{Err: s.about("fetching", downloads[i].Path, err)}
		}
	}
	return out
}

// fetchOne gets one file into memory or, when target is not empty, to there.
func fetchOne(ctx context.Context, l *transferLink, t wire.Transfer, offered *wire.Offered, target string) (d Downloaded, err error) {
	if target == "" {
		b := bytes.NewBuffer(make([]byte, 0, min(max(offered.Size, 0), maxReserved)))
		d.Size, err = l.get(ctx, t, b)
		d.Bytes = b.Bytes()
		return d, err
	}
	f, err := createTarget(target, fs.FileMode(offered.Mode).Perm())
	if err != nil {
		return d, &localError{err}
	}
	d.Target = target
	if d.Size, err = l.get(ctx, t, f); err != nil {
		return d, errors.Join(err, f.discard())
	}
	if err := f.commit(); err != nil {
		return d, &localError{err}
	}
	return d, nil
}

// A targetFile is a file that comes to be beside where it is to appear.
type targetFile struct {
	*os.File
	path string // where it is to appear
}

// createTarget makes a file that is to appear at target, whose directory must
// exist. A symbolic link there stays, what it names is replaced.
func createTarget(target string, mode fs.FileMode) (*targetFile, error) {
	path, err := filepath.EvalSymlinks(target)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		path = target
	case err != nil:
		return nil, err
	}
	if info, err := os.Lstat(path); err == nil && !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is a %s, not a regular file", target, kindOf(info.Mode()))
	}
	if mode == 0 {
		mode = 0o644
	}
	var unique [8]byte
	_, _ = rand.Read(unique[:]) // never fails
	name := filepath.Join(filepath.Dir(path), ".gokernel-"+hex.EncodeToString(unique[:])+".part")
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return nil, fmt.Errorf("writing %s: %w", target, withoutPath(err))
	}
	return &targetFile{File: f, path: path}, nil
}

// Write says in its error which file it is about.
func (f *targetFile) Write(b []byte) (int, error) {
	n, err := f.File.Write(b)
	if err != nil {
		return n, fmt.Errorf("writing %s: %w", f.path, withoutPath(err))
	}
	return n, nil
}

// commit makes the file appear.
func (f *targetFile) commit() error {
	err := f.Close()
	if err == nil {
		err = os.Rename(f.Name(), f.path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("writing %s: %w", f.path, withoutPath(err)), os.Remove(f.Name()))
	}
	return nil
}

// discard removes the file.
func (f *targetFile) discard() error { return errors.Join(f.Close(), os.Remove(f.Name())) }

// withoutPath takes the name of a temporary file out of err.
func withoutPath(err error) error {
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
