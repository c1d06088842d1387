package zmq

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/gokernel/gokernel/kernel"
	"github.com/gokernel/gokernel/protocol"
)

func TestRequestAndReply(t *testing.T) {
	c := listen(t, nil)
	info := c.Info()
	for ch, port := range map[protocol.Channel]protocol.Port{
		protocol.Shell: info.ShellPort, protocol.Control: info.ControlPort, protocol.Stdin: info.StdinPort,
	} {
		t.Run(string(ch), func(t *testing.T) {
			p := connect(t, c, port, "DEALER", "client-1")
			sent := p.request(ch, &protocol.KernelInfoRequest{})
			got, err := c.Recv(within(t))
			if err != nil {
				t.Fatal(err)
			}
			if got.Channel != ch || got.Header.MsgID != sent.Header.MsgID || string(got.Identities[0]) != "client-1" {
				t.Errorf("received: got %s on %s from %q, want %s on %s from client-1", got.Header.MsgID, got.Channel, got.Identities, sent.Header.MsgID, ch)
			}
			reply, err := protocol.New(ch, &protocol.Unknown{Type: "kernel_info_reply", Raw: []byte(`{"a":1}`)}, got)
			if err != nil {
				t.Fatal(err)
			}
			if err := c.Send(within(t), reply); err != nil {
				t.Fatal(err)
			}
			m := p.message(ch)
			if h, err := m.ParentHeader(); err != nil || h.MsgID != sent.Header.MsgID || string(m.Content) != `{"a":1}` || len(m.Identities) != 0 {
				t.Errorf("reply: got parent %q (%v), content %s, identities %q", h.MsgID, err, m.Content, m.Identities)
			}
		})
	}
}

// A REQ socket puts an empty frame before its message, which must come back.
func TestEnvelopeIsKept(t *testing.T) {
	c := listen(t, nil)
	p := connect(t, c, c.Info().ShellPort, "REQ", "")
	frames, err := protocol.EncodeFrames(newMessage(t, protocol.Shell, &protocol.KernelInfoRequest{}), signer(t))
	if err != nil {
		t.Fatal(err)
	}
	p.send(append([][]byte{{}, []byte("hop")}, frames...)...)
	m, err := c.Recv(within(t))
	if err != nil {
		t.Fatal(err)
	}
	if len(m.Identities) != 3 || len(m.Identities[0]) == 0 || m.Identities[0][0] != 0 {
		t.Fatalf("identities: got %q, want a generated one, an empty one and hop", m.Identities)
	}
	reply := newMessage(t, protocol.Shell, &protocol.KernelInfoReply{})
	reply.Identities = m.Identities
	if err := c.Send(within(t), reply); err != nil {
		t.Fatal(err)
	}
	got, err := p.read()
	if err != nil {
		t.Fatal(err)
	}
	if len(got) < 3 || len(got[0]) != 0 || string(got[1]) != "hop" || string(got[2]) != "<IDS|MSG>" {
		t.Errorf("reply begins with %q, want an empty frame, hop and the delimiter", got[:min(3, len(got))])
	}
}

func TestBuffersPassUnchanged(t *testing.T) {
	c := listen(t, nil)
	answerWithBuffers := func(m *protocol.Message) {
		reply := newMessage(t, protocol.Shell, &protocol.Unknown{Type: "comm_msg", Raw: []byte("{}")})
		reply.Identities, reply.Buffers = m.Identities, m.Buffers
		if err := c.Send(within(t), reply); err != nil {
			t.Fatal(err)
		}
	}
	p := connect(t, c, c.Info().ShellPort, "DEALER", "b")
	m := newMessage(t, protocol.Shell, &protocol.Unknown{Type: "comm_msg", Raw: []byte("{}")})
	for _, n := range []int{0, 1, 255, 256, smallFrame, smallFrame + 1, firstPiece, firstPiece + 1, writeBuffer, 3 << 20} {
		m.Buffers = append(m.Buffers, bytes.Repeat([]byte{byte(n)}, n))
	}
	frames, err := protocol.EncodeFrames(m, signer(t))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.send(frames...)
	}()
	got, err := c.Recv(within(t))
	if err != nil {
		t.Fatal(err)
	}
	<-done
	answerWithBuffers(got)
	back := p.message(protocol.Shell)
	if len(back.Buffers) != len(m.Buffers) {
		t.Fatalf("got %d buffers, want %d", len(back.Buffers), len(m.Buffers))
	}
	for i := range m.Buffers {
		if !bytes.Equal(back.Buffers[i], m.Buffers[i]) {
			t.Errorf("buffer %d of %d bytes came back changed", i, len(m.Buffers[i]))
		}
	}
}

func TestSendErrors(t *testing.T) {
	c := listen(t, nil)
	canceled, cancel := context.WithCancel(context.Background())
	cancel()
	tests := []struct {
		name string
		ctx  context.Context
		m    *protocol.Message
		want error
	}{
		{"absent identity", within(t), newMessage(t, protocol.Shell, &protocol.KernelInfoReply{}, "nobody"), kernel.ErrNoPeer},
		{"no identity", within(t), newMessage(t, protocol.Control, &protocol.KernelInfoReply{}), kernel.ErrNoPeer},
		{"no channel", within(t), newMessage(t, "", &protocol.KernelInfoReply{}), protocol.ErrChannel},
		{"nothing", within(t), nil, errNoMessage},
		{"canceled", canceled, newMessage(t, protocol.Stdin, &protocol.InputRequest{}, "nobody"), context.Canceled},
		{"nobody on iopub", within(t), newMessage(t, protocol.IOPub, &protocol.Status{ExecutionState: "idle"}), nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if err := c.Send(tt.ctx, tt.m); !errors.Is(err, tt.want) {
				t.Errorf("Send: got %v, want %v", err, tt.want)
			}
		})
	}
}

func TestSameIdentityNewestWins(t *testing.T) {
	c := listen(t, nil)
	old := connect(t, c, c.Info().ShellPort, "DEALER", "same")
	old.request(protocol.Shell, &protocol.KernelInfoRequest{})
	if _, err := c.Recv(within(t)); err != nil {
		t.Fatal(err)
	}
	newer := connect(t, c, c.Info().ShellPort, "DEALER", "same")
	newer.request(protocol.Shell, &protocol.KernelInfoRequest{})
	m, err := c.Recv(within(t))
	if err != nil {
		t.Fatal(err)
	}
	old.closed()
	reply := newMessage(t, protocol.Shell, &protocol.KernelInfoReply{})
	reply.Identities = m.Identities
	if err := c.Send(within(t), reply); err != nil {
		t.Fatal(err)
	}
	if got := newer.message(protocol.Shell); got.Header.MsgID != reply.Header.MsgID {
		t.Errorf("got %s, want %s", got.Header.MsgID, reply.Header.MsgID)
	}
	// The end of the old one must not have taken the name from the new one.
	if err := c.Send(within(t), newMessage(t, protocol.Shell, &protocol.KernelInfoReply{}, "same")); err != nil {
		t.Errorf("second reply: %v", err)
	}
}

func TestEvents(t *testing.T) {
	c := listen(t, nil)
	info := c.Info()
	connect(t, c, info.StdinPort, "DEALER", "me")
	e := <-c.Events()
	if e.Channel != protocol.Stdin || string(e.Identity) != "me" {
		t.Errorf("got %q on %q, want me on stdin", e.Identity, e.Channel)
	}
	connectSub(t, c)
	if e := <-c.Events(); e.Channel != protocol.IOPub || e.Identity != nil {
		t.Errorf("got %q on %q, want nobody on iopub", e.Identity, e.Channel)
	}
	if n := c.Subscribers(); n != 1 {
		t.Errorf("Subscribers: got %d, want 1", n)
	}
}

func TestEventsAreMergedWhenNobodyReads(t *testing.T) {
	ev := newEvents(3)
	for range 10 {
		ev.add(kernel.Event{Channel: protocol.Shell})
	}
	var got []string
	for len(ev.ch) > 0 {
		got = append(got, string((<-ev.ch).Channel))
	}
	if s := strings.Join(got, ","); s != "shell,shell," {
		t.Errorf("got %q, want two of shell and one merged", s)
	}
	ev.add(kernel.Event{Channel: protocol.Control})
	if e := <-ev.ch; e.Channel != protocol.Control {
		t.Errorf("after reading: got %q, want control", e.Channel)
	}
}

func TestControlComesFirst(t *testing.T) {
	c := listen(t, nil)
	shell := connect(t, c, c.Info().ShellPort, "DEALER", "s")
	for range 5 {
		shell.request(protocol.Shell, &protocol.ExecuteRequest{Code: "1"})
	}
	connect(t, c, c.Info().ControlPort, "DEALER", "c").request(protocol.Control, &protocol.InterruptRequest{})
	eventually(t, "both channels have messages", func() bool { return len(c.shell.in) == 5 && len(c.control.in) == 1 })
	if m, err := c.Recv(within(t)); err != nil || m.Channel != protocol.Control {
		t.Errorf("got %+v and error %v, want the control message", m, err)
	}
}

func TestClosed(t *testing.T) {
	c := listen(t, nil)
	received := make(chan error, 1)
	go func() {
		_, err := c.Recv(context.Background())
		received <- err
	}()
	published := make(chan error, 1)
	m := stream(t, "x")
	go func() {
		published <- c.Publish(context.Background(), m, func(int) { t.Error("written is called") })
	}()
	eventually(t, "Publish waits", func() bool {
		c.iopub.mu.Lock()
		defer c.iopub.mu.Unlock()
		return c.iopub.waiting == 1
	})
	for range 2 {
		if err := c.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	}
	if err := <-received; err != io.EOF {
		t.Errorf("Recv: got %v, want io.EOF", err)
	}
	if err := <-published; err == nil {
		t.Error("Publish that waited: got no error")
	}
	if _, err := c.Recv(within(t)); err != io.EOF {
		t.Errorf("Recv after Close: got %v, want io.EOF", err)
	}
	if err := c.Send(within(t), stream(t, "x")); err == nil {
		t.Error("Send after Close: got no error")
	}
	if err := c.Publish(within(t), stream(t, "x"), nil); err == nil {
		t.Error("Publish after Close: got no error")
	}
}
