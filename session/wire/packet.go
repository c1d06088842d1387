// Package wire defines what a front, an agent and a runner say to each other:
// packets, the heads that they begin with, numbered frames and cursors. The
// contract behind it is in docs/agent.md, the runner's part in docs/runner.md.
package wire

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
)

// Limits of a packet. They hold in both directions.
const (
	// MaxParts is the largest number of parts of a packet.
	MaxParts = 1 << 16
	// MaxHead is the largest size of a packet's head in bytes.
	MaxHead = 8 << 20
	// DefaultMaxPacket is the size in bytes above which a Reader refuses a
	// packet unless it is told otherwise.
	DefaultMaxPacket = 2 << 30
)

// ErrPacket is wrapped by errors about bytes that are no packet. The stream
// cannot be read any further.
var ErrPacket = errors.New("malformed packet")

// A Packet is the unit on every link: a head, which is a JSON object with a
// "type", and binary parts whose meaning the type gives.
//
// On the wire it is, all numbers big endian: uint32 count of parts including
// the head; for each part its length as uint32; then the parts' bytes.
type Packet struct {
	Head  json.RawMessage
	Parts [][]byte

	body []byte // the memory of both, when a Reader has read it
}

// Type returns the head's type, or "" if it has none.
func (p *Packet) Type() string {
	if bytes.HasPrefix(p.Head, frameStart) {
		return TypeFrame
	}
	var h struct {
		Type string `json:"type"`
	}
	if json.Unmarshal(p.Head, &h) != nil {
		return ""
	}
	return h.Type
}

// frameStart begins the heads of most packets on a link. That the rest is JSON,
// with no other type, ParseFrame sees.
var frameStart = []byte(`{"type":"` + TypeFrame + `",`)

// Part returns part i, or nil when the packet has fewer.
func (p *Packet) Part(i int) []byte {
	if i >= len(p.Parts) {
		return nil
	}
	return p.Parts[i]
}

// NewPacket returns a packet with head encoded as JSON. It shares the parts.
func NewPacket(head any, parts ...[]byte) (*Packet, error) {
	b, err := json.Marshal(head)
	if err != nil {
		return nil, fmt.Errorf("packet head: %w", err)
	}
	return &Packet{Head: b, Parts: parts}, nil
}

// check returns an error when the packet is too large for the format.
func (p *Packet) check() error {
	if n := 1 + len(p.Parts); n > MaxParts || len(p.Head) > MaxHead {
		return fmt.Errorf("packet with %d parts and a head of %d bytes: too large", n, len(p.Head))
	}
	for _, part := range p.Parts {
		if len(part) > math.MaxUint32 {
			return fmt.Errorf("packet part of %d bytes: too large", len(part))
		}
	}
	return nil
}

// appendPrefix appends what stands before the parts' bytes.
func (p *Packet) appendPrefix(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(1+len(p.Parts)))
	b = binary.BigEndian.AppendUint32(b, uint32(len(p.Head)))
	for _, part := range p.Parts {
		b = binary.BigEndian.AppendUint32(b, uint32(len(part)))
	}
	return b
}

// WriteTo writes the packet to w, in one call if it is small. It returns an
// error and writes nothing when the packet is too large for the format.
func (p *Packet) WriteTo(w io.Writer) (int64, error) {
	out := Writer{w: w}
	err := out.Write(p)
	if err == nil {
		err = out.Flush()
	}
	return out.written, err
}

// A Reader reads packets from a stream. It is for one goroutine.
type Reader struct {
	r     *bufio.Reader
	max   int64
	spare []byte // memory for the next packet
}

// NewReader returns a Reader that refuses packets of more than limit bytes;
// limit 0 means [DefaultMaxPacket].
func NewReader(r io.Reader, limit int64) *Reader {
	reader := &Reader{r: bufio.NewReaderSize(r, 64<<10)}
	reader.SetLimit(limit)
	return reader
}

// SetLimit changes the limit of NewReader for the packets that follow.
func (r *Reader) SetLimit(limit int64) {
	if limit <= 0 {
		limit = DefaultMaxPacket
	}
	r.max = limit
}

// Read returns the next packet. At the end of the stream it returns io.EOF, in
// the middle of a packet io.ErrUnexpectedEOF. Its parts share one allocation,
// which grows only as bytes arrive: a length that lies reserves at most 4 MiB.
func (r *Reader) Read() (*Packet, error) {
	var word [4]byte
	if _, err := io.ReadFull(r.r, word[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(word[:])
	if n == 0 || n > MaxParts {
		return nil, fmt.Errorf("%w: %d parts", ErrPacket, n)
	}
	lengths := make([]byte, 4*n)
	if _, err := io.ReadFull(r.r, lengths); err != nil {
		return nil, noEOF(err)
	}
	var total int64
	for i := range n {
		total += int64(binary.BigEndian.Uint32(lengths[4*i:]))
	}
	if head := binary.BigEndian.Uint32(lengths); head > MaxHead {
		return nil, fmt.Errorf("%w: head of %d bytes", ErrPacket, head)
	}
	if total > r.max {
		return nil, fmt.Errorf("%w: %d bytes, more than the limit of %d", ErrPacket, total, r.max)
	}
	var body []byte
	var err error
	if total <= int64(cap(r.spare)) {
		body = r.spare[:total]
		r.spare = nil
		_, err = io.ReadFull(r.r, body)
	} else {
		body, err = readN(r.r, total)
	}
	if err != nil {
		return nil, noEOF(err)
	}
	cut := func() []byte {
		k := binary.BigEndian.Uint32(lengths)
		lengths = lengths[4:]
		part := body[:k:k]
		body = body[k:]
		return part
	}
	p := &Packet{body: body}
	p.Head = cut()
	if n > 1 {
		p.Parts = make([][]byte, n-1)
		for i := range p.Parts {
			p.Parts[i] = cut()
		}
	}
	return p, nil
}

// maxSpare is how much memory a Reader keeps for the packets to come.
const maxSpare = 2 << 20

// Recycle gives the memory of a packet, which nobody uses any more, back for
// those to come.
func (r *Reader) Recycle(p *Packet) {
	if n := cap(p.body); n > cap(r.spare) && n <= maxSpare {
		r.spare = p.body[:0]
	}
	p.Head, p.Parts, p.body = nil, nil, nil
}

// reserve is how much memory a length reserves before its bytes arrive.
const reserve = 4 << 20

// readN reads n bytes, reserving at most as much again as has arrived, or
// reserve.
func readN(r io.Reader, n int64) ([]byte, error) {
	if n <= reserve {
		b := make([]byte, n)
		_, err := io.ReadFull(r, b)
		return b, err
	}
	b := make([]byte, 0, reserve)
	for int64(len(b)) < n {
		if len(b) == cap(b) {
			b = append(make([]byte, 0, min(n, 2*int64(cap(b)))), b...)
		}
		m := int(min(n-int64(len(b)), int64(cap(b)-len(b))))
		k, err := io.ReadFull(r, b[len(b):len(b)+m])
		b = b[:len(b)+k]
		if err != nil {
			return nil, err
		}
	}
	return b, nil
}

func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
