package kernel

import (
	"context"
	"errors"

	"github.com/gokernel/gokernel/protocol"
)

// ErrNoPeer is returned by [Conn.Send] when the message's return address is
// not connected. The message was not sent.
var ErrNoPeer = errors.New("no peer with this identity is connected")

// A Conn carries messages between a kernel and its clients. Both ends have the
// same methods, as with net.Conn. All methods are safe for concurrent use.
type Conn interface {
	// Recv returns the next message. After Close it returns io.EOF.
	Recv(ctx context.Context) (*protocol.Message, error)
	// Send queues m for its channel and does not wait for the peer. On the
	// kernel's end an iopub message goes to whoever is subscribed now, and is
	// gone when nobody is.
	Send(ctx context.Context, m *protocol.Message) error
	// Close sends what is queued, for at most a short linger, and then closes.
	// It is idempotent and waits for all that the connection started.
	Close() error
}

// A Tracker is a Conn, at the kernel's end, that knows what becomes of the
// messages on iopub and who is there.
type Tracker interface {
	Conn
	// Publish sends the iopub message m to every subscriber. It waits, until
	// ctx ends, while there is no subscriber or none has room; one that has no
	// room while another has is left behind and in the end cut off, so that it
	// holds nobody back.
	//
	// written is called exactly once, from any goroutine, when m has been
	// written to the sockets of all subscribers that keep up: n is their
	// number, 0 when all went away before. It is not called if Publish returns
	// an error. Messages are written in the order of the calls.
	Publish(ctx context.Context, m *protocol.Message, written func(n int)) error
	// Events returns the channel on which arrivals are told. It has a bounded
	// buffer; what does not fit is coalesced into one event with Channel "".
	Events() <-chan Event
	// Subscribers returns how many peers are subscribed to iopub now.
	Subscribers() int
}

// An Event says that somebody arrived: on iopub a subscriber, on shell, control
// or stdin a peer with an identity.
type Event struct {
	Channel  protocol.Channel // "" means: several, look yourself
	Identity []byte           // nil on iopub
}
