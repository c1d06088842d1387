package protocol

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"unicode/utf8"
)

// WebsocketV1 is the subprotocol that a websocket client offers if it wants
// messages in the form of [AppendWebsocketV1]. Without it they have the form of
// [AppendWebsocketJSON].
const WebsocketV1 = "v1.kernel.websocket.jupyter.org"

// v1Parts is how many parts come before the buffers: channel and four of JSON.
const v1Parts = 5

// AppendWebsocketV1 appends m to dst as a binary websocket message of the
// subprotocol [WebsocketV1]: the number of offsets and the offsets, of eight
// bytes each, little endian, then channel, header, parent header, metadata,
// content and buffers. The last offset is the end.
func AppendWebsocketV1(dst []byte, m *Message) ([]byte, error) {
	header, err := m.HeaderJSON()
	if err != nil {
		return dst, fmt.Errorf("encode %s: %w", m.Header.MsgType, err)
	}
	parts := make([][]byte, 0, v1Parts+len(m.Buffers))
	parts = append(parts, []byte(m.Channel), header, orEmpty(m.Parent), orEmpty(m.Metadata), orEmpty(m.Content))
	parts = append(parts, m.Buffers...)
	offset := uint64(8 * (len(parts) + 2))
	dst = slices.Grow(dst, int(offset)+sizeOf(parts))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(len(parts)+1))
	for _, p := range parts {
		dst = binary.LittleEndian.AppendUint64(dst, offset)
		offset += uint64(len(p))
	}
	dst = binary.LittleEndian.AppendUint64(dst, offset)
	for _, p := range parts {
		dst = append(dst, p...)
	}
	return dst, nil
}

// DecodeWebsocketV1 returns the message in data, a binary websocket message of
// the subprotocol [WebsocketV1]. The message keeps data's bytes, which the
// caller must not change any more. Errors wrap [ErrMalformed] or [ErrChannel].
//
// All four channels are decoded; a server refuses what clients may not send.
func DecodeWebsocketV1(data []byte) (*Message, error) {
	if len(data) < 8 {
		return nil, fmt.Errorf("%w: %d bytes", ErrMalformed, len(data))
	}
	count := binary.LittleEndian.Uint64(data)
	if count < v1Parts+1 || count > uint64(len(data)/8-1) {
		return nil, fmt.Errorf("%w: %d offsets in %d bytes", ErrMalformed, count, len(data))
	}
	n := int(count)
	offset := func(i int) uint64 { return binary.LittleEndian.Uint64(data[8*(i+1):]) }
	if last := offset(n - 1); last != uint64(len(data)) {
		return nil, fmt.Errorf("%w: ends at %d of %d bytes", ErrMalformed, last, len(data))
	}
	parts := make([][]byte, n-1)
	for i := range parts {
		start, end := offset(i), offset(i+1)
		if start < 8*(count+1) || start > end || end > uint64(len(data)) {
			return nil, fmt.Errorf("%w: part %d from %d to %d of %d bytes", ErrMalformed, i, start, end, len(data))
		}
		parts[i] = data[start:end:end]
	}
	ch, err := parseChannel(string(parts[0]))
	if err != nil {
		return nil, err
	}
	m, err := fromParts(ch, parts[1], parts[2], parts[3], parts[4])
	if err != nil {
		return nil, err
	}
	if len(parts) > v1Parts {
		m.Buffers = parts[v1Parts:]
	}
	return m, nil
}

// parseChannel returns the channel that a websocket message names: shell where
// it names none.
func parseChannel(name string) (Channel, error) {
	switch ch := Channel(name); ch {
	case "":
		return Shell, nil
	case Shell, Control, IOPub, Stdin:
		return ch, nil
	}
	return "", fmt.Errorf("%w: %.40q", ErrChannel, name)
}

// AppendWebsocketJSON appends m to dst as a websocket message without
// subprotocol. It is text, a JSON object, if m has no buffers. With buffers it
// is binary: the number of offsets and the offsets, of four bytes each, big
// endian, then the JSON object and the buffers.
//
// The parts of m go in as they are and must be JSON ([CleanJSON] makes it of
// what Python calls so). Bytes that are not UTF-8 become U+FFFD, for a browser
// drops its connection on them.
func AppendWebsocketJSON(dst []byte, m *Message) (msg []byte, binary bool, err error) {
	if len(m.Buffers) == 0 {
		msg, err = appendJSONMessage(dst, m)
		return msg, false, err
	}
	msg, err = appendJSONAndBuffers(dst, m)
	return msg, true, err
}

func appendJSONAndBuffers(dst []byte, m *Message) ([]byte, error) {
	base := len(dst)
	table := 4 * (len(m.Buffers) + 2)
	out, err := appendJSONMessage(slices.Grow(dst, table)[:base+table], m)
	if err != nil {
		return dst, err
	}
	if total := uint64(len(out)-base) + uint64(sizeOf(m.Buffers)); total > math.MaxUint32 {
		return dst, fmt.Errorf("encode %s: %d bytes are too many for the websocket protocol without subprotocol", m.Header.MsgType, total)
	}
	put := func(i, v int) { binary.BigEndian.PutUint32(out[base+4*i:], uint32(v)) }
	put(0, len(m.Buffers)+1)
	put(1, table)
	out = slices.Grow(out, sizeOf(m.Buffers))
	for i, b := range m.Buffers {
		put(i+2, len(out)-base)
		out = append(out, b...)
	}
	return out, nil
}

func appendJSONMessage(dst []byte, m *Message) ([]byte, error) {
	header, err := m.HeaderJSON()
	if err != nil {
		return dst, fmt.Errorf("encode %s: %w", m.Header.MsgType, err)
	}
	const names = 200 // more than all that is not the parts
	dst = slices.Grow(dst, names+len(header)+len(m.Parent)+len(m.Metadata)+len(m.Content))
	dst = appendString(append(dst, `{"channel":`...), string(m.Channel))
	// Not in the documents, but jupyter_server sends both and scripts read them.
	dst = appendString(append(dst, `,"msg_id":`...), m.Header.MsgID)
	dst = appendString(append(dst, `,"msg_type":`...), m.Header.MsgType)
	dst = appendUTF8(append(dst, `,"header":`...), header)
	dst = appendUTF8(append(dst, `,"parent_header":`...), orEmpty(m.Parent))
	dst = appendUTF8(append(dst, `,"metadata":`...), orEmpty(m.Metadata))
	dst = appendUTF8(append(dst, `,"content":`...), orEmpty(m.Content))
	return append(dst, `,"buffers":[]}`...), nil
}

func appendUTF8(dst, part []byte) []byte {
	if !utf8.Valid(part) {
		part = bytes.ToValidUTF8(part, []byte("\ufffd"))
	}
	return append(dst, part...)
}

// DecodeWebsocketJSON returns the message in data, a websocket message without
// subprotocol; isBinary tells its kind. The message keeps data's bytes, which
// the caller must not change any more. Errors wrap [ErrMalformed] or
// [ErrChannel].
//
// All four channels are decoded; a server refuses what clients may not send.
func DecodeWebsocketJSON(data []byte, isBinary bool) (*Message, error) {
	if !isBinary {
		return decodeJSONMessage(data)
	}
	if len(data) < 4 {
		return nil, fmt.Errorf("%w: %d bytes", ErrMalformed, len(data))
	}
	count := binary.BigEndian.Uint32(data)
	if count < 1 || uint64(count) > uint64(len(data)/4-1) {
		return nil, fmt.Errorf("%w: %d offsets in %d bytes", ErrMalformed, count, len(data))
	}
	parts := make([][]byte, count)
	end := uint64(len(data))
	for i := int(count) - 1; i >= 0; i-- {
		start := uint64(binary.BigEndian.Uint32(data[4*(i+1):]))
		if start < 4*(uint64(count)+1) || start > end {
			return nil, fmt.Errorf("%w: part %d from %d to %d", ErrMalformed, i, start, end)
		}
		parts[i] = data[start:end:end]
		end = start
	}
	m, err := decodeJSONMessage(parts[0])
	if err != nil {
		return nil, err
	}
	if len(parts) > 1 {
		m.Buffers = parts[1:]
	}
	return m, nil
}

func decodeJSONMessage(data []byte) (*Message, error) {
	var header, parent, metadata, content []byte
	var name string
	err := scanObject(data, func(key, value []byte) error {
		switch string(key) {
		case `"channel"`:
			return decodeField(value, &name)
		case `"header"`:
			header = value
		case `"parent_header"`:
			parent = value
		case `"metadata"`:
			metadata = value
		case `"content"`:
			content = value
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	ch, err := parseChannel(name)
	if err != nil {
		return nil, err
	}
	return fromParts(ch, header, parent, metadata, content)
}

func sizeOf(parts [][]byte) int {
	n := 0
	for _, p := range parts {
		n += len(p)
	}
	return n
}
