//go:build linux || darwin

package session_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/gokernel/gokernel/session/wire"
)

// idle takes frames until the request with this id is idle, and acknowledges
// them as a kernel does. It returns how many bytes of content came.
func idle(b *testing.B, f *front, id string) (n int) {
	b.Helper()
	for {
		frame, err := f.a.Next(context.Background())
		if err != nil {
			b.Fatal(err)
		}
		n += len(frame.Content)
		f.last = frame.Cursor
		if frame.Request == id && frame.MsgType == "status" && strings.Contains(string(frame.Content), "idle") {
			f.a.Ack(frame.Cursor, nil)
			return n
		}
	}
}

// What it takes from Submit until idle, through the agent and its runner.
func BenchmarkExecuteNoop(b *testing.B) {
	m, _ := manage(b, b.TempDir())
	f := attach(b, open(b, m, request("bench", true)), wire.KernelOwner)
	f.execute("warm", "")
	idle(b, f, "warm")
	for i := 0; b.Loop(); i++ {
		id := fmt.Sprintf("r%d", i)
		f.execute(id, "")
		idle(b, f, id)
	}
}

// How fast 50 MiB of text come from the runner through the agent.
func BenchmarkStream(b *testing.B) {
	m, _ := manage(b, b.TempDir())
	f := attach(b, open(b, m, request("bench", true)), wire.KernelOwner)
	f.execute("warm", "")
	idle(b, f, "warm")
	b.SetBytes(50 << 20)
	for i := 0; b.Loop(); i++ {
		id := fmt.Sprintf("r%d", i)
		f.execute(id, "chunk 50 1048576")
		if n := idle(b, f, id); n < 50<<20 {
			b.Fatalf("%d bytes came", n)
		}
	}
}
