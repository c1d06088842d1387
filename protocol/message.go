// Package protocol defines the messages of the Jupyter messaging protocol,
// version 5.5, and their encodings for ZeroMQ and for websockets. It is pure
// data: beside reading and writing connection files it does no I/O, and it
// starts no goroutines.
//
// A message that comes in is decoded by [DecodeFrames], [DecodeWebsocketJSON] or
// [DecodeWebsocketV1], checked by [Validate] if it is a request, and its content
// typed by [Message.Decode]. One that goes out is made by [New] and encoded by
// [EncodeFrames], [AppendWebsocketJSON] or [AppendWebsocketV1].
package protocol

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"
)

// Version is the version of the messaging protocol that gokernel speaks.
const Version = "5.5"

// A Channel names one of the four message channels of a kernel.
type Channel string

// The channels of a kernel. The heartbeat is not one: it carries no messages.
const (
	Shell   Channel = "shell"
	Control Channel = "control"
	IOPub   Channel = "iopub"
	Stdin   Channel = "stdin"
)

// A Header identifies a message ("Message Header" in the specification).
type Header struct {
	MsgID      string  `json:"msg_id"`
	Session    string  `json:"session"` // the sender's client session, never a session.Session
	Username   string  `json:"username"`
	Date       string  `json:"date"` // ISO 8601 with a zone
	MsgType    string  `json:"msg_type"`
	Version    string  `json:"version"`
	SubshellID *string `json:"subshell_id,omitempty"`
}

// A Message is one Jupyter message. Its four JSON parts other than the header
// stay raw, so that a message which only passes through is never reinterpreted.
//
// A received message also keeps its header's bytes in RawHeader: they are what
// an answer carries as its parent header, unknown fields included.
//
// A Message must not be changed once it has been sent; its byte slices may be
// shared with other messages.
type Message struct {
	Channel    Channel
	Identities [][]byte // return address on a ROUTER socket; empty elsewhere
	Header     Header
	RawHeader  []byte // the header as received; nil means that Header is to be encoded
	Parent     []byte // the parent header; nil or empty means {}
	Metadata   []byte // nil or empty means {}
	Content    []byte // nil or empty means {}
	Buffers    [][]byte
}

// A Content is the typed body of one type of message.
type Content interface {
	// MsgType returns the msg_type of messages that carry this content.
	MsgType() string
}

// HeaderJSON returns the encoded header of m: the bytes received, or else the
// encoding of m.Header. The caller must not change the result.
func (m *Message) HeaderJSON() ([]byte, error) {
	if m.RawHeader != nil {
		return m.RawHeader, nil
	}
	return appendHeader(make([]byte, 0, headerSize), &m.Header), nil
}

// headerSize is room for a usual header.
const headerSize = 320

// ParentHeader decodes the parent header of m. A message without a parent has
// the zero Header.
func (m *Message) ParentHeader() (Header, error) {
	var h Header
	if len(m.Parent) == 0 {
		return h, nil
	}
	if err := json.Unmarshal(m.Parent, &h); err != nil {
		return h, fmt.Errorf("parent header of %s: %w", m.Header.MsgType, err)
	}
	return h, nil
}

// Decode returns the typed content of m. A type that this package does not
// know is no error: its content is an [Unknown].
func (m *Message) Decode() (Content, error) {
	return DecodeContent(m.Header.MsgType, m.Content)
}

// DecodeContent returns the typed content of a message of type msgType whose
// content is raw. Empty raw means {}.
func DecodeContent(msgType string, raw []byte) (Content, error) {
	newContent, ok := contents[msgType]
	if !ok {
		return &Unknown{Type: msgType, Raw: raw}, nil
	}
	c := newContent()
	if len(raw) == 0 {
		raw = emptyObject
	}
	var err error
	if r, ok := c.(*ExecuteRequest); ok {
		err = r.UnmarshalJSON(raw) // json.Unmarshal would read it twice more
	} else {
		err = json.Unmarshal(raw, c)
	}
	if err != nil {
		return nil, contentError(msgType, err)
	}
	return c, nil
}

// New returns a message on ch that carries c, with a fresh id and date, in
// answer to parent, whose header it carries and whose return address it takes
// on channels other than iopub. A nil parent means that nobody asked.
//
// The caller sets Header.Session and Header.Username to the sender's.
func New(ch Channel, c Content, parent *Message) (*Message, error) {
	raw, err := EncodeContent(c)
	if err != nil {
		return nil, err
	}
	m := &Message{Channel: ch, Header: NewHeader(c.MsgType()), Content: raw}
	if parent != nil {
		if m.Parent, err = parent.HeaderJSON(); err != nil {
			return nil, err
		}
		if ch != IOPub {
			m.Identities = parent.Identities
		}
		m.Header.SubshellID = parent.Header.SubshellID
	}
	return m, nil
}

// NewHeader returns a header with a fresh id and the current date.
func NewHeader(msgType string) Header {
	return Header{MsgID: uuid.NewString(), MsgType: msgType, Date: Now(), Version: Version}
}

// Now returns the current time as a header's date.
func Now() string { return time.Now().UTC().Format("2006-01-02T15:04:05.000000Z") }

// EncodeContent returns c as JSON, without escaping HTML characters and
// without a final newline. What clients expect to be a list or an object is
// never null, and in a reply the error fields are there when the status is
// error and only then.
func EncodeContent(c Content) ([]byte, error) {
	var raw []byte
	var err error
	switch c := c.(type) {
	case *Unknown:
		return c.Raw, nil
	case appender:
		raw, err = encodeObject(c)
	default:
		raw, err = marshal(c)
	}
	if err != nil {
		return nil, fmt.Errorf("%s content: %w", c.MsgType(), err)
	}
	return raw, nil
}

var emptyObject = []byte("{}")
