package session

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"

	"github.com/gokernel/gokernel/session/wire"
)

// A parcel is the files of a run, in the order of their names, each with its
// hash. It is for one goroutine at a time, but for send. Close it when the run
// is over.
type parcel struct {
	manifest []wire.Manifest // what the run says of them
	contents []content       // where they are, by the same index
}

// A content is where the content of a file is. Only one of its fields is set, or
// none when it is bytes that are empty.
type content struct {
	bytes []byte
	path  string
	seek  io.ReadSeeker // from start on
	start int64
	spool *os.File // a temporary file of ours
}

// pack hashes files. What cannot be read is an error that names the file; then
// nothing is left of it. A Reader that cannot seek is read to a temporary file.
func pack(ctx context.Context, files map[string]File) (*parcel, error) {
	p := new(parcel)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		file := files[name]
		m, c, err := packFile(ctx, name, &file)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("file %s: %w", name, err), p.close())
		}
		p.manifest = append(p.manifest, m)
		p.contents = append(p.contents, c)
	}
	return p, nil
}

func packFile(ctx context.Context, name string, f *File) (wire.Manifest, content, error) {
	m := wire.Manifest{Path: name, Mode: uint32(f.Mode.Perm())}
	var c content
	var err error
	hash := sha256.New()
	switch {
	case f.Path != "":
		c.path = f.Path
		var file *os.File
		var info fs.FileInfo
		if file, info, err = openRegular(f.Path); err != nil {
			return m, c, err
		}
		if m.Mode == 0 {
			m.Mode = uint32(info.Mode().Perm())
		}
		m.Size, err = copyAll(ctx, hash, file)
		err = errors.Join(err, file.Close())
	case f.Reader != nil:
		c, m.Size, err = packReader(ctx, hash, f.Reader)
	default:
		c.bytes = f.Bytes
		m.Size, err = copyAll(ctx, hash, bytes.NewReader(f.Bytes))
	}
	m.SHA256 = hex.EncodeToString(hash.Sum(nil))
	return m, c, err
}

// packReader reads r to its end.
func packReader(ctx context.Context, hash io.Writer, r io.Reader) (c content, size int64, err error) {
	if seeker, ok := r.(io.ReadSeeker); ok {
		if start, err := seeker.Seek(0, io.SeekCurrent); err == nil {
			size, err = copyAll(ctx, hash, r)
			return content{seek: seeker, start: start}, size, err
		}
	}
	spool, err := os.CreateTemp("", "gokernel-*")
	if err != nil {
		return c, 0, err
	}
	_ = os.Remove(spool.Name()) // where an open file can be removed nothing can leave it behind
	size, err = copyAll(ctx, io.MultiWriter(hash, spool), r)
	c.spool = spool
	if err != nil {
		return c, size, errors.Join(err, c.close())
	}
	return c, size, nil
}

// openRegular opens a file of the host that has a size and an end.
func openRegular(path string) (*os.File, fs.FileInfo, error) {
	info, err := os.Stat(path) // a pipe without a writer would not open
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is a %s, not a regular file", path, kindOf(info.Mode()))
	}
	if err != nil {
		return nil, nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	if info, err = f.Stat(); err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	return f, info, nil
}

func kindOf(mode fs.FileMode) string {
	switch {
	case mode.IsDir():
		return "directory"
	case mode&fs.ModeNamedPipe != 0:
		return "pipe"
	case mode&fs.ModeSocket != 0:
		return "socket"
	}
	return "device"
}

// copyAll copies until the end of r or of ctx.
func copyAll(ctx context.Context, w io.Writer, r io.Reader) (n int64, err error) {
	buf := make([]byte, wire.MaxData)
	for {
		k, err := fill(r, buf)
		if err != nil && err != io.EOF {
			return n, err
		}
		if ctx.Err() != nil {
			return n, context.Cause(ctx)
		}
		if _, err := w.Write(buf[:k]); err != nil {
			return n, err
		}
		n += int64(k)
		if err != nil {
			return n, nil
		}
	}
}

// open returns the content from its beginning. Closing it leaves the parcel's
// own files open.
func (c *content) open() (io.ReadCloser, error) {
	switch {
	case c.path != "":
		f, _, err := openRegular(c.path)
		return f, err
	case c.seek != nil:
		_, err := c.seek.Seek(c.start, io.SeekStart)
		return io.NopCloser(c.seek), err
	case c.spool != nil:
		_, err := c.spool.Seek(0, io.SeekStart)
		return io.NopCloser(c.spool), err
	}
	return io.NopCloser(bytes.NewReader(c.bytes)), nil
}

func (c *content) close() error {
	if c.spool == nil {
		return nil
	}
	err := c.spool.Close()
	if removeErr := os.Remove(c.spool.Name()); !errors.Is(removeErr, fs.ErrNotExist) {
		err = errors.Join(err, removeErr)
	}
	return err
}

// close removes what the parcel has put aside.
func (p *parcel) close() error {
	var err error
	for i := range p.contents {
		err = errors.Join(err, p.contents[i].close())
	}
	p.contents = nil
	return err
}

// send sends the files that the agent asks for, as the run with this id, and
// returns when they are there. After an error the run has to be ended: the agent
// may wait for what does not come.
func (p *parcel) send(ctx context.Context, s *Session, run string, need *wire.Need) error {
	for _, i := range need.Files {
		if i < 0 || i >= len(p.contents) {
			return fmt.Errorf("session %s asks for file %d of %d", s.id, i, len(p.contents))
		}
	}
	_, err := s.transferEach(ctx, run, len(need.Files), true, func(ctx context.Context, l *transferLink, k int) error {
		i := need.Files[k]
		m := &p.manifest[i]
		r, err := p.contents[i].open()
		if err != nil {
			err = &localError{err}
		} else {
			_, err = l.put(ctx, wire.Transfer{Run: run, Index: i}, r)
			err = errors.Join(err, r.Close())
		}
		if err != nil {
			return s.about("sending", m.Path, err)
		}
		return nil
	})
	return err
}
