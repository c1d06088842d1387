package zmq

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/gokernel/gokernel/protocol"
)

// Peers come and go in the middle of everything while messages go both ways, and
// then all is closed at once.
func TestComingAndGoing(t *testing.T) {
	c := listen(t, &Options{Linger: -1, QueueBytes: 256 << 10})
	answer(t, c)
	info := c.Info()
	stop := make(chan struct{})
	var published sync.WaitGroup
	var calls, settled atomic.Int64
	for k := range 2 {
		published.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				m := stream(t, fmt.Sprint(k, i))
				calls.Add(1)
				err := c.Publish(context.Background(), m, func(int) { settled.Add(1) })
				if err != nil {
					calls.Add(-1)
					if !errors.Is(err, net.ErrClosed) {
						t.Error(err)
					}
					return
				}
				if err := c.Send(context.Background(), m); err != nil && !errors.Is(err, net.ErrClosed) {
					t.Error(err)
				}
			}
		})
	}
	var clients sync.WaitGroup
	for k := range 8 {
		clients.Go(func() {
			for i := range 20 {
				sub := connect(t, c, info.IOPubPort, "SUB", "")
				sub.subscribe("")
				shell := connect(t, c, info.ShellPort, "DEALER", fmt.Sprint("client", k%4)) // two fight for each name
				frames, err := protocol.EncodeFrames(newMessage(t, protocol.Shell, &protocol.KernelInfoRequest{}), signer(t))
				if err != nil {
					t.Error(err)
					return
				}
				var b []byte
				for j, f := range frames {
					flags := byte(flagMore)
					if j == len(frames)-1 {
						flags = 0
					}
					b = appendFrame(b, flags, f)
				}
				if i%2 == 0 {
					b = b[:len(b)/2] // it goes in the middle of a message
				}
				if _, err := shell.Write(b); err != nil {
					t.Logf("the other client has the name: %v", err)
				}
				for range i {
					if _, err := sub.read(); err != nil {
						t.Errorf("subscriber: %v", err)
						return
					}
				}
				if err := errors.Join(sub.Close(), shell.Close()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	clients.Wait()
	close(stop)
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	published.Wait()
	if calls.Load() != settled.Load() {
		t.Errorf("written was called for %d of %d messages", settled.Load(), calls.Load())
	}
	if err := c.Send(context.Background(), newMessage(t, protocol.Shell, &protocol.KernelInfoReply{}, "client1")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Send after Close: got %v, want net.ErrClosed", err)
	}
}
