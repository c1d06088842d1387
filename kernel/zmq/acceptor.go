package zmq

import (
	"errors"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/go-zeromq/zmq4"
)

const (
	firstBackOff = 5 * time.Millisecond
	lastBackOff  = time.Second
)

// An acceptor makes peers of the connections that a listener accepts. It starts
// a goroutine that accepts, until close, and one for each connection.
type acceptor struct {
	cfg     *config
	log     *slog.Logger
	typ     zmq4.SocketType
	handler handler
	l       net.Listener
	budget  budget
	stop    chan struct{} // closed by close
	wg      sync.WaitGroup

	mu      sync.Mutex
	closed  bool
	opening []net.Conn // in their handshake, the oldest first
	peers   map[*peer]struct{}
}

func newAcceptor(cfg *config, name string, typ zmq4.SocketType, h handler, l net.Listener) *acceptor {
	a := &acceptor{
		cfg: cfg, log: cfg.log.With("socket", name), typ: typ, handler: h, l: l,
		budget: budget{max: 2 * cfg.maxMessage}, stop: make(chan struct{}), peers: map[*peer]struct{}{},
	}
	a.wg.Go(a.accept)
	return a
}

// accept takes connections until close. When none can be taken, for want of
// descriptors say, it waits instead of trying again at once.
func (a *acceptor) accept() {
	wait := firstBackOff
	for {
		c, err := a.l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			a.log.Warn("cannot accept a connection: is the limit of open files too low?", "error", err, "retry_in", wait)
			select {
			case <-time.After(wait):
			case <-a.stop:
				return
			}
			wait = min(2*wait, lastBackOff)
			continue
		}
		wait = firstBackOff
		a.take(c)
	}
}

// take starts the handshake over c. If there are too many connections, the
// oldest one that has not finished its handshake makes way; if all have, it
// refuses c.
func (a *acceptor) take(c net.Conn) {
	a.mu.Lock()
	var refused net.Conn
	switch {
	case a.closed:
		refused = c
	case len(a.opening)+len(a.peers) < a.cfg.maxPeers:
	case len(a.opening) > 0:
		refused, a.opening = a.opening[0], a.opening[1:]
	default:
		refused = c
	}
	if refused != c {
		a.opening = append(a.opening, c)
		a.wg.Go(func() { a.serve(c) })
	}
	closed := a.closed
	a.mu.Unlock()
	if refused == nil {
		return
	}
	if !closed {
		a.log.Warn("too many connections, one is refused", "limit", a.cfg.maxPeers)
	}
	_ = refused.Close() // nothing was written to it
}

// serve lets the handler have the peer behind c until it is gone.
func (a *acceptor) serve(c net.Conn) {
	p, err := open(c, a.cfg, &a.budget, a.typ, "", true)
	a.mu.Lock()
	a.opening = slices.DeleteFunc(a.opening, func(o net.Conn) bool { return o == c })
	closed := a.closed
	if err == nil && !closed {
		a.peers[p] = struct{}{}
	}
	a.mu.Unlock()
	if err != nil {
		if !closed {
			a.log.Debug("handshake failed", "error", err)
		}
		return
	}
	if closed {
		p.kill()
		return
	}
	if err := p.serve(a.handler); misbehaved(err) {
		a.log.Warn("peer cut off", "reason", err)
	} else if err != nil {
		a.log.Debug("connection ended", "error", err)
	}
	a.mu.Lock()
	delete(a.peers, p)
	a.mu.Unlock()
}

// shut takes no more connections and asks the peers' writers to finish.
func (a *acceptor) shut() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return nil
	}
	a.closed = true
	close(a.stop)
	for _, c := range a.opening {
		_ = c.Close() // nothing but a greeting was written to it
	}
	for p := range a.peers {
		p.finish()
	}
	return a.l.Close()
}

// wait ends what is left when deadline is closed, and waits for all goroutines.
// It comes after shut.
func (a *acceptor) wait(deadline <-chan struct{}) {
	done := make(chan struct{})
	go func() {
		a.wg.Wait()
		close(done)
	}()
	select {
	case <-done:
		return
	case <-deadline:
	}
	a.mu.Lock()
	for p := range a.peers {
		p.kill()
	}
	a.mu.Unlock()
	<-done
}
