// Package kernel serves the Jupyter messaging protocol for a session: it
// translates between a [Conn], over which clients talk, and a [Session], whose
// agent holds the queue of requests and the language process. A kernel may die
// at any time and be replaced; the session is the truth (docs/agent.md).
//
// What clients send on shell is checked and handed to the session's queue when
// it arrives. What comes back are whole messages: status, outputs, replies and
// prompts, which the kernel gives a header and delivers. It answers itself, at
// once and also while code runs, what is about the kernel: kernel_info, connect,
// interrupt, shutdown and usage, and everything that it has to refuse.
package kernel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os/user"
	"sync"
	"sync/atomic"

	"github.com/google/uuid"

	"github.com/gokernel/gokernel/protocol"
	"github.com/gokernel/gokernel/session/wire"
)

// Reasons why [Kernel.Serve] ended.
var (
	// ErrShutdown is returned after a shutdown_request. A kept session has been
	// restarted, if that was asked for, and detached. An owned one is the
	// caller's to close, whether it is a restart or not.
	ErrShutdown = errors.New("a client asked for shutdown")
	// ErrSessionEnded is wrapped by the error that is returned when the session
	// has ended for good.
	ErrSessionEnded = errors.New("the session has ended")
)

// Options are the settings of a [Kernel]. The zero value is a good one.
type Options struct {
	// Logger hears of what the kernel does; never of code or outputs. nil means
	// that nothing is logged.
	Logger *slog.Logger
	// Username is the user in the headers of the kernel's messages. Default:
	// the name of the user who runs the process.
	Username string
	// Connection is what a connect_request is answered with; nil when clients do
	// not come over ports.
	Connection *protocol.ConnectionInfo
	// Language is what kernel_info says of the language while its process cannot
	// be started. Front ends write it into notebooks. Default: plain text.
	Language protocol.LanguageInfo
	// Version is the kernel's own version, given as implementation_version when
	// the session's runner has none.
	Version string
}

// A Kernel serves the clients of one connection. Make it with [New].
type Kernel struct {
	sess   Session
	opts   Options
	log    *slog.Logger
	id     string // header.session of its messages, and the first part of its request ids
	served atomic.Bool
}

// New returns a kernel for sess; nil opts means all defaults. The session stays
// the caller's, but for what a shutdown_request does, see [ErrShutdown].
func New(sess Session, opts *Options) *Kernel {
	k := &Kernel{sess: sess, id: uuid.NewString()}
	if opts != nil {
		k.opts = *opts
	}
	if k.opts.Username == "" {
		k.opts.Username = username()
	}
	if k.opts.Logger == nil {
		k.opts.Logger = slog.New(slog.DiscardHandler)
	}
	k.log = k.opts.Logger.With("kernel", k.id, "session", sess.ID())
	return k
}

func username() string {
	if u, err := user.Current(); err == nil && u.Username != "" {
		return u.Username
	}
	return "kernel"
}

// ID returns the id of this kernel, the session field in the headers of its
// messages. Each Kernel has a fresh one.
func (k *Kernel) ID() string { return k.id }

// Serve serves the clients of conn until one asks for shutdown ([ErrShutdown]),
// the session ends ([ErrSessionEnded]), ctx ends (its cause) or conn is closed
// (nil). When it returns, nothing of it runs any more; the caller closes conn,
// so that what is queued there still goes out. A kernel is served once.
//
// A session that another kernel takes over is no reason to end: this kernel
// answers what it can without it, and refuses the rest.
func (k *Kernel) Serve(ctx context.Context, conn Conn) error {
	if !k.served.CompareAndSwap(false, true) {
		return errors.New("a kernel can be served only once")
	}
	ctx, stop := context.WithCancelCause(ctx)
	s := &serving{
		Kernel: k, conn: conn, stop: stop,
		shell:   newQueue[inbound](maxShell, maxShellBytes),
		control: newQueue[inbound](maxControl, maxControlBytes),
		stdin:   newQueue[inbound](maxControl, maxControlBytes),
		info:    newInfo(k.sess),
		pending: map[string]*outstanding{},
		once:    map[string]struct{}{},
		usage:   newHostUsage(),
	}
	s.deliveries = newDelivery(conn, k.sess, s)
	var wg sync.WaitGroup
	wg.Go(func() { s.handle(ctx, s.shell) })
	wg.Go(func() { s.handle(ctx, s.control) })
	wg.Go(func() { s.handle(ctx, s.stdin) })
	wg.Go(func() { s.answerInfo(ctx) })
	wg.Go(func() { s.readFrames(ctx) })
	wg.Go(func() { s.deliveries.run(ctx) })
	s.receive(ctx)
	wg.Wait()
	s.deliveries.ack()
	if err := context.Cause(ctx); !errors.Is(err, errConnClosed) {
		return err
	}
	return nil
}

// errConnClosed is the cause of the end when the clients are gone for good.
var errConnClosed = errors.New("the connection is closed")

// Bounds of the queues between the receiving goroutine and the others. A request
// that finds its queue full is refused with an error reply.
const (
	maxShell        = 16_384
	maxShellBytes   = 1 << 30 // one message always fits
	maxControl      = 1024
	maxControlBytes = 64 << 20
)

// A serving is a Kernel while it is served. Its goroutines, all started by and
// waited for by Serve and all ended by its context:
//
//	receive   the caller of Serve: takes messages from the Conn and puts them
//	          into the queues below. Waits for nothing else; ends with the Conn, too
//	shell     checks requests and hands them to the session's queue
//	control   interrupt, shutdown, usage; never waits for shell
//	stdin     brings answers to prompts to the session
//	info      waits for the language and answers kernel_info; owns the answer
//	frames    takes frames from the session; waits when too much is undelivered
//	deliver   sends frames to clients, in order, and notes who arrives
//
// Only deliver ever waits for a client. What the kernel itself has to say goes
// out by Conn.Send, which does not wait.
type serving struct {
	*Kernel
	conn Conn
	stop context.CancelCauseFunc

	shell, control, stdin *queue[inbound]

	deliveries *delivery
	info       *info
	usage      *hostUsage
	fenced     atomic.Bool
	requests   atomic.Uint64 // how many ids were given to requests

	mu      sync.Mutex              // guards the fields below
	pending map[string]*outstanding // what the session has not answered, by request id
	running *running                // whose busy was published and whose idle was not
	once    map[string]struct{}     // types whose refusal has been logged
}

// An inbound is a message from a client.
type inbound struct {
	*protocol.Message
	published wire.Cursor // the last frame that had been published when it came
}

// receive routes what clients send until ctx or the connection ends.
func (s *serving) receive(ctx context.Context) {
	for {
		m, err := s.conn.Recv(ctx)
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = errConnClosed
			} else {
				err = fmt.Errorf("receiving from clients: %w", err)
			}
			s.stop(err) // has no effect when ctx has ended
			return
		}
		if s.log.Enabled(ctx, slog.LevelDebug) {
			s.log.Debug("message received", "channel", m.Channel, "type", m.Header.MsgType, "id", m.Header.MsgID)
		}
		in := inbound{Message: m, published: s.deliveries.request(m.Header.MsgType == "kernel_info_request")}
		var q *queue[inbound]
		switch m.Channel {
		case protocol.Shell:
			q = s.shell
		case protocol.Control:
			q = s.control
		case protocol.Stdin:
			q = s.stdin
		default:
			continue // clients have nothing to say on iopub
		}
		if !q.put(in, size(m)) {
			s.refuse(ctx, m, "TooManyRequests", fmt.Sprintf("the kernel has too many requests on %s waiting", m.Channel))
		}
	}
}

// size returns what m counts for in the bounds of queues, in bytes.
func size(m *protocol.Message) int {
	n := len(m.RawHeader) + len(m.Parent) + len(m.Metadata) + len(m.Content) + 512
	for _, b := range m.Buffers {
		n += len(b)
	}
	return n
}
