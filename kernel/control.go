package kernel

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"time"

	"github.com/gokernel/gokernel/protocol"
)

// How long the session may take for what the control channel asks of it.
const (
	callLimit = 5 * time.Second
	// restartLimit and detachLimit leave enough of the 2.5 s after which
	// Jupyter sends SIGTERM to a kernel that was told to shut down.
	restartLimit = 1200 * time.Millisecond
	detachLimit  = 300 * time.Millisecond
)

func (s *serving) interrupt(ctx context.Context) (protocol.Content, error) {
	if s.fenced.Load() {
		return nil, ErrFenced
	}
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	if err := s.sess.Interrupt(ctx); err != nil {
		return nil, fmt.Errorf("interrupting: %w", err)
	}
	return &protocol.InterruptReply{Reply: protocol.Reply{Status: protocol.StatusOK}}, nil
}

// shutdown answers first, for restarting may take as long as a process takes to
// end, and then ends the serving. After [ErrFenced] the session is another
// kernel's and left alone.
func (s *serving) shutdown(ctx context.Context, m *protocol.Message) {
	c, err := m.Decode()
	r, ok := c.(*protocol.ShutdownRequest)
	if err != nil || !ok {
		s.refuse(ctx, m, "InvalidRequest", fmt.Sprint(err))
		return
	}
	s.log.Info("shutdown requested", "restart", r.Restart)
	reply := &protocol.ShutdownReply{Reply: protocol.Reply{Status: protocol.StatusOK}, Restart: r.Restart}
	s.answer(ctx, m, func() (protocol.Content, error) { return reply, nil })
	s.send(ctx, protocol.IOPub, reply, m)
	if s.sess.Kept() && !s.fenced.Load() {
		if r.Restart {
			s.within(ctx, restartLimit, "restarting the session", s.sess.Restart)
		}
		s.deliveries.ack()
		s.within(ctx, detachLimit, "detaching from the session", s.sess.Detach)
	}
	s.stop(ErrShutdown)
}

// within calls f with a deadline. What it could not do in time goes on or is
// undone in the agent; the front has to end.
func (s *serving) within(ctx context.Context, limit time.Duration, what string, f func(context.Context) error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if err := f(ctx); err != nil {
		s.log.Warn("shutdown goes on after an error", "doing", what, "error", err)
	}
}

func (s *serving) usageReply(ctx context.Context) (protocol.Content, error) {
	if s.fenced.Load() {
		return nil, ErrFenced
	}
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	u, err := s.sess.Usage(ctx)
	if err != nil {
		return nil, fmt.Errorf("asking the session for its usage: %w", err)
	}
	host, err := os.Hostname()
	if err != nil {
		host = "localhost"
	}
	reply := &protocol.UsageReply{
		Status: protocol.StatusOK, Hostname: host, PID: u.PID, KernelCPU: u.CPU, KernelMemory: u.Memory, CPUCount: runtime.NumCPU(),
	}
	s.usage.fill(reply)
	return reply, nil
}

func (s *serving) connect() (protocol.Content, error) {
	info := s.opts.Connection
	if info == nil {
		return nil, errors.New("this kernel is not connected by ports")
	}
	return &protocol.ConnectReply{
		Reply:     protocol.Reply{Status: protocol.StatusOK},
		ShellPort: int(info.ShellPort), IOPubPort: int(info.IOPubPort), StdinPort: int(info.StdinPort),
		HBPort: int(info.HBPort), ControlPort: int(info.ControlPort),
	}, nil
}

// refuseDebug returns the response of an adapter that can do nothing: VS Code
// and JupyterLab wait for one even when no debugger is advertised.
func refuseDebug(m *protocol.Message) (protocol.Content, error) {
	var request struct {
		Seq     int    `json:"seq"`
		Command string `json:"command"`
	}
	if err := json.Unmarshal(m.Content, &request); err != nil {
		return nil, fmt.Errorf("debug request: %w", err)
	}
	raw, err := json.Marshal(map[string]any{
		"type": "response", "seq": request.Seq, "request_seq": request.Seq, "command": request.Command,
		"success": false, "message": "gokernel has no debugger", "body": struct{}{},
	})
	return &protocol.DebugReply{Raw: raw}, err
}
