package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"github.com/gokernel/gokernel/session/wire"
)

// errBad is wrapped by errors about calls that make no sense.
var errBad = errors.New("bad request")

const (
	// maxCalls is how many calls of one connection are performed at once.
	maxCalls = 256
	// resultTime is how long a result may take to go out.
	resultTime = 10 * time.Second
)

// serveControl answers calls, each in a goroutine of its own, so that none
// waits for another.
func (a *Agent) serveControl(ctx context.Context, c net.Conn, r *wire.Reader, h *wire.Hello) error {
	if err := c.SetDeadline(time.Time{}); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	var calls sync.WaitGroup
	var writes sync.Mutex
	room := make(chan struct{}, maxCalls)
	defer calls.Wait()
	defer cancel()
	for {
		packet, err := r.Read()
		if err != nil {
			return err
		}
		var call wire.Call
		if err := json.Unmarshal(packet.Head, &call); err != nil || call.Type != wire.TypeCall {
			return fmt.Errorf("%w: not a call", wire.ErrPacket)
		}
		select {
		case room <- struct{}{}:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		calls.Go(func() {
			defer func() { <-room }()
			result := a.result(ctx, h, &call)
			writes.Lock()
			defer writes.Unlock()
			err := c.SetWriteDeadline(time.Now().Add(resultTime))
			if err == nil {
				err = writeHead(c, result)
			}
			if err != nil {
				a.log.Debug("a caller takes no answer", "error", err)
				_ = c.Close() // the reader sees it
			}
		})
	}
}

// result performs one call and says how it went.
func (a *Agent) result(ctx context.Context, h *wire.Hello, call *wire.Call) *wire.Result {
	value, err := a.call(ctx, h, call)
	result := &wire.Result{Type: wire.TypeResult, ID: call.ID, Value: value}
	switch {
	case err == nil:
		return result
	case errors.Is(err, errBad):
		result.Code = wire.CodeBad
	case call.Method == wire.CallList:
		result.Code = codeOf(err)
	case errors.Is(err, wire.ErrFenced):
		result.Code = wire.CodeFenced
	case errors.Is(err, errOver):
		result.Code = wire.CodeClosing
	default:
		result.Code = wire.CodeFailed
	}
	result.Error = err.Error()
	return result
}

// call performs one call.
func (a *Agent) call(ctx context.Context, h *wire.Hello, call *wire.Call) (json.RawMessage, error) {
	switch call.Method {
	case wire.CallInterrupt, wire.CallRestart, wire.CallClose, wire.CallKeep:
		if h.Owner == wire.KernelOwner && a.isFenced(h.Front) {
			return nil, wire.ErrFenced
		}
	}
	switch call.Method {
	case wire.CallInfo:
		return json.Marshal(a.info(ctx))
	case wire.CallRunner:
		info, err := a.lang.info(ctx)
		if err != nil {
			return nil, err
		}
		return json.Marshal(info)
	case wire.CallUsage:
		usage, err := a.measure(ctx)
		if err != nil {
			return nil, err
		}
		return json.Marshal(usage)
	case wire.CallInterrupt:
		args := wire.InterruptArgs{Owner: h.Owner}
		if err := decodeArgs(call, &args); err != nil {
			return nil, err
		}
		if args.Owner == "" {
			args.Owner = wire.KernelOwner
		}
		return nil, a.interrupt(args.Owner)
	case wire.CallRestart:
		return nil, a.restart(a.lang)
	case wire.CallDetach:
		var args wire.DetachArgs
		if err := decodeArgs(call, &args); err != nil {
			return nil, err
		}
		return nil, a.leave(h, args.Ack)
	case wire.CallClose:
		a.end("it was closed")
		return nil, nil
	case wire.CallRuns:
		return json.Marshal(a.history.records())
	case wire.CallList:
		var args wire.ListArgs
		if err := decodeArgs(call, &args); err != nil {
			return nil, err
		}
		list, err := a.list(&args)
		if err != nil {
			return nil, err
		}
		return json.Marshal(list)
	case wire.CallFetched:
		var args wire.FetchedArgs
		if err := decodeArgs(call, &args); err != nil {
			return nil, err
		}
		return nil, a.fetched(args.Run)
	case wire.CallKeep:
		var args wire.KeepArgs
		if err := decodeArgs(call, &args); err != nil {
			return nil, err
		}
		return nil, a.keep(args.Lease)
	}
	return nil, fmt.Errorf("%w: method %q is not known", errBad, call.Method)
}

func decodeArgs(call *wire.Call, args any) error {
	if len(call.Args) == 0 {
		return nil
	}
	if err := json.Unmarshal(call.Args, args); err != nil {
		return fmt.Errorf("%w: arguments of %s: %w", errBad, call.Method, err)
	}
	return nil
}

// leave notes that a front goes and leaves the session as it is.
func (a *Agent) leave(h *wire.Hello, ack *wire.Ack) error {
	if ack != nil && h.Owner == wire.KernelOwner {
		a.acknowledge(h.Front, ack)
	}
	if !a.isKept() {
		return fmt.Errorf("%w: the session is owned by its front, it can be closed but not left", errBad)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for f := range a.fronts {
		if f.name == h.Front && f.owner == h.Owner {
			f.mu.Lock()
			f.leaving = true
			f.mu.Unlock()
		}
	}
	return nil
}

// keep makes the session stand by itself, under a lease, which begins anew. One of
// 0 is the present one.
func (a *Agent) keep(lease time.Duration) error {
	if lease < 0 {
		return fmt.Errorf("%w: a lease of %v", errBad, lease)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.endsLocked(); err != nil {
		return err
	}
	a.kept = true
	if lease > 0 {
		a.term = lease
	}
	a.idleFrom = time.Now() // if nothing holds it
	a.touch()
	return nil
}

// info says what the session is and how it is.
func (a *Agent) info(ctx context.Context) *wire.Info {
	waiting, total := a.queue.counts()
	info := &wire.Info{
		ID: a.spec.ID, Name: a.config.Name, Language: a.config.Language, Isolation: a.isolation, Epoch: a.journal.Epoch(),
		AgentPID: os.Getpid(), Created: a.account.created, Queued: waiting, Executed: total, Dir: a.config.Dir, Journal: a.journal.Bytes(),
		State: wire.StateStarting, LinkVersion: wire.Version, LastActive: a.queue.lastActive(), Languages: a.spoken(),
		Packages: a.shelf.packages(),
	}
	p, failure := a.lang.get()
	switch {
	case failure != nil:
		info.State, info.Failure = wire.StateFailed, failure.Error()
	case p != nil && p.isReady():
		info.State, info.PID = wire.StateIdle, p.proc.PID()
		if a.queue.current() != nil {
			info.State = wire.StateBusy
		}
	}
	if stats, err := a.sandbox.Stats(ctx); err == nil {
		info.Memory, info.CPU = stats.Memory, stats.CPU.Seconds()
	}
	left, _, held := a.remaining(time.Now())
	a.mu.Lock()
	defer a.mu.Unlock()
	info.Kept = a.kept
	if a.kept && !held {
		info.Expires = time.Now().Add(left)
	}
	for f := range a.fronts {
		if f.owner == wire.KernelOwner {
			info.Attached = true
		} else {
			info.Runs++
		}
	}
	return info
}

// A usageSample is what was measured last, to tell a rate.
type usageSample struct {
	at  time.Time
	cpu time.Duration
}

// measure says what the session's processes use.
func (a *Agent) measure(ctx context.Context) (*wire.Usage, error) {
	stats, err := a.sandbox.Stats(ctx)
	if err != nil {
		return nil, err
	}
	u := &wire.Usage{Memory: stats.Memory}
	if p, _ := a.lang.get(); p != nil {
		u.PID = p.proc.PID()
	}
	now := usageSample{at: time.Now(), cpu: stats.CPU}
	a.mu.Lock()
	defer a.mu.Unlock()
	if past := now.at.Sub(a.usage.at); !a.usage.at.IsZero() && past > 0 {
		u.CPU = 100 * max(0, (now.cpu-a.usage.cpu).Seconds()) / past.Seconds()
	}
	a.usage = now
	return u, nil
}
