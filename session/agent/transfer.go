package agent

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

	"github.com/gokernel/gokernel/session/agent/files"
	"github.com/gokernel/gokernel/session/wire"
)

const (
	// maxTransfers is how many transfer connections there may be at once.
	maxTransfers = 64
	// transferPacket is the largest packet on one, in bytes: a full part and its
	// head, which for a command may be long.
	transferPacket = wire.MaxData + 256<<10
)

// errCut is wrapped by errors about a transfer that is not brought to its end.
var errCut = errors.New("the transfer was cut short")

// A transferLink is one transfer connection. It performs one transfer after the
// other, in the goroutine that serves the connection. A command has three more:
// one for each of its outputs and one that waits for what the front says next,
// which ends with the connection.
type transferLink struct {
	a     *Agent
	conn  net.Conn
	r     *wire.Reader
	w     *wire.Writer
	buf   []byte
	ahead chan packetRead // a read that is under way; nil when none is
}

type packetRead struct {
	packet *wire.Packet
	err    error
}

// serveTransfer serves a transfer connection.
func (a *Agent) serveTransfer(ctx context.Context, c net.Conn, r *wire.Reader, welcome *wire.Welcome) error {
	if n := a.links.Add(1); n > maxTransfers {
		a.links.Add(-1)
		return refuse(c, wire.CodeBad, fmt.Sprintf("there are %d transfer connections already", maxTransfers))
	}
	defer a.links.Add(-1)
	err := writeHead(c, welcome)
	if err == nil {
		err = c.SetDeadline(time.Time{})
	}
	if err != nil {
		return err
	}
	if b, ok := c.(interface{ SetWriteBuffer(int) error }); ok {
		_ = b.SetWriteBuffer(wire.MaxData) // slower without, no more
	}
	r.SetLimit(transferPacket)
	l := &transferLink{a: a, conn: c, r: r, w: wire.NewWriter(c)}
	defer l.end()
	for {
		packet, err := l.read()
		if err != nil {
			return err
		}
		if err := l.perform(ctx, packet); err != nil {
			return err
		}
	}
}

// end ends the connection and waits for the read that is under way.
func (l *transferLink) end() {
	_ = l.conn.Close() // it has been said already what was wrong with it
	if l.ahead != nil {
		<-l.ahead
	}
}

// read returns the next packet.
func (l *transferLink) read() (*wire.Packet, error) {
	if ahead := l.ahead; ahead != nil {
		l.ahead = nil
		got := <-ahead
		return got.packet, got.err
	}
	return l.r.Read()
}

// readAhead reads the next packet in a goroutine of its own.
func (l *transferLink) readAhead() {
	ahead := make(chan packetRead, 1)
	l.ahead = ahead
	go func() {
		packet, err := l.r.Read()
		ahead <- packetRead{packet, err}
	}()
}

// perform performs the transfer that packet begins. An error ends the
// connection.
func (l *transferLink) perform(ctx context.Context, packet *wire.Packet) error {
	defer l.a.transferring()()
	kind := packet.Type()
	switch kind {
	case wire.TypePut, wire.TypeGet:
		var t wire.Transfer
		if err := json.Unmarshal(packet.Head, &t); err != nil {
			return fmt.Errorf("%w: head of a transfer: %w", wire.ErrPacket, err)
		}
		if kind == wire.TypePut {
			return l.put(&t)
		}
		return l.get(&t)
	case wire.TypeCommand:
		var h wire.CommandHead
		if err := json.Unmarshal(packet.Head, &h); err != nil {
			return fmt.Errorf("%w: head of a command: %w", wire.ErrPacket, err)
		}
		return l.command(ctx, &h)
	}
	return fmt.Errorf("%w: %.40q begins no transfer", wire.ErrPacket, kind)
}

// transferring notes that a transfer goes on, which holds the session. The
// function that it returns says that it is over.
func (a *Agent) transferring() (over func()) {
	a.mu.Lock()
	a.transfers++
	a.mu.Unlock()
	a.touch()
	return func() {
		a.queue.used()
		a.mu.Lock()
		a.transfers--
		if !a.idleFrom.IsZero() { // it was over before the lease had seen it
			a.idleFrom = time.Now()
		}
		a.mu.Unlock()
		a.touch()
	}
}

// send sends a packet.
func (l *transferLink) send(head any, parts ...[]byte) error {
	p, err := wire.NewPacket(head, parts...)
	if err == nil {
		err = l.w.Write(p)
	}
	if err == nil {
		err = l.w.Flush()
	}
	return err
}

// fail says that a transfer has failed.
func (l *transferLink) fail(err error) error {
	return l.send(wire.End{Type: wire.TypeEnd, Code: codeOf(err), Error: err.Error()})
}

// codeOf returns the code of an error about a file.
func codeOf(err error) string {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return wire.CodeNotExist
	case errors.Is(err, files.ErrBad), errors.Is(err, errBad):
		return wire.CodeBad
	}
	return wire.CodeFailed
}

// A sink is where a put goes. It is ended by commit or by discard; after commit
// discard does nothing.
type sink interface {
	Write(b []byte) (int, error)
	// commit says that all is there.
	commit() (files.Checksum, error)
	// discard says that no more comes; why is nil when the connection has broken
	// and it may come again.
	discard(why error)
}

// put takes a file.
func (l *transferLink) put(t *wire.Transfer) error {
	to, err := l.sink(t)
	if err != nil {
		return l.refuse(err)
	}
	defer to.discard(nil)
	for size := int64(0); ; {
		packet, err := l.read()
		if err != nil {
			return err
		}
		kind, end, err := parsePut(packet)
		switch {
		case err != nil:
			return err
		case kind == wire.TypeData:
			n, err := to.Write(packet.Part(0))
			if err != nil {
				to.discard(err)
				return l.refuse(err)
			}
			size += int64(n)
			l.r.Recycle(packet)
			continue
		case end.Error != "":
			to.discard(fmt.Errorf("%w: %s", errCut, end.Error))
			return fmt.Errorf("%w by the front", errCut)
		case end.Size != size:
			return fmt.Errorf("%w: a put of %d bytes that ends as one of %d", wire.ErrPacket, size, end.Size)
		}
		sum, err := to.commit()
		if err != nil {
			return l.fail(err)
		}
		return l.send(wire.End{Type: wire.TypeEnd, Size: sum.Size, SHA256: sum.SHA256})
	}
}

// refuse says that the put that has begun has failed, and passes over the rest
// of it.
func (l *transferLink) refuse(why error) error {
	if err := l.fail(why); err != nil {
		return err
	}
	for {
		packet, err := l.read()
		if err != nil {
			return err
		}
		kind, _, err := parsePut(packet)
		if err != nil || kind == wire.TypeEnd {
			return err
		}
		l.r.Recycle(packet)
	}
}

// parsePut returns what a packet of a put is.
func parsePut(packet *wire.Packet) (kind string, end wire.End, err error) {
	if err := json.Unmarshal(packet.Head, &end); err != nil {
		return "", end, fmt.Errorf("%w: head within a put: %w", wire.ErrPacket, err)
	}
	switch {
	case end.Type == wire.TypeData && len(packet.Parts) != 1, end.Type == wire.TypeEnd && len(packet.Parts) != 0:
		return "", end, fmt.Errorf("%w: a packet of a put with %d parts", wire.ErrPacket, len(packet.Parts))
	case end.Type != wire.TypeData && end.Type != wire.TypeEnd:
		return "", end, fmt.Errorf("%w: %.40q within a put", wire.ErrPacket, end.Type)
	}
	return end.Type, end, nil
}

// sink returns where a put goes.
func (l *transferLink) sink(t *wire.Transfer) (sink, error) {
	if t.Run != "" {
		return l.a.incoming(l.conn, t)
	}
	space, err := files.Open(l.a.config.Dir, &l.a.sweeper)
	if err != nil {
		return nil, err
	}
	w, err := space.Create(t.Path, fs.FileMode(t.Mode).Perm(), -1)
	return namedFile{w}, errors.Join(err, space.Close())
}

// A namedFile is the sink of a put by path.
type namedFile struct{ *files.Writer }

func (f namedFile) commit() (files.Checksum, error) { return f.Commit(nil) }
func (f namedFile) discard(error)                   { f.Discard() }

// A source is where a get comes from.
type source interface {
	io.Reader
	// over says that the get has ended. It may be called again.
	over()
}

// get sends a file.
func (l *transferLink) get(t *wire.Transfer) error {
	from, err := l.source(t)
	if err != nil {
		return l.fail(err)
	}
	defer from.over()
	if l.buf == nil {
		l.buf = make([]byte, wire.MaxData)
	}
	hash := sha256.New()
	for size := int64(0); ; {
		n, err := from.Read(l.buf)
		if n > 0 {
			if err := l.send(wire.Data{Type: wire.TypeData}, l.buf[:n]); err != nil {
				return err
			}
			size += int64(n)
			_, _ = hash.Write(l.buf[:n]) // never fails
		}
		if errors.Is(err, io.EOF) {
			from.over() // what the front does when it hears of it is not to meet it
			return l.send(wire.End{Type: wire.TypeEnd, Size: size, SHA256: hex.EncodeToString(hash.Sum(nil))})
		}
		if err != nil {
			return l.fail(err)
		}
	}
}

// source returns where a get comes from.
func (l *transferLink) source(t *wire.Transfer) (source, error) {
	if t.Run != "" {
		return l.a.outgoing(l.conn, t)
	}
	space, err := files.Open(l.a.config.Dir, &l.a.sweeper)
	if err != nil {
		return nil, err
	}
	r, err := space.Read(t.Path)
	return storedFile{r}, errors.Join(err, space.Close())
}

// A storedFile is the source of a get by path.
type storedFile struct{ *files.Reader }

func (f storedFile) over() { f.Close() }

// list returns files of a directory.
func (a *Agent) list(args *wire.ListArgs) ([]wire.FileInfo, error) {
	space, err := files.Open(a.config.Dir, &a.sweeper)
	if err != nil {
		return nil, err
	}
	list, err := space.List(args.Path, args.After, wire.MaxList)
	return list, errors.Join(err, space.Close())
}

// sweep removes from the working directory what earlier agents of this session
// have left there when they were killed. Below it that is done where files are
// written.
func (a *Agent) sweep() {
	if a.journal.Epoch() == 1 {
		return
	}
	space, err := files.Open(a.config.Dir, &a.sweeper)
	if err != nil {
		return // whoever needs it is told
	}
	space.Sweep()
	_ = space.Close() // it was only read
}
