// Package provision says how one kernel comes to be. So far there is one way:
// ours, in this process, in front of a session.
package provision

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gokernel/gokernel/kernel"
	"github.com/gokernel/gokernel/session"
	"github.com/gokernel/gokernel/session/wire"
)

// An Instance is a kernel that is served in this process. Its goroutine ends
// with Close, or by itself when the session has ended.
type Instance struct {
	// Session is the session behind the kernel.
	Session *session.Session
	// Conn is a client's end of the connection. Close closes it.
	Conn kernel.Conn

	attachment *session.Attachment
	served     chan struct{}
	err        error // of Serve, once served is closed
}

// Native opens a session and serves a kernel in front of it over a pipe.
func Native(ctx context.Context, m *session.Manager, r session.OpenRequest, opts *kernel.Options) (*Instance, error) {
	s, err := m.Open(ctx, r)
	if err != nil {
		return nil, err
	}
	a, err := s.Attach(ctx, wire.KernelOwner)
	if err != nil {
		if !s.Kept() {
			err = errors.Join(err, s.Close(context.WithoutCancel(ctx)))
		}
		return nil, err
	}
	client, end := kernel.Pipe()
	i := &Instance{Session: s, Conn: client, attachment: a, served: make(chan struct{})}
	k := kernel.New(a, opts)
	go func() {
		defer close(i.served)
		i.err = k.Serve(context.WithoutCancel(ctx), end)
		if err := end.Close(); err != nil && i.err == nil {
			i.err = fmt.Errorf("closing the kernel's connection: %w", err)
		}
	}()
	return i, nil
}

// Interrupt interrupts what runs.
func (i *Instance) Interrupt(ctx context.Context) error { return i.attachment.Interrupt(ctx) }

// Close ends the kernel and, unless it is kept, its session, and returns when
// nothing of them is left. It returns what the kernel ended with, if that was
// not to be expected.
func (i *Instance) Close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 15*time.Second)
	defer cancel()
	err := i.Conn.Close()
	<-i.served
	if i.Session.Kept() {
		err = errors.Join(err, i.attachment.Detach(ctx))
	} else {
		err = errors.Join(err, i.attachment.Close(ctx))
	}
	if i.err != nil && !errors.Is(i.err, kernel.ErrShutdown) {
		err = errors.Join(err, i.err)
	}
	return err
}
