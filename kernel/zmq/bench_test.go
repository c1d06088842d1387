package zmq

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/gokernel/gokernel/protocol"
)

// BenchmarkRoundTrip measures a request and its reply between the two ends.
func BenchmarkRoundTrip(b *testing.B) {
	c, cl := benchPair(b)
	b.ReportAllocs()
	for b.Loop() {
		req := newMessage(b, protocol.Control, &protocol.KernelInfoRequest{})
		if err := cl.Send(context.Background(), req); err != nil {
			b.Fatal(err)
		}
		if _, err := cl.Recv(context.Background()); err != nil {
			b.Fatal(err)
		}
	}
	_ = c
}

func benchPair(b *testing.B) (*Conn, *Client) {
	b.Helper()
	c, err := Listen(testInfo(), &Options{Linger: -1, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			m, err := c.Recv(context.Background())
			if err != nil {
				return
			}
			reply, err := protocol.New(m.Channel, &protocol.KernelInfoReply{}, m)
			if err == nil {
				err = c.Send(context.Background(), reply)
			}
			if err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.Cleanup(func() {
		if err := c.Close(); err != nil {
			b.Error(err)
		}
		wg.Wait()
	})
	cl, err := Dial(within(b), c.Info(), &DialOptions{Linger: -1})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = cl.Close() })
	for len(cl.iopub.in) > 0 {
		if _, err := cl.Recv(context.Background()); err != nil {
			b.Fatal(err)
		}
	}
	return c, cl
}

func BenchmarkPublish(b *testing.B) {
	for name, size := range map[string]int{"60B": 60, "8KiB": 8 << 10, "1MiB": 1 << 20} {
		b.Run(name, func(b *testing.B) {
			c, cl := benchPair(b)
			text := strings.Repeat("x", size)
			done := make(chan error, 1)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			n := b.N
			go func() {
				for range n {
					if _, err := cl.Recv(context.Background()); err != nil {
						done <- err
						return
					}
				}
				done <- nil
			}()
			for range n {
				if err := c.Publish(context.Background(), stream(b, text), nil); err != nil {
					b.Fatal(err)
				}
			}
			if err := <-done; err != nil {
				b.Fatal(err)
			}
		})
	}
}
