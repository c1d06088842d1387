package zmq

import (
	"log/slog"
	"time"

	"github.com/google/uuid"
)

// Options are the settings of the kernel's end. The zero value is a good one;
// each field that is 0 stands for its default.
type Options struct {
	// Logger hears of peers that misbehave. It never gets the content of a
	// message. nil means that nothing is logged.
	Logger *slog.Logger
	// Session and Username go into the headers of the messages that this
	// package makes itself, iopub_welcome. Default: a fresh id, and "kernel".
	Session  string
	Username string

	// Linger is how long Close waits until what is queued has been sent.
	// Default 1 s; less than 0 means not at all.
	Linger time.Duration
	// Handshake is how long a new connection may take to become a ZMTP peer.
	// Default 10 s.
	Handshake time.Duration
	// Grace is how long a subscriber that reads too slowly may hold up others
	// that read faster, then how long it may be left behind until it is cut off.
	// One that does not read at all holds them up for half a second. Default 5 s.
	Grace time.Duration
	// WriteStall is how long a peer on shell, control, stdin or the heartbeat
	// may take to read the next 256 KiB of what is sent to it. Default 60 s.
	// Subscribers may take as long as they like, see Grace.
	WriteStall time.Duration

	// MaxMessage is the size in bytes of the largest message that is accepted,
	// 64 bytes a frame included. Memory is taken as bytes arrive, and unfinished
	// messages on one socket never hold more than twice as much. Default 1 GiB.
	MaxMessage int64
	// QueueBytes bounds what is queued for one peer; one message always fits.
	// Live messages may use as much again. Default 64 MiB.
	QueueBytes int64
	// MaxPeers bounds the connections of each socket. Default 512.
	MaxPeers int
}

// DialOptions are the settings of the client's end. The zero value is a good
// one; each field that is 0 stands for its default.
type DialOptions struct {
	// Logger is as in Options.
	Logger *slog.Logger
	// Session and Username go into the headers of the requests that Dial makes.
	// Default: a fresh id, and "gokernel".
	Session  string
	Username string
	// Identity is the routing identity of shell, control and stdin: 1 to 255
	// bytes, the first not 0. Default: a fresh one.
	Identity string

	// Linger, Handshake, WriteStall, MaxMessage and QueueBytes are as in Options.
	Linger     time.Duration
	Handshake  time.Duration
	WriteStall time.Duration
	MaxMessage int64
	QueueBytes int64
	// Nudge is the time between two requests that ask whether the kernel is
	// ready. Default 0.5 s.
	Nudge time.Duration
}

// config is what both kinds of options come to, with the defaults filled in.
type config struct {
	log                      *slog.Logger
	session, username        string
	linger, handshake, grace time.Duration
	stall                    time.Duration
	maxMessage, queueBytes   int64
	maxPeers                 int
}

func (o *Options) config() config {
	if o == nil {
		o = &Options{}
	}
	return config{
		log:        orDiscard(o.Logger),
		session:    orFresh(o.Session),
		username:   or(o.Username, "kernel"),
		linger:     orLinger(o.Linger),
		handshake:  or(o.Handshake, 10*time.Second),
		grace:      or(o.Grace, 5*time.Second),
		stall:      or(o.WriteStall, time.Minute),
		maxMessage: or(o.MaxMessage, 1<<30),
		queueBytes: or(o.QueueBytes, 64<<20),
		maxPeers:   or(o.MaxPeers, 512),
	}
}

func (o *DialOptions) config() config {
	return (&Options{
		Logger: o.Logger, Session: o.Session, Username: or(o.Username, "gokernel"),
		Linger: o.Linger, Handshake: o.Handshake, WriteStall: o.WriteStall,
		MaxMessage: o.MaxMessage, QueueBytes: o.QueueBytes,
	}).config()
}

// or returns v, or def if v is the zero value.
func or[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}

func orLinger(d time.Duration) time.Duration { return max(0, or(d, time.Second)) }

func orFresh(id string) string {
	if id == "" {
		return uuid.NewString()
	}
	return id
}

func orDiscard(l *slog.Logger) *slog.Logger {
	if l == nil {
		return slog.New(slog.DiscardHandler)
	}
	return l
}
