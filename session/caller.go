package session

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/gokernel/gokernel/sandbox"
	"github.com/gokernel/gokernel/session/wire"
)

// callWriteTime is how long the agent may take to read a call.
const callWriteTime = 10 * time.Second

// A caller makes calls on a control connection, which it dials when it needs
// one. Safe for concurrent use. It starts one goroutine a connection, which
// reads the answers and ends with the connection; close waits for it.
type caller struct {
	dial func(context.Context) (net.Conn, *wire.Reader, error)
	turn chan struct{} // holds a token while somebody dials or writes
	wg   sync.WaitGroup

	mu      sync.Mutex // guards the fields below
	conn    net.Conn
	last    uint64
	waiting map[uint64]chan *wire.Result
	giveUp  context.CancelFunc // ends a dial that is under way
	closed  bool
}

func newCaller(dial func(context.Context) (net.Conn, *wire.Reader, error)) *caller {
	return &caller{dial: dial, turn: make(chan struct{}, 1)}
}

// call makes one call and decodes its answer into value.
func (c *caller) call(ctx context.Context, method string, args, value any) error {
	call := wire.Call{Type: wire.TypeCall, Method: method}
	if args != nil {
		b, err := json.Marshal(args)
		if err != nil {
			return err
		}
		call.Args = b
	}
	answer, err := c.send(ctx, &call)
	if err != nil {
		return err
	}
	select {
	case r, ok := <-answer:
		switch {
		case !ok:
			return fmt.Errorf("%s: the link to the agent broke: %w", method, io.ErrUnexpectedEOF)
		case r.Code == wire.CodeFenced:
			return ErrFenced
		case r.Code == wire.CodeClosing:
			return fmt.Errorf("the session %w: %s", ErrExpired, r.Error)
		case r.Code != "":
			return &transferError{code: r.Code, text: r.Error}
		case value == nil:
			return nil
		}
		return json.Unmarshal(r.Value, value)
	case <-ctx.Done():
		c.mu.Lock()
		delete(c.waiting, call.ID)
		c.mu.Unlock()
		return context.Cause(ctx)
	}
}

// send sends call and returns where its answer will come; that is closed
// instead if the connection breaks before.
func (c *caller) send(ctx context.Context, call *wire.Call) (<-chan *wire.Result, error) {
	select {
	case c.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	defer func() { <-c.turn }()
	conn, err := c.connected(ctx)
	if err != nil {
		return nil, err
	}
	answer := make(chan *wire.Result, 1)
	c.mu.Lock()
	if c.conn != conn { // it has just ended
		c.mu.Unlock()
		return nil, io.ErrUnexpectedEOF
	}
	c.last++
	call.ID = c.last
	c.waiting[call.ID] = answer
	c.mu.Unlock()
	p, err := wire.NewPacket(call)
	if err == nil {
		err = conn.SetWriteDeadline(time.Now().Add(callWriteTime))
	}
	if err == nil {
		_, err = p.WriteTo(conn)
	}
	if err != nil {
		c.mu.Lock()
		delete(c.waiting, call.ID)
		c.mu.Unlock()
		_ = conn.Close() // a part of the packet may have gone out; the reader sees it
		return nil, err
	}
	return answer, nil
}

// connected returns the connection, after dialling if need be. The caller has
// the turn.
func (c *caller) connected(ctx context.Context) (net.Conn, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c.mu.Lock()
	conn, closed := c.conn, c.closed
	c.giveUp = cancel
	c.mu.Unlock()
	if closed {
		return nil, net.ErrClosed
	}
	if conn != nil {
		return conn, nil
	}
	conn, r, err := c.dial(ctx)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, errors.Join(net.ErrClosed, conn.Close())
	}
	c.conn, c.waiting = conn, map[uint64]chan *wire.Result{}
	c.wg.Go(func() { c.read(conn, r) })
	return conn, nil
}

func (c *caller) read(conn net.Conn, r *wire.Reader) {
	for {
		p, err := r.Read()
		if err != nil {
			break
		}
		result := new(wire.Result)
		if json.Unmarshal(p.Head, result) != nil || result.Type != wire.TypeResult {
			continue
		}
		c.mu.Lock()
		if answer, ok := c.waiting[result.ID]; ok {
			delete(c.waiting, result.ID)
			answer <- result
		}
		c.mu.Unlock()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	_ = conn.Close() // it has ended already
	c.conn = nil
	for _, answer := range c.waiting {
		close(answer)
	}
	c.waiting = nil
}

// close ends the connection and waits for its reader. It may be called again.
func (c *caller) close() error {
	c.mu.Lock()
	c.closed = true
	if c.giveUp != nil {
		c.giveUp()
	}
	var err error
	if c.conn != nil {
		err = c.conn.Close()
	}
	c.mu.Unlock()
	c.wg.Wait()
	return ignoreClosed(err)
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// isLinkError reports whether err says that the agent could not be reached, so
// that it may be there again soon.
func isLinkError(err error) bool {
	var op *net.OpError
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, sandbox.ErrNotFound) || errors.As(err, &op)
}
