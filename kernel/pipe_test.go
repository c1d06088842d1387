package kernel_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gokernel/gokernel/kernel"
	"github.com/gokernel/gokernel/kernel/kerneltest"
	"github.com/gokernel/gokernel/protocol"
)

func TestPipe(t *testing.T) {
	kerneltest.TestConn(t, func(*testing.T) (client, server kernel.Conn) { return kernel.Pipe() })
}

func stream(text string) *protocol.Message {
	m, err := protocol.New(protocol.IOPub, &protocol.Stream{Name: protocol.Stdout, Text: text}, nil)
	if err != nil {
		panic(err)
	}
	return m
}

func TestPipeClientThatDoesNotReadMakesOnlyOutputsWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, end := kernel.Pipe()
		server := end.(kernel.Tracker)
		waits := make(chan error, 1)
		go func() {
			for {
				if err := server.Publish(t.Context(), stream(strings.Repeat("x", 1<<20)), func(int) {}); err != nil {
					waits <- err
					return
				}
			}
		}()
		time.Sleep(time.Minute)
		synctest.Wait()
		if len(waits) > 0 {
			t.Fatalf("Publish = %v, want it to wait", <-waits)
		}
		if err := server.Send(t.Context(), stream("live")); err != nil {
			t.Errorf("Send while outputs wait: %v", err)
		}
		if err := client.Close(); err != nil {
			t.Fatal(err)
		}
		if err := <-waits; !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("Publish after the client closed = %v, want io.ErrClosedPipe", err)
		}
	})
}

func TestPipeCutsOffAClientThatNeverReads(t *testing.T) {
	client, server := kernel.Pipe()
	m := stream("x")
	n := 0
	for ; n < 100_000; n++ {
		if err := server.Send(t.Context(), m); err != nil {
			if !errors.Is(err, io.ErrClosedPipe) {
				t.Errorf("Send = %v, want io.ErrClosedPipe", err)
			}
			break
		}
	}
	if n != 65_536 {
		t.Errorf("cut off after %d messages, want 65536", n)
	}
	if _, err := client.Recv(t.Context()); !errors.Is(err, io.EOF) {
		t.Errorf("the client's Recv = %v, want io.EOF", err)
	}
}

func TestPipeTellsWhatWasNotReceived(t *testing.T) {
	client, end := kernel.Pipe()
	var got []int
	for range 3 {
		if err := end.(kernel.Tracker).Publish(t.Context(), stream("x"), func(n int) { got = append(got, n) }); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := client.Recv(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := client.Close(); err != nil {
		t.Fatal(err)
	}
	if len(got) != 3 || got[0] != 1 || got[1] != 0 || got[2] != 0 {
		t.Errorf("written to %v, want 1 0 0", got)
	}
	if n := end.(kernel.Tracker).Subscribers(); n != 0 {
		t.Errorf("%d subscribers after the client closed, want 0", n)
	}
}

func TestPipeSendOfTheClientWaitsForAKernelThatDoesNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := kernel.Pipe()
		m := stream("x")
		for range 1024 {
			if err := client.Send(t.Context(), m); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := client.Send(ctx, m); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Send with a full pipe = %v, want it to wait until its context ends", err)
		}
		if _, err := server.Recv(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := client.Send(t.Context(), m); err != nil {
			t.Errorf("Send with room = %v", err)
		}
	})
}
