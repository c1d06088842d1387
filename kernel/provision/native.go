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
)

// An Instance is a kernel that is served in this process. Its goroutine ends
// with Close, or by itself when the session has ended.
type Instance struct {
	// Session is the session behind the kernel.
	Session *session.Session
	// Conn is a client's end of the connection. Close closes it.
	Conn kernel.Conn

	attachment *session.Attachment
	made       bool // the session was made for this kernel
	served     chan struct{}
	err        error // of Serve, once served is closed
}

// closeTime bounds Close.
const closeTime = 15 * time.Second

// Native opens a session and serves a kernel in front of it over a pipe. ctx
// bounds only that; the caller closes the instance.
func Native(ctx context.Context, m *session.Manager, r session.OpenRequest, opts *kernel.Options) (*Instance, error) {
	s, err := m.Open(ctx, r)
	if err != nil {
		return nil, err
	}
	a, err := s.Attach(ctx, session.KernelOwner)
	if err != nil {
		if r.Session == "" && !s.Kept() {
			end, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTime)
			defer cancel()
			err = errors.Join(err, s.Close(end))
		}
		return nil, err
	}
	client, end := kernel.Pipe()
	i := &Instance{Session: s, Conn: client, attachment: a, made: r.Session == "", served: make(chan struct{})}
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

// Close ends the kernel and, if it was made for this kernel and is not kept, its
// session, and returns when nothing of them is left. It returns what the kernel
// ended with, if that was not to be expected. It takes no longer than 15 s, also
// when ctx has ended.
func (i *Instance) Close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTime)
	defer cancel()
	err := i.Conn.Close()
	select {
	case <-i.served:
	case <-time.After(closeTime / 3): // it waits for an agent that hangs; without a session it ends
	}
	if i.made && !i.Session.Kept() {
		err = errors.Join(err, i.attachment.Close(ctx))
	} else {
		err = errors.Join(err, i.attachment.Detach(ctx))
	}
	select {
	case <-i.served:
	case <-ctx.Done():
		return errors.Join(err, errors.New("closing the kernel: it does not end"))
	}
	if i.err != nil && !errors.Is(i.err, kernel.ErrShutdown) && !errors.Is(i.err, kernel.ErrSessionEnded) {
		err = errors.Join(err, i.err)
	}
	return err
}
