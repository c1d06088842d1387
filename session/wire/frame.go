package wire

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/gokernel/gokernel/protocol"
)

// A Cursor names a place in a session's journal: the frame with this number,
// or, where it says what has been delivered, everything up to it. Numbers
// start at 1 in each epoch; a new agent on the same session begins an epoch.
type Cursor struct {
	Epoch  uint64 `json:"epoch"`
	Number uint64 `json:"number"`
}

// Before reports whether c comes before d.
func (c Cursor) Before(d Cursor) bool {
	return c.Epoch < d.Epoch || c.Epoch == d.Epoch && c.Number < d.Number
}

// IsZero reports whether c is the beginning of every journal.
func (c Cursor) IsZero() bool { return c == Cursor{} }

// A Kind says what a frame is for.
type Kind string

const (
	// KindRequest is a request that the agent has accepted. It is journaled, so
	// that it can be answered after a death, and never delivered.
	KindRequest Kind = "request"
	// KindMessage is a message for clients: an output, a reply, a prompt or a
	// status.
	KindMessage Kind = "message"
	// KindProgress is a stage report of a run; its content is a Progress.
	KindProgress Kind = "progress"
	// KindTransfer asks the caller of a run to send or to fetch files; its
	// content is a Need or an Offer.
	KindTransfer Kind = "transfer"
)

// KernelOwner is the Owner of what the session's kernel asked for. A run's
// frames have the run's id instead.
const KernelOwner = "kernel"

// A Frame is one message in a session's journal. The agent numbers it and never
// changes it afterwards; its slices are shared and must not be changed.
type Frame struct {
	Cursor
	Kind    Kind
	Request string           // id of the request that caused it; "" when nobody asked
	Owner   string           // who may see it: KernelOwner, a run's id, or "" for everybody
	Channel protocol.Channel // where it goes; for a request where it came from
	MsgType string
	Time    time.Time // when it was made

	Identities [][]byte // return address; only on requests, replies and prompts
	Parent     []byte   // header of the request that caused it; nil means {}. Of a request: its own header
	Metadata   []byte   // nil means {}
	Content    []byte
	Buffers    [][]byte
}

// MsgID returns the id of the message that the frame is, the same however often
// it is delivered: session, epoch and number.
func (f *Frame) MsgID(session string) string {
	return fmt.Sprintf("%s-%d-%d", session, f.Epoch, f.Number)
}

// Size returns what the frame counts for in budgets, in bytes.
func (f *Frame) Size() int {
	n := len(f.Parent) + len(f.Metadata) + len(f.Content) + 200
	for _, b := range f.Buffers {
		n += len(b)
	}
	return n
}

type frameHead struct {
	Type       string           `json:"type"`
	Epoch      uint64           `json:"e"`
	Number     uint64           `json:"n"`
	Kind       Kind             `json:"k"`
	Request    string           `json:"r,omitempty"`
	Owner      string           `json:"o,omitempty"`
	Channel    protocol.Channel `json:"c"`
	MsgType    string           `json:"t"`
	Time       int64            `json:"d"` // microseconds since 1970
	Identities [][]byte         `json:"a,omitempty"`
}

// Packet returns the frame as a packet of type "frame".
func (f *Frame) Packet() (*Packet, error) {
	parts := append([][]byte{f.Parent, f.Metadata, f.Content}, f.Buffers...)
	return NewPacket(frameHead{
		Type: TypeFrame, Epoch: f.Epoch, Number: f.Number, Kind: f.Kind, Request: f.Request, Owner: f.Owner,
		Channel: f.Channel, MsgType: f.MsgType, Time: f.Time.UnixMicro(), Identities: f.Identities,
	}, parts...)
}

// ParseFrame returns the frame in a packet of type "frame". It shares the
// packet's memory.
func ParseFrame(p *Packet) (*Frame, error) {
	var h frameHead
	if err := json.Unmarshal(p.Head, &h); err != nil {
		return nil, fmt.Errorf("frame head: %w", err)
	}
	if h.Type != TypeFrame || len(p.Parts) < 3 {
		return nil, fmt.Errorf("%w: %q with %d parts is not a frame", ErrPacket, h.Type, len(p.Parts))
	}
	f := &Frame{
		Cursor: Cursor{h.Epoch, h.Number}, Kind: h.Kind, Request: h.Request, Owner: h.Owner,
		Channel: h.Channel, MsgType: h.MsgType, Time: time.UnixMicro(h.Time).UTC(), Identities: h.Identities,
		Parent: p.Parts[0], Metadata: p.Parts[1], Content: p.Parts[2],
	}
	if len(p.Parts) > 3 {
		f.Buffers = p.Parts[3:]
	}
	return f, nil
}
