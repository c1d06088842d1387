package zmq

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"sync/atomic"
	"time"
)

// Frame flags of ZMTP 3.
const (
	flagMore    = 1 << iota // another frame of this message follows
	flagLong                // the size has eight bytes instead of one
	flagCommand             // a command of the transport, no part of a message
)

const (
	greetingSize  = 64       // bytes of a ZMTP greeting
	maxCommand    = 8 << 10  // bytes of the largest command that is accepted
	frameOverhead = 64       // bytes that a frame counts for besides its own
	readBuffer    = 16 << 10 // bytes read at once
	writeBuffer   = 64 << 10 // bytes gathered before they are written
	writeChunk    = 256 << 10
	smallFrame    = 1 << 10   // frames up to here share memory with their neighbours
	firstPiece    = 256 << 10 // bytes taken for a large frame before any has come
)

// What a peer can do wrong on the wire. Each ends its connection.
var (
	errNotZMTP  = errors.New("peer does not speak ZMTP 3")
	errTooBig   = errors.New("peer sent more than a message may hold")
	errProtocol = errors.New("peer broke the ZMTP framing")
)

// A wire is the byte stream of one connection. It is handed to zmq4 as its
// net.Conn: during the handshake zmq4 reads through it and sees nothing but what
// has been checked, afterwards zmq4 only writes. Messages are read by
// readMessage, because zmq4 takes as much memory as a frame's header claims.
//
// One goroutine may read and one may write at the same time.
type wire struct {
	net.Conn
	br     *bufio.Reader
	limit  int64   // bytes of the largest message
	budget *budget // shared by the connections of a socket

	greeting int           // bytes of the greeting that zmq4 has still to read
	pending  []byte        // a checked frame that zmq4 has still to read
	open     bool          // the handshake is over: writes are buffered
	out      []byte        // written, not flushed
	stall    time.Duration // most that the peer may take to read a chunk; 0: any
	progress atomic.Int64  // when the last chunk was written, Unix nanoseconds
}

func newWire(c net.Conn, limit int64, b *budget, stall time.Duration) *wire {
	w := &wire{Conn: c, br: bufio.NewReaderSize(c, readBuffer), limit: limit, budget: b, stall: stall, greeting: greetingSize}
	w.progress.Store(time.Now().UnixNano())
	return w
}

// Read serves zmq4 during the handshake: the greeting, then one command after
// the other, each of a size that it may be asked to hold.
func (w *wire) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if w.greeting > 0 {
		return w.readGreeting(p)
	}
	if len(w.pending) == 0 {
		if err := w.readHandshakeFrame(); err != nil {
			return 0, err
		}
	}
	n := copy(p, w.pending)
	w.pending = w.pending[n:]
	return n, nil
}

func (w *wire) readGreeting(p []byte) (int, error) {
	if w.greeting == greetingSize {
		// What is no ZMTP, an HTTP request say, must not wait for 64 bytes.
		first, err := w.br.Peek(1)
		if err != nil {
			return 0, err
		}
		if first[0] != 0xff {
			return 0, errNotZMTP
		}
	}
	n, err := w.br.Read(p[:min(len(p), w.greeting)])
	w.greeting -= n
	return n, err
}

func (w *wire) readHandshakeFrame() error {
	flags, size, err := w.readHeader()
	if err != nil {
		return err
	}
	if flags&^flagLong != flagCommand {
		return fmt.Errorf("%w: no command during the handshake", errProtocol)
	}
	if size > maxCommand {
		return errTooBig
	}
	b := make([]byte, 9, 9+size)
	b[0] = flagCommand | flagLong
	binary.BigEndian.PutUint64(b[1:], size)
	b = b[:9+size]
	if _, err := io.ReadFull(w.br, b[9:]); err != nil {
		return unexpected(err)
	}
	w.pending = b
	return nil
}

// readHeader reads the header of a frame. It returns io.EOF only if the peer
// has closed before it.
func (w *wire) readHeader() (flags byte, size uint64, err error) {
	if flags, err = w.br.ReadByte(); err != nil {
		return 0, 0, err
	}
	if flags&^(flagMore|flagLong|flagCommand) != 0 {
		return 0, 0, fmt.Errorf("%w: unknown flags", errProtocol)
	}
	var b [8]byte
	n := b[7:]
	if flags&flagLong != 0 {
		n = b[:]
	}
	if _, err := io.ReadFull(w.br, n); err != nil {
		return 0, 0, unexpected(err)
	}
	return flags, binary.BigEndian.Uint64(b[:]), nil
}

// readMessage returns the frames of the next message; they belong to the caller.
// Commands, also those between two frames of a message, go to onCommand, whose
// argument is valid until it returns. The error is io.EOF if the peer closed
// between two messages.
func (w *wire) readMessage(onCommand func(name string, arg []byte) error) ([][]byte, error) {
	var frames [][]byte
	var a arena
	var total int64
	held := w.budget.hold()
	defer held.release()
	for {
		flags, size, err := w.readHeader()
		if err != nil {
			if frames != nil {
				err = unexpected(err)
			}
			return nil, err
		}
		if flags&flagCommand != 0 {
			if err := w.readCommand(flags, size, onCommand); err != nil {
				return nil, err
			}
			continue
		}
		if size > math.MaxInt64-frameOverhead || int64(size)+frameOverhead > w.limit-total {
			return nil, errTooBig
		}
		total += int64(size) + frameOverhead
		var frame []byte
		if size <= smallFrame {
			frame = a.take(int(size))
			if err = held.grow(int64(size) + frameOverhead); err == nil {
				_, err = io.ReadFull(w.br, frame)
			}
		} else {
			frame, err = w.readLarge(int64(size), held)
		}
		if err != nil {
			return nil, unexpected(err)
		}
		if frames == nil {
			frames = make([][]byte, 0, 8)
		}
		if frames = append(frames, frame); flags&flagMore == 0 {
			return frames, nil
		}
	}
}

// readLarge reads a frame of size bytes. It never holds more than four times
// what has arrived, whatever the header claims.
func (w *wire) readLarge(size int64, held *holding) ([]byte, error) {
	b := make([]byte, min(size, firstPiece))
	var got int64
	for {
		if err := held.grow(int64(len(b)) - got); err != nil {
			return nil, err
		}
		if _, err := io.ReadFull(w.br, b[got:]); err != nil {
			return nil, err
		}
		if got = int64(len(b)); got == size {
			return b, nil
		}
		bigger := make([]byte, min(size, 4*got))
		copy(bigger, b)
		b = bigger
	}
}

func (w *wire) readCommand(flags byte, size uint64, onCommand func(string, []byte) error) error {
	if flags&flagMore != 0 {
		return fmt.Errorf("%w: command of several frames", errProtocol)
	}
	if size > maxCommand {
		return errTooBig
	}
	b := make([]byte, size)
	if _, err := io.ReadFull(w.br, b); err != nil {
		return unexpected(err)
	}
	if len(b) == 0 || int(b[0]) > len(b)-1 {
		return fmt.Errorf("%w: command without a name", errProtocol)
	}
	return onCommand(string(b[1:1+b[0]]), b[1+b[0]:])
}

// Write gathers what zmq4 writes until Flush; during the handshake it writes at
// once. Large pieces are not copied.
func (w *wire) Write(p []byte) (int, error) {
	if len(w.out)+len(p) <= writeBuffer {
		w.out = append(w.out, p...)
		if w.open {
			return len(p), nil
		}
		return len(p), w.Flush()
	}
	if err := w.Flush(); err != nil {
		return 0, err
	}
	if len(p) < writeBuffer/4 {
		w.out = append(w.out, p...)
		return len(p), nil
	}
	return w.writeOut(p)
}

// Flush writes what has been gathered.
func (w *wire) Flush() error {
	if len(w.out) == 0 {
		return nil
	}
	_, err := w.writeOut(w.out)
	w.out = w.out[:0]
	return err
}

func (w *wire) writeOut(p []byte) (n int, err error) {
	for n < len(p) {
		now := time.Now()
		w.progress.Store(now.UnixNano())
		if w.open && w.stall > 0 {
			if err := w.SetWriteDeadline(now.Add(w.stall)); err != nil {
				return n, err
			}
		}
		k, err := w.Conn.Write(p[n:min(len(p), n+writeChunk)])
		if n += k; err != nil {
			return n, err
		}
	}
	return n, nil
}

// unexpected turns the end of the stream where more must follow into an error.
func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// An arena hands out memory for small frames from one allocation for several.
type arena struct{ free []byte }

func (a *arena) take(n int) []byte {
	if n > len(a.free) {
		a.free = make([]byte, smallFrame)
	}
	b := a.free[:n:n]
	a.free = a.free[n:]
	return b
}

// A budget bounds what the unfinished messages of several connections hold
// together. It is safe for concurrent use.
type budget struct {
	max  int64
	used atomic.Int64
}

func (b *budget) hold() *holding { return &holding{budget: b} }

// A holding is what one message has taken from a budget.
type holding struct {
	budget *budget
	n      int64
}

func (h *holding) grow(n int64) error {
	h.n += n
	if h.budget.used.Add(n) > h.budget.max {
		return fmt.Errorf("%w: too much is on its way already", errTooBig)
	}
	return nil
}

func (h *holding) release() {
	if h.n != 0 {
		h.budget.used.Add(-h.n)
		h.n = 0
	}
}
