package agent

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/gokernel/gokernel/session/wire"
)

const (
	helloTime  = 10 * time.Second // a connection must have said hello by then
	byeTime    = time.Second      // what a front has to take the rest when the connection ends
	maxHello   = 1 << 20          // bytes; before the secret is known to be right
	batch      = 4 << 20          // bytes of frames that are read from the journal at once
	linkBuffer = 1 << 20          // bytes that the system may hold for a front
	kernelKey  = "kernel"         // name of the kernel's cursor in the journal
)

// A front is one data connection.
type front struct {
	name  string // of the front; it may have had connections before
	owner string
	conn  net.Conn
	wake  chan struct{} // holds one token when pending has something

	mu      sync.Mutex // guards the fields below
	ids     []string   // requests that are accepted, to be told
	bye     any        // the last head to send, then the connection ends
	leaving bool       // it said that it goes
}

// accepted tells the front that a request is safe here.
func (f *front) accepted(id string) {
	f.mu.Lock()
	f.ids = append(f.ids, id)
	f.mu.Unlock()
	f.kick()
}

// finish sends head after the frames that are there now, and then closes. The
// front has byeTime to take them.
func (f *front) finish(head any) {
	f.mu.Lock()
	if f.bye == nil {
		f.bye = head
	}
	_ = f.conn.SetWriteDeadline(time.Now().Add(byeTime)) // a closed connection has ended already
	f.mu.Unlock()
	f.kick()
}

// owed returns what is to be sent beside the frames.
func (f *front) owed() (ids []string, bye any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	ids, bye = f.ids, f.bye
	f.ids = nil
	return ids, bye
}

// settle ends the time that hello had. A front may read as slowly as it likes:
// one that has died has closed its connection.
func (f *front) settle() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.bye != nil {
		return f.conn.SetReadDeadline(time.Time{})
	}
	return f.conn.SetDeadline(time.Time{})
}

func (f *front) kick() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// accept takes connections until the listener is closed.
func (a *Agent) accept(ctx context.Context, l net.Listener, links *sync.WaitGroup) {
	for {
		c, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // out of descriptors, or a peer that was refused
			a.log.Warn("accepting a connection", "error", err)
			select {
			case <-time.After(50 * time.Millisecond):
				continue
			case <-ctx.Done():
				return
			}
		}
		if !a.remember(c, links) {
			a.turnAway(c)
			continue
		}
		go func() {
			defer links.Done()
			if err := a.handle(ctx, c); err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
				a.log.Debug("connection ended", "error", err)
			}
		}()
	}
}

// turnAway answers a connection that comes when all have been ended: what is
// asked by then has byeTime.
func (a *Agent) turnAway(c net.Conn) {
	defer c.Close() // its error says nothing after what the reads and writes said
	over := a.ends()
	if over == nil || c.SetDeadline(time.Now().Add(byeTime)) != nil {
		return
	}
	_, err := wire.NewReader(c, maxHello).Read()
	if err == nil {
		err = refuse(c, wire.CodeClosing, over.Error())
	}
	a.log.Debug("a connection comes too late", "error", err)
}

// handle serves one connection and closes it.
func (a *Agent) handle(ctx context.Context, c net.Conn) error {
	defer a.forget(c)
	if err := c.SetDeadline(time.Now().Add(helloTime)); err != nil {
		return err
	}
	r := wire.NewReader(c, maxHello)
	packet, err := r.Read()
	if err != nil {
		return err
	}
	r.SetLimit(0)
	var h wire.Hello
	if err := json.Unmarshal(packet.Head, &h); err != nil || h.Type != wire.TypeHello {
		return refuse(c, wire.CodeBad, "the first packet must be a hello")
	}
	if subtle.ConstantTimeCompare([]byte(h.Secret), []byte(a.spec.Secret)) != 1 {
		return refuse(c, wire.CodeUnauthorized, "the secret is wrong")
	}
	if h.Version < 1 {
		return refuse(c, wire.CodeVersion, fmt.Sprintf("link version %d is not supported; this agent speaks 1 to %d", h.Version, wire.Version))
	}
	welcome := wire.Welcome{
		Type: wire.TypeWelcome, Version: min(h.Version, wire.Version), Session: a.spec.ID, Epoch: a.journal.Epoch(), Kept: a.isKept(),
	}
	if over := a.ends(); over != nil {
		return refuse(c, wire.CodeClosing, over.Error())
	}
	switch h.Link {
	case "control":
		if err := writeHead(c, welcome); err != nil {
			return err
		}
		return a.serveControl(ctx, c, r, &h)
	case "data":
		return a.serveData(ctx, c, r, &h, welcome)
	case wire.LinkTransfer:
		return a.serveTransfer(ctx, c, r, &welcome)
	}
	return refuse(c, wire.CodeBad, fmt.Sprintf("link %.40q is not known: data, control and transfer are", h.Link))
}

// remember notes a connection, which counts in links, so that it is closed at the
// end. It reports whether there is still time for one.
func (a *Agent) remember(c net.Conn, links *sync.WaitGroup) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.conns == nil {
		return false
	}
	a.conns[c] = struct{}{}
	links.Add(1)
	return true
}

func (a *Agent) forget(c net.Conn) {
	_ = c.Close() // its error says nothing after what the reads and writes said
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.conns, c)
}

func refuse(c net.Conn, code, message string) error {
	return errors.Join(fmt.Errorf("refused: %s", message), writeHead(c, wire.Refused{Type: wire.TypeRefused, Code: code, Message: message}))
}

func writeHead(w io.Writer, head any) error {
	p, err := wire.NewPacket(head)
	if err != nil {
		return err
	}
	_, err = p.WriteTo(w)
	return err
}

// serveData serves a data connection.
func (a *Agent) serveData(ctx context.Context, c net.Conn, r *wire.Reader, h *wire.Hello, welcome wire.Welcome) error {
	f := &front{name: h.Front, owner: h.Owner, conn: c, wake: make(chan struct{}, 1)}
	if f.owner == "" || f.name == "" || len(f.owner) > wire.MaxID || len(f.name) > wire.MaxID {
		return refuse(c, wire.CodeBad, "a data connection must name its front and its owner, in at most 1024 bytes each")
	}
	if b, ok := c.(interface{ SetWriteBuffer(int) error }); ok {
		_ = b.SetWriteBuffer(linkBuffer) // slower without, no more
	}
	switch err := a.attach(f); {
	case errors.Is(err, errOver):
		return refuse(c, wire.CodeClosing, err.Error())
	case err != nil:
		return refuse(c, wire.CodeFenced, err.Error())
	}
	welcome.Start, welcome.First = a.place(f, h)
	err := writeHead(c, welcome)
	if err == nil {
		err = f.settle()
	}
	written := make(chan struct{})
	done, cancel := context.WithCancel(context.WithoutCancel(ctx))
	if err == nil {
		go func() { defer close(written); a.write(done, f, welcome.Start, welcome.First) }()
		err = a.readData(f, r)
	} else {
		close(written)
	}
	cancel()
	err = errors.Join(err, ignoreClosed(c.Close()))
	<-written
	a.detach(f)
	return err
}

// attach adds f. A kernel's front takes over from another one; a connection
// that the same front had before is closed. The error wraps wire.ErrFenced or errOver.
func (a *Agent) attach(f *front) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.endsLocked(); err != nil {
		return err
	}
	if f.owner == wire.KernelOwner {
		if _, ok := a.fenced[f.name]; ok {
			return wire.ErrFenced
		}
		if a.kernel != "" && a.kernel != f.name {
			a.fenced[a.kernel] = struct{}{} // perhaps its link is just broken
		}
		a.kernel = f.name
	}
	for other := range a.fronts {
		switch {
		case other.owner != f.owner:
		case other.name == f.name:
			_ = other.conn.Close() // its reader sees it
		case f.owner == wire.KernelOwner:
			other.finish(map[string]string{"type": wire.TypeFenced})
		}
	}
	a.fronts[f] = struct{}{}
	a.attached = true
	a.touch()
	return nil
}

// detach removes f, whose connection has ended.
func (a *Agent) detach(f *front) {
	f.mu.Lock()
	leaving := f.leaving
	f.mu.Unlock()
	a.mu.Lock()
	delete(a.fronts, f)
	left := true
	for other := range a.fronts {
		left = left && other.owner != f.owner
	}
	a.mu.Unlock()
	if left && !leaving {
		a.ownerLost(f.owner)
	}
	if left && leaving {
		for _, r := range a.queue.remove(func(r *request) bool { return r.owner == f.owner && !r.outlives() }) {
			a.finish(r)
		}
	}
	a.touch()
}

// hangUp ends all connections: fronts get a moment to take what is there and,
// when the session is over, are told so. Otherwise they are to find that this
// agent has gone.
func (a *Agent) hangUp(end *errEnd) {
	a.mu.Lock()
	defer a.mu.Unlock()
	var bye any = lastWord{}
	if end.final {
		bye = wire.Closing{Type: wire.TypeClosing, Reason: end.reason}
	}
	for f := range a.fronts {
		f.finish(bye)
		delete(a.conns, f.conn)
	}
	for c := range a.conns {
		_ = c.Close() // whoever serves it sees it
	}
	a.conns = nil
}

// readData handles what a front says on its data connection.
func (a *Agent) readData(f *front, r *wire.Reader) error {
	for {
		packet, err := r.Read()
		if err != nil {
			return err
		}
		switch packet.Type() {
		case wire.TypeRequest:
			err = a.takeRequest(f, packet)
		case wire.TypeAck:
			err = a.takeAck(f, packet)
		case wire.TypeInputReply:
			err = a.takeInput(packet)
		}
		if err != nil {
			return err
		}
	}
}

func (a *Agent) isFenced(name string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	_, ok := a.fenced[name]
	return ok
}

// A lastWord in place of a head means that there is none.
type lastWord struct{}

// write sends frames to f, first some and then all after cursor, and what else
// it is owed, until ctx ends.
func (a *Agent) write(ctx context.Context, f *front, cursor wire.Cursor, first []wire.Cursor) {
	defer f.conn.Close() // the reader sees it
	w := wire.NewWriter(f.conn)
	match := func(m *wire.Frame) bool {
		return m.Kind != wire.KindRequest && (m.Owner == f.owner || m.Owner == "" && f.owner == wire.KernelOwner)
	}
	for _, c := range first {
		if frame, ok := a.journal.Get(c); ok && writeFrame(w, frame) != nil {
			return
		}
	}
	for {
		changed := a.journal.Changed()
		ids, bye := f.owed()
		if len(ids) > 0 && send(w, wire.Accepted{Type: wire.TypeAccepted, IDs: ids}) != nil {
			return
		}
		frames, upto := a.journal.Next(cursor, match, batch)
		for _, frame := range frames {
			if writeFrame(w, frame) != nil {
				return
			}
		}
		moved := cursor != upto
		cursor = upto
		if moved && len(frames) > 0 {
			continue // more may be there
		}
		if _, silent := bye.(lastWord); bye != nil && !silent && send(w, bye) != nil {
			return
		}
		if w.Flush() != nil || bye != nil {
			return
		}
		select {
		case <-changed:
		case <-f.wake:
		case <-ctx.Done():
			return
		}
	}
}

func writeFrame(w *wire.Writer, f *wire.Frame) error {
	p, err := f.Packet()
	if err != nil {
		return err
	}
	return w.Write(p)
}

func send(w *wire.Writer, head any) error {
	p, err := wire.NewPacket(head)
	if err != nil {
		return err
	}
	return w.Write(p)
}

// place returns where f begins, and frames from before that it needs: what was
// never delivered, what runs now, and prompts that nobody has answered.
func (a *Agent) place(f *front, h *wire.Hello) (wire.Cursor, []wire.Cursor) {
	if f.owner != wire.KernelOwner && h.Fresh && h.Resume.IsZero() {
		return a.journal.Last(), nil
	}
	if f.owner != wire.KernelOwner || !h.Resume.IsZero() {
		return h.Resume, h.Want
	}
	cursor, held := a.journal.LoadCursor(kernelKey)
	first := append([]wire.Cursor(nil), held...)
	if busy, ok := a.queue.since(); ok && !cursor.Before(busy) {
		first = append(first, busy)
	}
	first = append(first, a.promptsUpto(cursor)...)
	return cursor, sorted(first)
}
