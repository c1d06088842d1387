package wire

import (
	"io"
	"net"
)

const (
	// gatherSize is how much a Writer gathers before it writes.
	gatherSize = 64 << 10
	// largePart is from which size on a part is written from where it is.
	largePart = 16 << 10
	// maxUnwritten is how much of large parts a Writer holds back to write it
	// in one call.
	maxUnwritten = 1 << 20
)

// A Writer writes packets to a stream. Small ones are gathered until Flush or
// until there are many; large parts are not copied and must not change before
// Flush has returned. It is for one goroutine. After an error nothing more is
// written.
type Writer struct {
	w       io.Writer
	buf     []byte
	start   int         // of what is in buf and in no element of vec
	vec     net.Buffers // what is to be written before buf[start:]
	held    int         // bytes in vec
	written int64
	err     error
}

// NewWriter returns a Writer that writes to w.
func NewWriter(w io.Writer) *Writer { return &Writer{w: w} }

// Write writes p, perhaps not before Flush. An error about a packet that is too
// large for the format comes before any of it is written.
func (w *Writer) Write(p *Packet) error {
	if w.err != nil {
		return w.err
	}
	if w.err = p.check(); w.err != nil {
		return w.err
	}
	if w.buf == nil {
		size := 4*(2+len(p.Parts)) + len(p.Head)
		for _, part := range p.Parts {
			size += len(part)
		}
		w.buf = make([]byte, 0, max(min(size, gatherSize), 512))
	}
	w.room(4 * (2 + len(p.Parts)))
	w.buf = p.appendPrefix(w.buf)
	w.put(p.Head)
	for _, part := range p.Parts {
		w.put(part)
	}
	return w.err
}

// room makes room for n bytes in buf, which may grow only while nothing refers
// to it.
func (w *Writer) room(n int) {
	if len(w.buf)+n <= cap(w.buf) {
		return
	}
	if len(w.vec) == 0 && cap(w.buf) < gatherSize && len(w.buf)+n <= gatherSize {
		w.buf = append(make([]byte, 0, gatherSize), w.buf...)
		return
	}
	if w.Flush() == nil && n > cap(w.buf) {
		w.buf = make([]byte, 0, max(n, gatherSize))
	}
}

func (w *Writer) put(b []byte) {
	if len(b) < largePart {
		w.room(len(b))
		w.buf = append(w.buf, b...)
		return
	}
	if len(w.buf) > w.start {
		w.vec = append(w.vec, w.buf[w.start:])
		w.held += len(w.buf) - w.start
		w.start = len(w.buf)
	}
	w.vec = append(w.vec, b)
	w.held += len(b)
	if w.held >= maxUnwritten {
		_ = w.Flush() // w.err has it
	}
}

// Flush writes what has been gathered.
func (w *Writer) Flush() error {
	if w.err != nil || len(w.vec) == 0 && len(w.buf) == 0 {
		w.buf = w.buf[:0]
		return w.err
	}
	var n int64
	if len(w.vec) == 0 {
		var k int
		k, w.err = w.w.Write(w.buf)
		n = int64(k)
	} else {
		if len(w.buf) > w.start {
			w.vec = append(w.vec, w.buf[w.start:])
		}
		rest := w.vec // WriteTo consumes it
		n, w.err = rest.WriteTo(w.w)
		clear(w.vec)
		w.vec = w.vec[:0]
	}
	w.written += n
	w.buf, w.start, w.held = w.buf[:0], 0, 0
	return w.err
}
