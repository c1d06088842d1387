package journal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"time"

	"github.com/gokernel/gokernel/protocol"
	"github.com/gokernel/gokernel/session/wire"
)

// A segment file is a header and records one after the other, numbers in it
// little endian:
//
//	header  "gkj", format version (1 byte), 4 zero bytes, mark (8 random bytes)
//	record  mark, uint32 length of head, uint64 length of body,
//	        uint32 CRC-32C of all that and the head, uint32 CRC-32C of the body,
//	        head, body
//
// The head has what filters need, the body is the frame's parts. Later versions
// add fields at the end of the head only. The mark differs from file to file and
// leaves it never, so that output which looks like a record is not taken for one
// when a reader searches for the next good record.
const (
	segmentHeader = 16
	recordHeader  = 28
	formatVersion = 1
	maxHead       = 16 << 20
	maxParts      = wire.MaxParts
)

var errRecord = errors.New("malformed record")

// castagnoli returns the table of the checksum that processors compute
// themselves. The package crc32 makes it once.
func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

type mark [8]byte

// A note says about a frame what would otherwise take a look at its content.
type note byte

const (
	noteNone note = iota
	noteBusy
	noteIdle
	noteStdout
	noteStderr
)

func noteOf(f *wire.Frame) note {
	switch f.MsgType {
	case "status":
		switch {
		case hasMember(f.Content, "execution_state", "idle"):
			return noteIdle
		case hasMember(f.Content, "execution_state", "busy"):
			return noteBusy
		}
	case "stream":
		if hasMember(f.Content, "name", "stderr") {
			return noteStderr
		}
		return noteStdout
	}
	return noteNone
}

// hasMember reports whether the JSON object b begins or ends with a member of
// this key and plain value. Inside a JSON string the bytes it looks for cannot
// stand, for the quotes would be escaped.
func hasMember(b []byte, key, value string) bool {
	const span = 96
	if len(b) > 2*span {
		return hasMember(b[:span], key, value) || hasMember(b[len(b)-span:], key, value)
	}
	for {
		i := bytes.Index(b, []byte(`"`+key+`"`))
		if i < 0 {
			return false
		}
		b = b[i+len(key)+2:]
		rest := bytes.TrimLeft(b, " \t\r\n")
		if after, ok := bytes.CutPrefix(rest, []byte(":")); ok {
			if bytes.HasPrefix(bytes.TrimLeft(after, " \t\r\n"), []byte(`"`+value+`"`)) {
				return true
			}
		}
	}
}

// A record is a record's head, and where in its file the rest is.
type record struct {
	frame   wire.Frame // without parts
	note    note
	parts   []uint64 // lengths
	off     int64
	body    int64 // offset
	end     int64
	bodyCRC uint32
}

// size is what the frame counts for, as Frame.Size says it once it is loaded.
func (r *record) size() int { return int(r.end-r.body) + 200 }

// appendRecord appends to b the record of f without its body, and returns the
// length of the body.
func appendRecord(b []byte, m mark, f *wire.Frame) ([]byte, int64) {
	start := len(b)
	b = append(b, m[:]...)
	b = append(b, make([]byte, recordHeader-len(m))...)
	b = binary.AppendUvarint(b, f.Epoch)
	b = binary.AppendUvarint(b, f.Number)
	b = append(b, byte(noteOf(f)))
	b = binary.AppendVarint(b, f.Time.UnixMicro())
	b = appendBytes(b, string(f.Kind))
	b = appendBytes(b, string(f.Channel))
	b = appendBytes(b, f.MsgType)
	b = appendBytes(b, f.Request)
	b = appendBytes(b, f.Owner)
	b = binary.AppendUvarint(b, uint64(len(f.Identities)))
	for _, id := range f.Identities {
		b = appendBytes(b, id)
	}
	b = binary.AppendUvarint(b, uint64(3+len(f.Buffers)))
	var body int64
	var crc uint32
	table := castagnoli()
	part := func(p []byte) {
		b = binary.AppendUvarint(b, uint64(len(p)))
		body += int64(len(p))
		crc = crc32.Update(crc, table, p)
	}
	part(f.Parent)
	part(f.Metadata)
	part(f.Content)
	for _, p := range f.Buffers {
		part(p)
	}
	h := b[start:]
	binary.LittleEndian.PutUint32(h[8:], uint32(len(h)-recordHeader))
	binary.LittleEndian.PutUint64(h[12:], uint64(body))
	binary.LittleEndian.PutUint32(h[24:], crc)
	binary.LittleEndian.PutUint32(h[20:], headCRC(h))
	return b, body
}

// headCRC returns the checksum of a record's header and head, h.
func headCRC(h []byte) uint32 {
	table := castagnoli()
	crc := crc32.Update(0, table, h[:20])
	return crc32.Update(crc, table, h[24:])
}

func appendBytes[T string | []byte](b []byte, s T) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

// decodeHead fills r from the bytes of a head.
func decodeHead(r *record, b []byte) error {
	d := decoder{b: b}
	f := &r.frame
	f.Epoch, f.Number = d.uvarint(), d.uvarint()
	r.note = note(d.byte())
	f.Time = time.UnixMicro(d.varint()).UTC()
	f.Kind = kindName(d.bytes())
	f.Channel = channelName(d.bytes())
	f.MsgType = typeName(d.bytes())
	f.Request = string(d.bytes())
	f.Owner = ownerName(d.bytes())
	if n := d.count(); n > 0 {
		f.Identities = make([][]byte, n)
		for i := range f.Identities {
			f.Identities[i] = bytes.Clone(d.bytes())
		}
	}
	n := d.count()
	if d.bad || n < 3 || n > maxParts {
		return fmt.Errorf("%w: head", errRecord)
	}
	r.parts = make([]uint64, n)
	var total uint64
	left := uint64(r.end - r.body)
	for i := range r.parts {
		r.parts[i] = d.uvarint()
		if r.parts[i] > left-total {
			return fmt.Errorf("%w: parts are longer than the body", errRecord)
		}
		total += r.parts[i]
	}
	if d.bad || total != left || f.Epoch == 0 || f.Number == 0 {
		return fmt.Errorf("%w: head", errRecord)
	}
	return nil
}

// The functions below give the usual names without allocating.

func kindName(b []byte) wire.Kind {
	switch string(b) {
	case string(wire.KindMessage):
		return wire.KindMessage
	case string(wire.KindRequest):
		return wire.KindRequest
	}
	return wire.Kind(b)
}

func channelName(b []byte) protocol.Channel {
	if string(b) == string(protocol.IOPub) {
		return protocol.IOPub
	}
	return protocol.Channel(b)
}

func ownerName(b []byte) string {
	if string(b) == wire.KernelOwner {
		return wire.KernelOwner
	}
	return string(b)
}

func typeName(b []byte) string {
	switch string(b) {
	case "stream":
		return "stream"
	case "status":
		return "status"
	case "display_data":
		return "display_data"
	}
	return string(b)
}

// setBody gives f its parts out of body, whose memory it then shares.
func setBody(f *wire.Frame, parts []uint64, body []byte) {
	cut := func(n uint64) []byte {
		if n == 0 {
			return nil
		}
		p := body[:n:n]
		body = body[n:]
		return p
	}
	f.Parent, f.Metadata, f.Content = cut(parts[0]), cut(parts[1]), cut(parts[2])
	if len(parts) > 3 {
		f.Buffers = make([][]byte, len(parts)-3)
		for i := range f.Buffers {
			f.Buffers[i] = cut(parts[i+3])
		}
	}
}

// A decoder reads the fields of a head. Once bad, it returns zeros.
type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) byte() byte {
	if len(d.b) == 0 {
		d.bad = true
		return 0
	}
	c := d.b[0]
	d.b = d.b[1:]
	return c
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.bad, d.b = true, nil
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) varint() int64 {
	v, n := binary.Varint(d.b)
	if n <= 0 {
		d.bad, d.b = true, nil
		return 0
	}
	d.b = d.b[n:]
	return v
}

// count returns a number of things that each take a byte or more.
func (d *decoder) count() int {
	n := d.uvarint()
	if n > uint64(len(d.b)) {
		d.bad = true
		return 0
	}
	return int(n)
}

func (d *decoder) bytes() []byte {
	n := d.count()
	p := d.b[:n]
	d.b = d.b[n:]
	return p
}

// newHeader returns the header of a segment file with this mark.
func newHeader(m mark) []byte {
	h := append([]byte("gkj"), formatVersion, 0, 0, 0, 0)
	return append(h, m[:]...)
}

// readHeader returns the mark of a segment file.
func readHeader(r io.ReaderAt) (mark, error) {
	var h [segmentHeader]byte
	var m mark
	if _, err := r.ReadAt(h[:], 0); err != nil {
		return m, fmt.Errorf("%w: header of the file: %w", errRecord, err)
	}
	if string(h[:3]) != "gkj" {
		return m, fmt.Errorf("%w: not a journal file", errRecord)
	}
	copy(m[:], h[8:])
	return m, nil
}
