package kernel

import (
	"context"

	"github.com/gokernel/gokernel/session/wire"
)

// ErrFenced is returned by a Session when a newer kernel has taken it over.
// This kernel stays up, answers kernel_info and refuses the rest.
var ErrFenced = wire.ErrFenced

// A Session is what a kernel needs of the session behind it: the kernel's
// attachment to an agent, which re-dials and replays by itself. All methods
// are safe for concurrent use.
type Session interface {
	// ID returns the session's id, the first part of the msg_id of its frames.
	ID() string
	// Kept reports whether the session stands by itself (else the front owns it).
	Kept() bool
	// Submit hands r to the session's queue. It does not wait for the agent:
	// what an agent that died had not accepted is sent again to the next one.
	// An error means that r will not be run and will cause no frames.
	Submit(ctx context.Context, r *wire.Request) error
	// Next returns the next frame for this kernel, in order, each once in the
	// life of this front. It returns ErrFenced when another kernel has taken
	// over, and io.EOF when the session has ended.
	Next(ctx context.Context) (*wire.Frame, error)
	// Ack says that all frames up to upto have been delivered, but for those
	// held. A later front begins after upto, and with those held.
	Ack(upto wire.Cursor, held []wire.Cursor)
	// Answer answers the prompt that the frame prompt carried with an
	// input_reply's content. An answer to a prompt that is gone is ignored.
	Answer(ctx context.Context, prompt wire.Cursor, content []byte) error
	// Runner describes the language process, waiting until it is up. An error
	// says why it cannot be started.
	Runner(ctx context.Context) (*wire.Runner, error)
	// Usage says what the session's processes use.
	Usage(ctx context.Context) (*wire.Usage, error)
	// Interrupt interrupts what runs. It does not wait for the code to end.
	Interrupt(ctx context.Context) error
	// Restart replaces the language process; files stay. It returns when the
	// old one has ended.
	Restart(ctx context.Context) error
	// Detach leaves a kept session running.
	Detach(ctx context.Context) error
	// Close ends the session.
	Close(ctx context.Context) error
}
