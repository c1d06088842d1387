package zmq

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/go-zeromq/zmq4"
	"github.com/google/uuid"

	"github.com/gokernel/gokernel/kernel"
	"github.com/gokernel/gokernel/protocol"
)

// A Client is the client's end of a connection. It implements kernel.Conn; all
// methods are safe for concurrent use.
//
// It starts three goroutines for each of shell, control, stdin and iopub: one
// that connects again whenever the connection ends and reads from it, and one
// that writes. Close ends them and waits for them.
type Client struct {
	info     protocol.ConnectionInfo
	cfg      config
	codec    *codec
	identity string
	probes   []byte // part of the id of each request that Dial makes

	shell, control, stdin, iopub *link

	replied, heard         chan struct{} // closed: a probe was answered, iopub was heard
	repliedOnce, heardOnce sync.Once
	wg                     sync.WaitGroup
	closing                chan struct{}
	closeOnce              sync.Once
}

var _ kernel.Conn = (*Client)(nil)

// Dial connects to the kernel that info describes; nil opts means all defaults.
// It returns when the kernel is ready: it has answered a kernel_info_request, on
// shell or control, and something has come on iopub, so that no output of a
// later request is missed. Until then Dial asks again and again; these requests'
// answers are not seen by Recv. If ctx ends before, the error says what was
// missing. ctx is not used after Dial has returned.
//
// The Client connects again when a connection breaks, with the same identity.
// Nothing tells its user but silence: see [Client.Heartbeat].
func Dial(ctx context.Context, info *protocol.ConnectionInfo, opts *DialOptions) (*Client, error) {
	if info == nil {
		return nil, errors.New("dial: no connection info")
	}
	if opts == nil {
		opts = &DialOptions{}
	}
	c := &Client{
		info: *info, cfg: opts.config(), identity: orFresh(opts.Identity), probes: []byte("probe-" + uuid.NewString()),
		replied: make(chan struct{}), heard: make(chan struct{}), closing: make(chan struct{}),
	}
	if c.identity[0] == 0 || len(c.identity) > 255 {
		return nil, errors.New("dial: an identity has 1 to 255 bytes and does not begin with 0")
	}
	if err := c.start(info); err != nil {
		return nil, fmt.Errorf("dial: %w", err)
	}
	if err := c.probe(ctx, or(opts.Nudge, 500*time.Millisecond)); err != nil {
		c.cfg.linger = 0
		return nil, errors.Join(fmt.Errorf("dial kernel at %s: %w", info.Endpoint(info.ShellPort), err), c.Close())
	}
	return c, nil
}

func (c *Client) start(info *protocol.ConnectionInfo) (err error) {
	if c.codec, err = newCodec(info); err != nil {
		return err
	}
	for _, l := range []struct {
		to   **link
		ch   protocol.Channel
		typ  zmq4.SocketType
		port protocol.Port
	}{
		{&c.shell, protocol.Shell, zmq4.Dealer, info.ShellPort},
		{&c.control, protocol.Control, zmq4.Dealer, info.ControlPort},
		{&c.stdin, protocol.Stdin, zmq4.Dealer, info.StdinPort},
		{&c.iopub, protocol.IOPub, zmq4.Sub, info.IOPubPort},
	} {
		if *l.to, err = c.newLink(l.ch, l.typ, l.port); err != nil {
			return fmt.Errorf("%s at %s: %w", l.ch, info.Endpoint(l.port), err)
		}
	}
	for _, l := range c.links() {
		c.wg.Go(l.run)
	}
	return nil
}

func (c *Client) links() []*link { return []*link{c.shell, c.control, c.stdin, c.iopub} }

// probe asks until the kernel is ready.
func (c *Client) probe(ctx context.Context, interval time.Duration) error {
	t := time.NewTicker(min(interval, 10*time.Millisecond)) // until the links are up
	defer t.Stop()
	replied, heard := c.replied, c.heard
	var asked time.Time
	for {
		up := c.down() == nil
		if up && replied == nil && heard == nil {
			return nil
		}
		if up && time.Since(asked) >= interval {
			asked = time.Now()
			for _, l := range []*link{c.shell, c.control} {
				if err := c.ask(l); err != nil {
					return err
				}
			}
		}
		select {
		case <-replied:
			replied = nil
		case <-heard:
			heard = nil
		case <-t.C:
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", c.missing(), ctx.Err())
		}
	}
}

// down returns why a link is not connected, nil if all are.
func (c *Client) down() error {
	for _, l := range c.links() {
		if err := l.state(); err != nil {
			return fmt.Errorf("cannot connect to %s at %s: %w", l.channel, l.addr, err)
		}
	}
	return nil
}

// ask sends a kernel_info_request.
func (c *Client) ask(l *link) error {
	m, err := protocol.New(l.channel, &protocol.KernelInfoRequest{}, nil)
	if err != nil {
		return err
	}
	m.Header.MsgID = string(c.probes) + "-" + m.Header.MsgID
	m.Header.Session, m.Header.Username = c.cfg.session, c.cfg.username
	return c.Send(context.Background(), m)
}

// missing says what a kernel that is not ready lacks.
func (c *Client) missing() error {
	if err := c.down(); err != nil {
		return err
	}
	select {
	case <-c.replied:
		return errors.New("nothing comes on iopub")
	default:
		return errors.New("no answer to kernel_info_request: is the key the kernel's?")
	}
}

// filter looks at what arrives. It keeps from Recv what Dial's requests caused.
func (c *Client) filter(m *protocol.Message) bool {
	if m.Channel == protocol.IOPub {
		c.heardOnce.Do(func() { close(c.heard) })
	}
	if !bytes.Contains(m.Parent, c.probes) {
		return true
	}
	if m.Channel != protocol.IOPub {
		c.repliedOnce.Do(func() { close(c.replied) })
	}
	return false
}

// Recv implements kernel.Conn. The messages of one channel come in their order;
// between channels there is none.
func (c *Client) Recv(ctx context.Context) (*protocol.Message, error) {
	select {
	case <-c.closing:
		return nil, io.EOF
	default:
	}
	select {
	case m := <-c.control.in:
		return m, nil
	case m := <-c.shell.in:
		return m, nil
	case m := <-c.stdin.in:
		return m, nil
	case m := <-c.iopub.in:
		return m, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-c.closing:
		return nil, io.EOF
	}
}

// Send implements kernel.Conn, for shell, control and stdin. m.Identities are
// not sent: the kernel answers to the identity of c. While the kernel cannot be
// reached messages wait, up to DialOptions.QueueBytes; beyond that Send returns
// an error.
func (c *Client) Send(ctx context.Context, m *protocol.Message) error {
	if m == nil {
		return errNoMessage
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	var l *link
	switch m.Channel {
	case protocol.Shell:
		l = c.shell
	case protocol.Control:
		l = c.control
	case protocol.Stdin:
		l = c.stdin
	case protocol.IOPub:
		return fmt.Errorf("send %s: clients only receive on iopub", m.Header.MsgType)
	default:
		return fmt.Errorf("send %s: %w %q", m.Header.MsgType, protocol.ErrChannel, m.Channel)
	}
	own := *m
	own.Identities = nil
	frames, err := c.codec.encode(&own)
	if err != nil {
		return err
	}
	if err := l.send(frames); err != nil {
		return fmt.Errorf("send %s on %s: %w", m.Header.MsgType, m.Channel, err)
	}
	return nil
}

// Heartbeat asks the kernel's heartbeat for a sign of life, on a connection of
// its own, and returns nil when it came. The heartbeat is answered also while
// the kernel is busy.
func (c *Client) Heartbeat(ctx context.Context) error {
	network, addr, err := address(&c.info, c.info.HBPort)
	if err != nil {
		return fmt.Errorf("heartbeat: %w", err)
	}
	p, err := dialPeer(ctx, network, addr, &c.cfg, &budget{max: 2 * c.cfg.maxMessage}, zmq4.Req, "")
	if err != nil {
		return fmt.Errorf("heartbeat: %w", err)
	}
	defer p.kill()
	defer context.AfterFunc(ctx, p.kill)()
	if err := beat(p); err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return fmt.Errorf("heartbeat: %w", err)
	}
	return nil
}

// beat sends a few random bytes as a REQ socket does and reads them back.
func beat(p *peer) error {
	want := rand.Text()
	if err := p.zc.SendMsg(zmq4.NewMsgFrom(nil, []byte(want))); err != nil {
		return err
	}
	if err := p.w.Flush(); err != nil {
		return err
	}
	got, err := p.w.readMessage(func(string, []byte) error { return nil })
	if err != nil {
		return unexpected(err)
	}
	if len(got) != 2 || string(got[1]) != want {
		return errors.New("something else came back")
	}
	return nil
}

// Close implements kernel.Conn: it sends what is queued, for at most
// DialOptions.Linger, and closes. It always returns nil.
func (c *Client) Close() error {
	c.closeOnce.Do(func() {
		close(c.closing)
		for _, l := range c.links() {
			l.shut()
		}
		t := time.AfterFunc(c.cfg.linger, func() {
			for _, l := range c.links() {
				l.cancel()
			}
		})
		c.wg.Wait()
		t.Stop()
	})
	return nil
}
