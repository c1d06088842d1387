// Command below uses what lies below runs: files, commands and interrupts of a
// session, beside its queue.
package main

import (
	"bytes"
	"context"
	"fmt"
	"log"
	"os"
	"strings"
	"sync"

	"github.com/gokernel/gokernel/session"
)

func main() {
	if err := work(context.Background()); err != nil {
		log.Fatal(err)
	}
}

func work(ctx context.Context) error {
	m, err := session.NewManager(session.Options{})
	if err != nil {
		return err
	}
	defer m.Release()
	made, err := m.Run(ctx, session.Request{Code: "import sys", KeepAlive: true})
	if err != nil {
		return err
	}
	defer m.Close(ctx, made.SessionID)
	s, err := m.Get(ctx, made.SessionID)
	if err != nil {
		return err
	}

	if err := s.WriteFile(ctx, "notes/hello.txt", strings.NewReader("hello\nworld\n"), 0); err != nil {
		return err
	}
	files, err := s.ListFiles(ctx, "notes")
	if err != nil {
		return err
	}
	for _, f := range files {
		fmt.Println(f.Name, f.Size, "bytes")
	}

	// A command is an argv, seen by no shell.
	exit, err := s.Command(ctx, session.Command{Argv: []string{"sort", "-r", "notes/hello.txt"}, Stdout: os.Stdout})
	if err != nil {
		return err
	}
	fmt.Println("exit status", exit.Code)

	var text bytes.Buffer
	if _, err := s.ReadFile(ctx, "notes/hello.txt", &text); err != nil {
		return err
	}
	fmt.Printf("%q\n", text.String())

	// Interrupt hits what runs; the session and its variables stay.
	r, err := m.Run(ctx, session.Request{
		Session: made.SessionID,
		Code:    "x = 1\nprint('looping', flush=True)\nwhile True: pass",
		Stdout:  &onceWriter{f: func() error { return s.Interrupt(ctx) }},
	})
	if err != nil {
		return err
	}
	fmt.Println(r.Error.Name)
	r, err = m.Run(ctx, session.Request{Session: made.SessionID, Code: "x"})
	if err != nil {
		return err
	}
	fmt.Println("x is still", r.Text)
	return nil
}

// A onceWriter calls f with the first that is written.
type onceWriter struct {
	f    func() error
	once sync.Once
}

func (w *onceWriter) Write(b []byte) (n int, err error) {
	w.once.Do(func() { err = w.f() })
	return len(b), err
}
