package session

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"time"

	"github.com/gokernel/gokernel/sandbox"
	"github.com/gokernel/gokernel/session/wire"
)

// transferPacket is the largest packet on a transfer connection: a full part
// and its head.
const transferPacket = wire.MaxData + 64<<10

// A transferError is an agent's word on a file or a command: what it has to say
// is final, the connection is not to blame.
type transferError struct {
	code string
	text string
}

func (e *transferError) Error() string { return e.text }

// Is makes the error of a file that is not there one of fs.ErrNotExist.
func (e *transferError) Is(target error) bool {
	return target == fs.ErrNotExist && e.code == wire.CodeNotExist
}

// A localError is one of this side: of a file to send, or of where one is to go.
type localError struct{ err error }

func (e *localError) Error() string { return e.err.Error() }
func (e *localError) Unwrap() error { return e.err }

// A transferLink is one transfer connection. It is for one goroutine, and for
// one transfer after the other. It starts a goroutine for each put, which ends
// with it.
type transferLink struct {
	conn   net.Conn
	r      *wire.Reader
	w      *wire.Writer
	buf    []byte
	broken bool // it cannot be used any more
}

// dialTransfer opens a transfer connection. owner is a run's id or, for files
// by path and commands, "".
func (s *Session) dialTransfer(ctx context.Context, owner string) (*transferLink, error) {
	c, r, _, err := s.hello(ctx, wire.Hello{Link: wire.LinkTransfer, Owner: owner})
	if errors.Is(err, sandbox.ErrNotFound) && !errors.Is(err, ErrNotFound) {
		return nil, fmt.Errorf("session %s: %w: %w", s.id, ErrDead, err)
	}
	if err != nil && ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if err != nil {
		return nil, err
	}
	if b, ok := c.(interface{ SetWriteBuffer(int) error }); ok {
		_ = b.SetWriteBuffer(wire.MaxData) // slower without, no more
	}
	r.SetLimit(transferPacket)
	return &transferLink{conn: c, r: r, w: wire.NewWriter(c)}, nil
}

func (l *transferLink) close() { _ = l.conn.Close() } // its error says nothing after what the reads and writes said

// guard lets ctx end what is under way. The function that it returns ends that,
// and gives the error the cause that it had.
func (l *transferLink) guard(ctx context.Context, err *error) func() {
	stop := context.AfterFunc(ctx, func() { _ = l.conn.SetDeadline(time.Unix(1, 0)) })
	return func() {
		if stop() {
			return
		}
		l.broken = true
		if *err != nil {
			*err = context.Cause(ctx)
		}
	}
}

func (l *transferLink) send(head any, parts ...[]byte) error {
	p, err := wire.NewPacket(head, parts...)
	if err == nil {
		err = l.w.Write(p)
	}
	if err == nil {
		err = l.w.Flush()
	}
	if err != nil {
		l.broken = true
	}
	return err
}

// readEnd reads the agent's answer to a put.
func (l *transferLink) readEnd() (*wire.End, error) {
	p, err := l.r.Read()
	if err != nil {
		return nil, noEOF(err)
	}
	return parseEnd(p)
}

// parseEnd returns the end in p, or its error.
func parseEnd(p *wire.Packet) (*wire.End, error) {
	end := new(wire.End)
	if err := json.Unmarshal(p.Head, end); err != nil || end.Type != wire.TypeEnd {
		return nil, fmt.Errorf("%w: %q in place of an end", wire.ErrPacket, p.Type())
	}
	if end.Error != "" || end.Code != "" {
		return nil, &transferError{code: end.Code, text: end.Error}
	}
	return end, nil
}

// put sends content as the file that t names and returns its size. What cannot
// be read of content is a localError.
func (l *transferLink) put(ctx context.Context, t wire.Transfer, content io.Reader) (size int64, err error) {
	defer l.guard(ctx, &err)()
	t.Type = wire.TypePut
	if err := l.send(t); err != nil {
		return 0, err
	}
	type answer struct {
		end *wire.End
		err error
	}
	answers := make(chan answer, 1)
	go func() {
		end, err := l.readEnd()
		answers <- answer{end, err}
	}()
	sent, sentErr := l.putData(ctx, content, func() bool { return len(answers) > 0 })
	var local *localError
	whole := false
	switch {
	case errors.As(sentErr, &local):
		l.broken = true
		_ = l.send(wire.End{Type: wire.TypeEnd, Error: local.Error()}) // if it does not arrive, the link's end says it
		l.close()
	case ctx.Err() != nil:
		l.broken = true
		l.close()
	case sentErr != nil || len(answers) > 0:
		l.broken = true // the agent may have said why
		_ = l.conn.SetReadDeadline(time.Now().Add(lastTime))
	default:
		sentErr = l.send(wire.End{Type: wire.TypeEnd, Size: sent})
		whole = true
	}
	a := <-answers
	var refused *transferError
	switch {
	case local != nil:
		return 0, local
	case errors.As(a.err, &refused):
		return 0, refused
	case sentErr != nil:
		return 0, sentErr
	case a.err != nil:
		l.broken = true
		return 0, a.err
	case !whole || a.end.Size != sent:
		l.broken = true
		return 0, fmt.Errorf("%w: %d bytes have arrived of %d", wire.ErrPacket, a.end.Size, sent)
	}
	return sent, nil
}

// putData sends what is read from content until stop says that nobody wants it.
func (l *transferLink) putData(ctx context.Context, content io.Reader, stop func() bool) (sent int64, err error) {
	if l.buf == nil {
		l.buf = make([]byte, wire.MaxData)
	}
	for !stop() {
		n, err := fill(content, l.buf)
		if err != nil && err != io.EOF {
			return sent, &localError{err}
		}
		if ctx.Err() != nil {
			return sent, context.Cause(ctx)
		}
		if n > 0 {
			if err := l.send(wire.Data{Type: wire.TypeData}, l.buf[:n]); err != nil {
				return sent, err
			}
			sent += int64(n)
		}
		if err != nil {
			return sent, nil
		}
	}
	return sent, nil
}

// fill reads until b is full or r gives an error, which is io.EOF only at the end
// of r.
func fill(r io.Reader, b []byte) (n int, err error) {
	for idle := 0; n < len(b) && err == nil; {
		var k int
		k, err = r.Read(b[n:])
		n += k
		if idle++; k > 0 {
			idle = 0
		}
		if idle == 100 && err == nil {
			err = io.ErrNoProgress
		}
	}
	return n, err
}

// get writes the file that t names to w and returns its size. An error of w is
// a localError.
func (l *transferLink) get(ctx context.Context, t wire.Transfer, w io.Writer) (size int64, err error) {
	defer l.guard(ctx, &err)()
	t.Type = wire.TypeGet
	if err := l.send(t); err != nil {
		return 0, err
	}
	hash := sha256.New()
	end, err := l.receive(func(_ string, part []byte) error {
		size += int64(len(part))
		_, _ = hash.Write(part) // never fails
		_, err := w.Write(part)
		return err
	})
	switch {
	case err != nil:
		return size, err
	case end.Size != size || end.SHA256 != hex.EncodeToString(hash.Sum(nil)):
		l.broken = true
		return size, fmt.Errorf("%w: what has arrived is not what was sent", wire.ErrPacket)
	}
	return size, nil
}

// receive hands the bytes of data packets to take until the end comes. An error
// of take is a localError.
func (l *transferLink) receive(take func(name string, part []byte) error) (*wire.End, error) {
	for {
		p, err := l.r.Read()
		if err != nil {
			l.broken = true
			return nil, noEOF(err)
		}
		var head wire.Data
		if err := json.Unmarshal(p.Head, &head); err != nil {
			l.broken = true
			return nil, fmt.Errorf("%w: %w", wire.ErrPacket, err)
		}
		if head.Type != wire.TypeData {
			end, err := parseEnd(p)
			var said *transferError
			l.broken = err != nil && !errors.As(err, &said)
			return end, err
		}
		if err := take(head.Name, p.Part(0)); err != nil {
			l.broken = true
			return nil, &localError{err}
		}
		l.r.Recycle(p)
	}
}

func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
