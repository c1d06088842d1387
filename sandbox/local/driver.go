//go:build linux || darwin

package local

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/gokernel/gokernel/internal/proc"
	"github.com/gokernel/gokernel/sandbox"
)

// startTimeout bounds Start when the context does not.
const startTimeout = 30 * time.Second

// Pauses between two looks at an agent that starts or ends.
const (
	firstPause = time.Millisecond
	lastPause  = 20 * time.Millisecond
)

// pause waits for d or until ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Start starts the agent of a session unless it is up, and returns when it
// accepts connections. An agent that is starting because of somebody else is
// waited for.
func (d *Driver) Start(ctx context.Context, spec sandbox.Spec) (sandbox.Handle, error) {
	h, err := d.start(ctx, spec)
	if err != nil {
		return sandbox.Handle{}, fmt.Errorf("start agent of session %s: %w", spec.ID, err)
	}
	return h, nil
}

func (d *Driver) start(ctx context.Context, spec sandbox.Spec) (sandbox.Handle, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, startTimeout, fmt.Errorf("not up within %v", startTimeout))
	defer cancel()
	spec, err := d.complete(spec)
	if err != nil {
		return sandbox.Handle{}, err
	}
	began := time.Now()
	path := filepath.Join(spec.Dir, lockName)
	spawned := false
	for wait := firstPause; ; wait = min(2*wait, lastPause) {
		found, up, err := look(path)
		if err != nil {
			return sandbox.Handle{}, err
		}
		if up != isUp && spawned {
			return sandbox.Handle{}, fmt.Errorf("it ended right after its start: %w", sandbox.ErrNotFound)
		}
		if up == isUp {
			if found.ID != spec.ID {
				return sandbox.Handle{}, fmt.Errorf("directory %s belongs to session %s", spec.Dir, found.ID)
			}
			d.log.Debug("agent is up", "session", spec.ID, "pid", found.PID, "took", time.Since(began))
			return found.handle()
		}
		if up == isDown {
			err := d.spawn(ctx, spec)
			if err == nil {
				spawned = true
				continue
			}
			if !errors.Is(err, errBusy) {
				return sandbox.Handle{}, err
			}
		}
		if err := pause(ctx, wait); err != nil {
			return sandbox.Handle{}, err
		}
	}
}

// A liveness says whether there is an agent.
type liveness int

const (
	isDown     liveness = iota
	isStarting          // or is being stopped
	isUp
)

// look looks for the agent that holds the lock file.
func look(path string) (lockFile, liveness, error) {
	held, err := isHeld(path)
	if errors.Is(err, fs.ErrNotExist) {
		return lockFile{}, isDown, nil
	}
	if err != nil {
		return lockFile{}, isDown, err
	}
	if !held {
		return lockFile{}, isDown, nil
	}
	text, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return lockFile{}, isDown, fmt.Errorf("agent's lock: %w", err)
	}
	var l lockFile
	if json.Unmarshal(text, &l) != nil || !proc.Alive(l.ident()) {
		return lockFile{}, isStarting, nil // not written yet
	}
	return l, isUp, nil
}

// spawn starts an agent and returns when it is ready, or errBusy when there is
// one already.
func (d *Driver) spawn(ctx context.Context, spec sandbox.Spec) error {
	text, err := json.Marshal(spec)
	if err != nil {
		return fmt.Errorf("spec: %w", err)
	}
	cmd, name, err := d.spawner(spec.Agent)
	if err != nil {
		return err
	}
	specR, specW, err := os.Pipe()
	if err != nil {
		return err
	}
	defer specW.Close()
	readyR, readyW, err := os.Pipe()
	if err != nil {
		specR.Close()
		return err
	}
	defer readyR.Close()
	cmd.Env = agentEnv()
	cmd.Dir = "/"
	cmd.ExtraFiles = []*os.File{specR, readyW}
	err = cmd.Start()
	specR.Close()
	readyW.Close()
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() {
		past := time.Unix(1, 0)
		_ = specW.SetDeadline(past) // pipes take deadlines
		_ = readyR.SetDeadline(past)
		_ = cmd.Process.Kill() // may have ended
	})
	defer stop()

	_, _ = specW.Write(text) // who does not read it gives no answer
	specW.Close()
	answer, readErr := io.ReadAll(io.LimitReader(readyR, maxAnswer))
	if ctx.Err() != nil {
		_ = cmd.Wait() // killed
		return context.Cause(ctx)
	}
	waitErr := cmd.Wait()
	switch {
	case string(answer) == answerOK:
		return nil
	case string(answer) == answerBusy:
		return errBusy
	case len(answer) > 0:
		return errors.New(string(answer))
	}
	return fmt.Errorf("%s ended without saying why: %w", name, cmp.Or(waitErr, readErr, errNoAnswer))
}

var errNoAnswer = errors.New("it may not be a gokernel program")

// Dial opens a stream to the agent that h names, and not to a later one of the
// same session.
func (d *Driver) Dial(ctx context.Context, h sandbox.Handle) (net.Conn, error) {
	s, err := d.stateOf(h)
	if err != nil {
		return nil, err
	}
	conn, err := dialSocket(ctx, s.Dir)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return nil, fmt.Errorf("dial agent of session %s: %w", h.ID, sandbox.ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("dial agent of session %s: %w", h.ID, err)
	}
	peer, err := peerOf(conn)
	if err == nil && peer.uid != os.Geteuid() {
		err = fmt.Errorf("%s is user %d's, not yours", s.Socket, peer.uid)
	}
	if err == nil && s.PID != 0 && peer.pid != 0 && peer.pid != s.PID {
		err = fmt.Errorf("%w: process %d has taken its place", sandbox.ErrNotFound, peer.pid)
	}
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("dial agent of session %s: %w", h.ID, err)
	}
	return conn, nil
}

// List returns the agents that are up.
func (d *Driver) List(ctx context.Context) ([]sandbox.Handle, error) {
	var handles []sandbox.Handle
	for _, pattern := range []string{"*", "*/*"} {
		paths, err := filepath.Glob(filepath.Join(globEscape(d.dir), pattern, lockName))
		if err != nil {
			return nil, fmt.Errorf("list agents: %w", err)
		}
		for _, path := range paths {
			if err := ctx.Err(); err != nil {
				return nil, fmt.Errorf("list agents: %w", err)
			}
			l, up, err := look(path)
			if err != nil {
				return nil, fmt.Errorf("list agents: %w", err)
			}
			if up != isUp {
				continue
			}
			h, err := l.handle()
			if err != nil {
				return nil, err
			}
			handles = append(handles, h)
		}
	}
	return handles, nil
}

// Stop ends the agent that h names, by SIGKILL if it does not end by itself,
// and everything that commands of its session have left running. When the
// session has a later agent, that is left alone. The session's directory stays.
func (d *Driver) Stop(ctx context.Context, h sandbox.Handle) error {
	s, err := d.stateOf(h)
	if err != nil {
		return err
	}
	if err := d.stop(ctx, h.ID, s); err != nil {
		return fmt.Errorf("stop agent of session %s: %w", h.ID, err)
	}
	return nil
}

func (d *Driver) stop(ctx context.Context, id string, s state) error {
	path := filepath.Join(s.Dir, lockName)
	for wait := firstPause; ; wait = min(2*wait, lastPause) {
		l, err := acquire(path)
		if err == nil {
			// While we have the lock no new agent starts, whose commands reap
			// would take for leftovers.
			return errors.Join(reap(ctx, id), removeSocket(s.Dir), l.release())
		}
		if errors.Is(err, fs.ErrNotExist) {
			return reap(ctx, id) // the directory is gone
		}
		if !errors.Is(err, errBusy) {
			return err
		}
		found, up, err := look(path)
		if err != nil {
			return err
		}
		switch {
		case up == isUp && (s.PID == 0 || found.ident() == s.ident()):
			if err := d.end(ctx, found.ident()); err != nil {
				return err
			}
		case up == isUp:
			return nil // a later agent
		}
		if err := pause(ctx, wait); err != nil {
			return err
		}
	}
}

// end ends an agent and returns when it is dead.
func (d *Driver) end(ctx context.Context, agent proc.Ident) error {
	if err := proc.Signal(agent, syscall.SIGTERM); err != nil {
		return err
	}
	grace, cancel := context.WithTimeout(ctx, d.grace)
	defer cancel()
	if waitDead(grace, agent) == nil {
		return nil
	}
	d.log.Warn("agent does not end and is killed", "pid", agent.PID)
	if err := proc.Kill(agent); err != nil {
		return err
	}
	return waitDead(ctx, agent)
}

func waitDead(ctx context.Context, agent proc.Ident) error {
	for wait := firstPause; proc.Alive(agent); wait = min(2*wait, lastPause) {
		if err := pause(ctx, wait); err != nil {
			return err
		}
	}
	return nil
}

// reap ends what commands of the session have left, where that can be found.
func reap(ctx context.Context, id string) error {
	_, err := proc.EndMarked(ctx, id)
	if errors.Is(err, errors.ErrUnsupported) {
		return nil // on macOS the isolation says so in its capabilities
	}
	return err
}
