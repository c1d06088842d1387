package kernel_test

import (
	"context"
	"testing"

	"github.com/google/uuid"

	"github.com/gokernel/gokernel/kernel"
	"github.com/gokernel/gokernel/kernel/kerneltest"
	"github.com/gokernel/gokernel/protocol"
)

// BenchmarkExecuteNoop measures what the kernel adds to an execute, from the
// request to its reply and idle, and for kernel_info the whole.
func BenchmarkExecuteNoop(b *testing.B) {
	for _, transport := range []string{"pipe", "zmq"} {
		b.Run(transport, func(b *testing.B) { benchmark(b, transport, execute("1")) })
		b.Run(transport+"-kernel-info", func(b *testing.B) { benchmark(b, transport, &protocol.KernelInfoRequest{}) })
	}
}

func benchmark(b *testing.B, transport string, content protocol.Content) {
	sess := kerneltest.NewSession(b, kerneltest.Config{Handler: func(r *kerneltest.Run) { r.OK() }})
	client, conn := kernel.Pipe()
	if transport == "zmq" {
		l := listen(b)
		serve(b, sess, l, nil)
		client = dial(b, l)
	} else {
		serve(b, sess, conn, nil)
	}
	defer func() {
		if err := client.Close(); err != nil {
			b.Error(err)
		}
	}()
	ctx := context.Background()
	b.ReportAllocs()
	for b.Loop() {
		m, err := protocol.New(protocol.Shell, content, nil)
		if err != nil {
			b.Fatal(err)
		}
		m.Header.MsgID = uuid.NewString()
		if err := client.Send(ctx, m); err != nil {
			b.Fatal(err)
		}
		for replied, idle := false, false; !replied || !idle; {
			r, err := client.Recv(ctx)
			if err != nil {
				b.Fatal(err)
			}
			switch {
			case r.Channel == protocol.Shell:
				replied = true
			case r.Header.MsgType == "status" && string(r.Content) == `{"execution_state":"idle"}`:
				idle = true
			}
		}
	}
}

// BenchmarkStream measures how many output frames a second reach a client.
func BenchmarkStream(b *testing.B) {
	client, conn := kernel.Pipe()
	sess := kerneltest.NewSession(b, kerneltest.Config{})
	serve(b, sess, conn, nil)
	defer func() {
		if err := client.Close(); err != nil {
			b.Error(err)
		}
	}()
	m, err := protocol.New(protocol.Shell, execute("opens the gate"), nil)
	if err != nil {
		b.Fatal(err)
	}
	if err := client.Send(context.Background(), m); err != nil {
		b.Fatal(err)
	}
	for range 5 {
		if _, err := client.Recv(context.Background()); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	b.ResetTimer()
	go func() {
		for range b.N {
			sess.Emit(output())
		}
	}()
	for range b.N {
		if _, err := client.Recv(context.Background()); err != nil {
			b.Fatal(err)
		}
	}
}
