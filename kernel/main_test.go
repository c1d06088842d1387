package kernel_test

import (
	"context"
	"errors"
	"testing"

	"go.uber.org/goleak"

	"github.com/gokernel/gokernel/kernel"
	"github.com/gokernel/gokernel/kernel/kerneltest"
	"github.com/gokernel/gokernel/protocol"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// errTestOver is why a kernel ends that nothing else has ended.
var errTestOver = errors.New("the test is over")

// serve serves sess on conn until the test ends. The function that it returns
// waits for the end and returns what Serve returned.
func serve(t testing.TB, sess kernel.Session, conn kernel.Conn, opts *kernel.Options) func() error {
	t.Helper()
	ctx, cancel := context.WithCancelCause(context.Background())
	done := make(chan struct{})
	var result error
	go func() {
		defer close(done)
		result = kernel.New(sess, opts).Serve(ctx, conn)
	}()
	t.Cleanup(func() {
		cancel(errTestOver)
		<-done
		if err := conn.Close(); err != nil {
			t.Errorf("closing the kernel's connection: %v", err)
		}
	})
	return func() error {
		<-done
		return result
	}
}

// start serves a scripted session over a pipe.
func start(t testing.TB, cfg kerneltest.Config, opts *kernel.Options) (*kerneltest.Client, *kerneltest.Session, func() error) {
	t.Helper()
	client, conn := kernel.Pipe()
	sess := kerneltest.NewSession(t, cfg)
	wait := serve(t, sess, conn, opts)
	return kerneltest.NewClient(t, client), sess, wait
}

func execute(code string) *protocol.ExecuteRequest {
	return &protocol.ExecuteRequest{Code: code, StoreHistory: true, StopOnError: true}
}
