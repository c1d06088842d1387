package kernel_test

import (
	"context"
	"slices"
	"sync"
	"testing"

	"github.com/gokernel/gokernel/kernel"
	"github.com/gokernel/gokernel/kernel/kerneltest"
	"github.com/gokernel/gokernel/kernel/zmq"
	"github.com/gokernel/gokernel/protocol"
)

func listen(t testing.TB) *zmq.Conn {
	t.Helper()
	conn, err := zmq.Listen(&protocol.ConnectionInfo{Transport: "tcp", IP: "127.0.0.1", Key: "secret", SignatureScheme: protocol.SchemeHMACSHA256}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

func dial(t testing.TB, conn *zmq.Conn) *zmq.Client {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), kerneltest.Timeout)
	defer cancel()
	client, err := zmq.Dial(ctx, conn.Info(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func TestZMQKeepsTheContractOfConn(t *testing.T) {
	kerneltest.TestConn(t, func(t *testing.T) (client, server kernel.Conn) {
		conn := listen(t)
		// A client is ready when a kernel has answered it.
		ctx, cancel := context.WithCancel(context.Background())
		var wg sync.WaitGroup
		wg.Go(func() {
			if err := kernel.New(kerneltest.NewSession(t, kerneltest.Config{}), nil).Serve(ctx, conn); ctx.Err() == nil {
				t.Errorf("Serve = %v", err)
			}
		})
		client = dial(t, conn)
		cancel()
		wg.Wait()
		return client, conn
	})
}

func TestKernelOverZMQServesTwoClientsWithTheirOwnParents(t *testing.T) {
	conn := listen(t)
	sess := kerneltest.NewSession(t, kerneltest.Config{})
	serve(t, sess, conn, nil)
	a, b := kerneltest.NewClient(t, dial(t, conn)), kerneltest.NewClient(t, dial(t, conn))
	for range 10 {
		ma, mb := a.Request(protocol.Shell, execute("a")), b.Request(protocol.Shell, execute("b"))
		want := []string{"iopub status busy", "iopub execute_input", "iopub stream", "iopub status idle"}
		b.Idle(ma) // everybody sees all of iopub
		// A late answer to one of Dial's questions makes busy come twice.
		if got := slices.Compact(b.Transcript(ma)); !slices.Equal(got, want) {
			t.Errorf("the other client sees %q, want %q", got, want)
		}
		a.Reply(ma)
		b.Reply(mb)
		a.Idle(mb)
	}
	sess.WaitAcked(t)
}
