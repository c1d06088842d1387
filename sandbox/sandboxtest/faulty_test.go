//go:build unix

package sandboxtest_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/gokernel/gokernel/sandbox"
	"github.com/gokernel/gokernel/sandbox/process"
	"github.com/gokernel/gokernel/sandbox/sandboxtest"
)

func TestFaultyIsolation(t *testing.T) {
	broken := errors.New("on demand")
	f := sandboxtest.NewFaultyIsolation(process.New())
	f.FailOpen(broken)
	spec := sandbox.SandboxSpec{ID: "faulty", Dir: t.TempDir()}
	if _, err := f.Open(t.Context(), spec); !errors.Is(err, broken) {
		t.Errorf("open: got %v, want %v", err, broken)
	}
	f.FailOpen(nil)
	box, err := f.Open(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := box.Close(); err != nil {
			t.Error(err)
		}
	})
	sleep := sandbox.Command{Argv: []string{"/bin/sleep", "1000"}}
	f.FailStart(func(cmd sandbox.Command) error {
		if cmd.Argv[0] == sleep.Argv[0] {
			return broken
		}
		return nil
	})
	if _, err := box.Start(t.Context(), sleep); !errors.Is(err, broken) {
		t.Errorf("start: got %v, want %v", err, broken)
	}
	f.FailStart(nil)
	f.DieAfter(time.Millisecond)
	p, err := box.Start(t.Context(), sleep)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), sandboxtest.Wait)
	defer cancel()
	if exit, err := p.Wait(ctx); err != nil || exit.Signal != "SIGKILL" {
		t.Errorf("exit: got %+v, %v, want SIGKILL", exit, err)
	}
	if got := f.Processes(); len(got) != 1 || got[0] != p {
		t.Errorf("processes: got %v, want the one", got)
	}
}

// echo is an agent that answers lines with its session's id and itself ends
// with its context.
func echo(ctx context.Context, spec sandbox.Spec, l net.Listener) error {
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	for {
		conn, err := l.Accept()
		if err != nil {
			return nil
		}
		go func() {
			defer conn.Close()
			for lines := bufio.NewScanner(conn); lines.Scan(); {
				fmt.Fprintln(conn, spec.ID, lines.Text())
			}
		}()
	}
}

func TestDriver(t *testing.T) {
	d := sandboxtest.NewDriver(echo)
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	broken := errors.New("on demand")
	d.FailStart(broken)
	if _, err := d.Start(t.Context(), sandbox.Spec{ID: "a"}); !errors.Is(err, broken) {
		t.Errorf("start: got %v, want %v", err, broken)
	}
	d.FailStart(nil)
	h, err := d.Start(t.Context(), sandbox.Spec{ID: "a"})
	if err != nil {
		t.Fatal(err)
	}
	if again, err := d.Start(t.Context(), sandbox.Spec{ID: "a"}); err != nil || again.ID != h.ID {
		t.Errorf("start again: got %v, %v, want %v", again, err, h)
	}
	dial := func() (net.Conn, *bufio.Reader) {
		t.Helper()
		conn, err := d.Dial(t.Context(), h)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		if err := conn.SetDeadline(time.Now().Add(sandboxtest.Wait)); err != nil {
			t.Fatal(err)
		}
		r := bufio.NewReader(conn)
		fmt.Fprintln(conn, "hello")
		if line, err := r.ReadString('\n'); err != nil || line != "a hello\n" {
			t.Fatalf("answer: got %q, %v", line, err)
		}
		return conn, r
	}
	_, r := dial()
	d.Cut("a")
	if _, err := r.ReadByte(); !errors.Is(err, io.EOF) {
		t.Errorf("read from a cut stream: got %v, want %v", err, io.EOF)
	}
	_, r = dial() // the agent lives on
	d.FailDial(broken)
	if _, err := d.Dial(t.Context(), h); !errors.Is(err, broken) {
		t.Errorf("dial: got %v, want %v", err, broken)
	}
	d.FailDial(nil)
	d.Kill("a")
	if _, err := r.ReadByte(); !errors.Is(err, io.EOF) {
		t.Errorf("read from a killed agent: got %v, want %v", err, io.EOF)
	}
	if _, err := d.Dial(t.Context(), h); !errors.Is(err, sandbox.ErrNotFound) {
		t.Errorf("dial a killed agent: got %v, want %v", err, sandbox.ErrNotFound)
	}
	if h, err = d.Start(t.Context(), sandbox.Spec{ID: "a"}); err != nil {
		t.Fatal(err)
	}
	if list, err := d.List(t.Context()); err != nil || len(list) != 1 || list[0].ID != "a" {
		t.Errorf("list: got %v, %v, want a", list, err)
	}
	if err := d.Stop(t.Context(), h); err != nil {
		t.Fatal(err)
	}
	if list, err := d.List(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("list after stop: got %v, %v, want nothing", list, err)
	}
}
