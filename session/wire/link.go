package wire

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/gokernel/gokernel/protocol"
)

// ErrFenced is wrapped by errors of a kernel's link to a session that a newer
// kernel has taken over.
var ErrFenced = errors.New("another kernel has taken over this session")

// Version is the version of the link between fronts and agents. Changes only
// add; both sides name theirs in hello and use the lower.
const Version = 1

// An Origin is where a request came from: its header, which what it causes
// carries as parent, and its return address, opaque to the agent.
type Origin struct {
	Header     []byte // the request's header, verbatim
	Identities [][]byte
	Channel    protocol.Channel // shell or control
}

// A Request is one request for the session's queue.
type Request struct {
	// ID names the request. One that is sent again is recognised by it and
	// not run twice.
	ID      string
	MsgType string
	Origin  Origin
	// Published is the last frame that the front had published when the
	// request came. By it the agent tells what its client could know:
	// an execute from before an error is aborted, one from after is run.
	Published Cursor
	Metadata  []byte
	Content   []byte
	Buffers   [][]byte
}

// An Info says what a session is and how it is. All of it is measured when it
// is asked for.
type Info struct {
	ID         string    `json:"id"`
	Name       string    `json:"name,omitempty"`
	Language   string    `json:"language"`
	State      State     `json:"state"`
	Kept       bool      `json:"kept"`
	Isolation  string    `json:"isolation"`
	Epoch      uint64    `json:"epoch"`
	AgentPID   int       `json:"agent_pid"`
	PID        int       `json:"pid,omitempty"` // of the language process; 0 while there is none
	Created    time.Time `json:"created"`
	LastActive time.Time `json:"last_active"` // when a request last came or ended; now while it is busy
	// Expires is when the lease runs out if nothing happens; zero while the
	// lease is held or when there is none.
	Expires     time.Time `json:"expires,omitzero"`
	Attached    bool      `json:"attached"` // a kernel is attached
	Runs        int       `json:"runs"`     // attached runs
	Queued      int       `json:"queued"`   // requests that wait
	Executed    int       `json:"executed"` // executes that the session has run
	Dir         string    `json:"dir"`      // working directory of the language process
	Memory      uint64    `json:"memory"`   // bytes resident, language process and its children
	CPU         float64   `json:"cpu_seconds"`
	Journal     int64     `json:"journal"` // bytes on disk
	Failure     string    `json:"failure,omitempty"`
	Languages   []string  `json:"languages"` // the session's own first, then those with a process
	Packages    []string  `json:"packages"`  // "name==version" in the session's own package folders, sorted
	LinkVersion int       `json:"link_version"`
}

// A State is what a session is doing.
type State string

// States of a session.
const (
	StateStarting State = "starting"
	StateIdle     State = "idle"
	StateBusy     State = "busy"
	StateFailed   State = "failed" // its language process cannot be started
	StateClosed   State = "closed"
)

// A Runner describes a language process that is up: what kernel_info needs.
type Runner struct {
	Implementation        string                `json:"implementation"`
	ImplementationVersion string                `json:"implementation_version"`
	LanguageInfo          protocol.LanguageInfo `json:"language_info"`
	Banner                string                `json:"banner"`
	HelpLinks             []protocol.HelpLink   `json:"help_links"`
	PID                   int                   `json:"pid"`
	Executable            string                `json:"executable"`
}

// A Usage says what a session's processes use.
type Usage struct {
	PID    int     `json:"pid"`
	CPU    float64 `json:"cpu"`    // percent of one processor since the last call
	Memory uint64  `json:"memory"` // bytes resident
}

// Heads of the packets on a link. Each begins with its type, a constant below.
const (
	TypeHello      = "hello"       // front -> agent, first on every connection
	TypeWelcome    = "welcome"     // agent -> front, or TypeRefused
	TypeRefused    = "refused"     // agent -> front, then the connection ends
	TypeRequest    = "request"     // front -> agent on data: a Request
	TypeAccepted   = "accepted"    // agent -> front on data: requests that are safe with the agent
	TypeFrame      = "frame"       // agent -> front on data: a Frame
	TypeAck        = "ack"         // front -> agent on data: what has been delivered
	TypeInputReply = "input_reply" // front -> agent on data: an answer to a prompt
	TypeFenced     = "fenced"      // agent -> front on data: a newer kernel has taken over
	TypeCall       = "call"        // front -> agent on control
	TypeResult     = "result"      // agent -> front on control
	TypeClosing    = "closing"     // agent -> front: the session ends, with a reason
)

// A Hello opens a connection to an agent.
type Hello struct {
	Type    string `json:"type"`
	Version int    `json:"version"`
	Secret  string `json:"secret"`
	// Link is one of the Link constants. A front has one data and one control
	// connection, or only control, and any number of transfer connections.
	Link string `json:"link"`
	// Front names the front; both its connections and later ones of the same
	// front say the same name.
	Front string `json:"front"`
	// Owner is KernelOwner or a run's id; empty on a control connection of
	// somebody who only asks.
	Owner string `json:"owner,omitempty"`
	// Resume is the last frame that this front has received, or the Start of
	// an earlier Welcome; zero means that it begins at the session's cursor,
	// with what was not acknowledged.
	Resume Cursor `json:"resume,omitzero"`
	// Fresh says that nothing of the owner, a run, can be in the journal yet, so
	// that the front begins at its end.
	Fresh bool `json:"fresh,omitempty"`
	// Want are frames at or before Resume that an earlier Welcome has announced
	// as First and that have not come.
	Want []Cursor `json:"want,omitempty"`
}

// A Welcome accepts a Hello.
type Welcome struct {
	Type    string `json:"type"`
	Version int    `json:"version"`
	Session string `json:"session"`
	Epoch   uint64 `json:"epoch"`
	Kept    bool   `json:"kept"`
	// On a data connection the frames in First come first, as far as they are
	// still there, then all that come after Start.
	Start Cursor   `json:"start,omitzero"`
	First []Cursor `json:"first,omitempty"`
}

// A Refused says why a connection is not accepted. Code is one of the Refused
// constants, stable for programs.
type Refused struct {
	Type    string `json:"type"`
	Code    string `json:"code"`
	Message string `json:"message"`
}

// Codes of a Refused and of a failed Result.
const (
	CodeFenced       = "fenced"
	CodeUnauthorized = "unauthorized"
	CodeVersion      = "version"
	CodeClosing      = "closing"
	CodeBad          = "bad request"
	CodeFailed       = "failed"
)

// Limits of a Request. The agent ends a connection on which a larger one comes.
const (
	// MaxID is the largest length of an id, of a name of a front and of an
	// owner, in bytes.
	MaxID = 1 << 10
	// MaxRequest is the largest size of a request's parts together in bytes.
	MaxRequest = 1 << 30
	// MaxAddress is the largest size of a request's return address in bytes.
	MaxAddress = 1 << 20
)

// Check returns an error that wraps ErrPacket when the request breaks a limit.
func (r *Request) Check() error {
	address := 0
	for _, id := range r.Origin.Identities {
		address += len(id)
	}
	size := len(r.Origin.Header) + len(r.Metadata) + len(r.Content)
	for _, b := range r.Buffers {
		size += len(b)
	}
	switch {
	case r.ID == "" || r.MsgType == "":
		return fmt.Errorf("%w: a request needs an id and a type", ErrPacket)
	case len(r.ID) > MaxID || len(r.MsgType) > MaxID:
		return fmt.Errorf("%w: a request with an id or a type of more than %d bytes", ErrPacket, MaxID)
	case address > MaxAddress:
		return fmt.Errorf("%w: a request with a return address of %d bytes, more than %d", ErrPacket, address, MaxAddress)
	case size > MaxRequest:
		return fmt.Errorf("%w: a request of %d bytes, more than %d", ErrPacket, size, MaxRequest)
	case len(r.Buffers) > MaxParts-4:
		return fmt.Errorf("%w: a request with %d buffers, more than %d", ErrPacket, len(r.Buffers), MaxParts-4)
	}
	return nil
}

// A RequestHead is the head of a Request; the parts are the origin's header,
// metadata, content and buffers.
type RequestHead struct {
	Type       string           `json:"type"`
	ID         string           `json:"id"`
	MsgType    string           `json:"msg_type"`
	Channel    protocol.Channel `json:"channel"`
	Identities [][]byte         `json:"identities,omitempty"`
	Published  Cursor           `json:"published"`
	// Epoch is the agent's epoch when the front first sent the request; one of
	// an older epoch is never run.
	Epoch uint64 `json:"epoch"`
}

// An Accepted names the requests that the agent has journaled.
type Accepted struct {
	Type string   `json:"type"`
	IDs  []string `json:"ids"`
}

// An Ack moves the front's cursor to Upto. Held are frames up to there that
// are not delivered yet, because their address is away.
type Ack struct {
	Type string   `json:"type"`
	Upto Cursor   `json:"upto"`
	Held []Cursor `json:"held,omitempty"`
}

// An InputReply answers the prompt that the frame Prompt carried; the part is
// the content. The first answer to a prompt counts.
type InputReply struct {
	Type   string `json:"type"`
	Prompt Cursor `json:"prompt"`
}

// Methods of a Call.
const (
	CallInfo      = "info"      // result: Info
	CallRunner    = "runner"    // result: Runner, once the language process is up or has failed
	CallUsage     = "usage"     // result: Usage
	CallInterrupt = "interrupt" // args: InterruptArgs
	CallRestart   = "restart"   // a new language process
	CallDetach    = "detach"    // args: DetachArgs; the front goes and leaves the session
	CallClose     = "close"     // the session ends
	CallKeep      = "keep"      // args: KeepArgs; the session is kept, and its lease begins anew
	CallRuns      = "runs"      // result: []RunRecord, oldest first
	CallList      = "list"      // args: ListArgs; result: []FileInfo
	CallFetched   = "fetched"   // args: FetchedArgs; the run's downloads have been fetched
)

// A Call asks for something at once, beside the queue.
type Call struct {
	Type   string          `json:"type"`
	ID     uint64          `json:"id"`
	Method string          `json:"method"`
	Args   json.RawMessage `json:"args,omitempty"`
}

// A Result answers the Call with the same ID.
type Result struct {
	Type  string          `json:"type"`
	ID    uint64          `json:"id"`
	Code  string          `json:"code,omitempty"` // empty: it worked
	Error string          `json:"error,omitempty"`
	Value json.RawMessage `json:"value,omitempty"`
}

// InterruptArgs say what to interrupt: a run, wherever it stands in the queue,
// or when Owner is KernelOwner whatever runs.
type InterruptArgs struct {
	Owner string `json:"owner"`
}

// DetachArgs are what a front says when it goes.
type DetachArgs struct {
	Ack *Ack `json:"ack,omitempty"` // its last, if it has any to send
}

// KeepArgs make a session stand by itself, under a lease, which begins anew.
type KeepArgs struct {
	Lease time.Duration `json:"lease"` // idle time after which it closes; 0 keeps the present one
}

// A Closing tells a front that the session ends.
type Closing struct {
	Type   string `json:"type"`
	Reason string `json:"reason"`
}
