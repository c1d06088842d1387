// Package zmq carries Jupyter messages over ZeroMQ: [Listen] opens the kernel's
// end of a connection, [Dial] the client's. Both are a kernel.Conn; the kernel's
// end is a kernel.Tracker, too.
//
// # Layers
//
// The sockets are this package's own. Of zmq4 it uses the connection only: its
// handshake and the way it writes messages. zmq4's sockets lose what is queued
// when they close, and one peer that does not read blocks them for all.
//
//	Conn, Client       the two ends: messages, signatures, replay check
//	router, xpub, echo what a socket type does with its peers
//	acceptor, link     where peers come from: a listener, or a dialled address
//	peer               one connection: bounded queue, writer, closing
//	wire               frames: limits before memory is taken, buffered writes
//
// # What a peer can do to others
//
// Nothing. Every connection has a goroutine that reads and one that writes, a
// deadline for its handshake, a limit on the size of what it sends and a bound
// on what is queued for it. One that breaks a rule of the transport loses its
// own connection. A message that is malformed, not signed or replayed is dropped
// and never answered; the log says so without a word of what was in it.
//
// # Transport
//
// ZMTP 3.0 with the NULL mechanism over tcp or ipc, with the parts of 3.1 that
// peers use: PING, SUBSCRIBE and CANCEL. There is no CURVE.
package zmq
