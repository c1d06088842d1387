// Package session is the Session API: sessions that hold the state of running
// code, each in a process of its own, the agent, that outlives whoever opened
// it. A [Manager] opens, finds, lists and closes them; an [Attachment] is one
// front's link to one of them.
package session

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/gokernel/gokernel/sandbox"
	"github.com/gokernel/gokernel/sandbox/local"
	"github.com/gokernel/gokernel/session/wire"
)

// Options of a Manager. The zero value is useful.
type Options struct {
	// StateDir is where sessions live; empty means StateDir().
	StateDir string
	// Driver starts agents; nil means that they are processes of this machine.
	Driver sandbox.Driver
	// Agent is the program that is the agent, "gokernel" in some place. Empty
	// leaves it to the driver, which for agents on this machine takes the one
	// that the variable GOKERNEL_AGENT names, else this program if it is
	// gokernel, else the gokernel on PATH.
	Agent string
	// Interpreters are the programs of the languages that runs may be in, as
	// paths or as names on PATH. Those that are not here are "python3" for
	// "python" and "node" for "javascript".
	Interpreters map[string]string
	// Isolation confines the sessions that runs make; empty means "process",
	// which confines nothing.
	Isolation string
	// Env is the environment of the sessions that runs make; nil means this
	// process's.
	Env []string
	// Logger takes what happens; nil means nowhere.
	Logger *slog.Logger
}

// A Manager opens, finds, lists and closes sessions. Several, in several
// processes, may work on one state directory at once. All methods are safe for
// concurrent use.
type Manager struct {
	dir          string
	store        *Store
	driver       sandbox.Driver
	agent        string
	interpreters map[string]string
	isolation    string
	env          []string
	log          *slog.Logger
	recent       recent
}

// NewManager returns a manager for the sessions of opts.StateDir, which is
// made if it is not there. Release it when it is no longer needed; sessions live
// on.
func NewManager(opts Options) (*Manager, error) {
	dir := opts.StateDir
	if dir == "" {
		var err error
		if dir, err = StateDir(); err != nil {
			return nil, err
		}
	}
	store, err := OpenStore(dir)
	if err != nil {
		return nil, err
	}
	m := &Manager{
		dir: dir, store: store, driver: opts.Driver, agent: opts.Agent, isolation: cmp.Or(opts.Isolation, defaultIsolation),
		interpreters: map[string]string{"python": "python3", "javascript": "node"}, env: slices.Clone(opts.Env), log: opts.Logger,
	}
	maps.Copy(m.interpreters, opts.Interpreters)
	if m.log == nil {
		m.log = slog.New(slog.DiscardHandler)
	}
	if m.driver == nil {
		m.driver = local.New(dir, &local.Options{Logger: m.log})
	}
	return m, nil
}

// What sessions that runs make are when nothing else is asked for.
const (
	defaultIsolation = "process"
	defaultLanguage  = "python"
)

// Release gives the manager's resources back; it must not be used any more.
// Sessions and attachments of its sessions go on, but an agent that dies is no
// longer started again.
func (m *Manager) Release() error { return m.store.Close() }

// An OpenRequest says what session to open.
type OpenRequest struct {
	// Session is the id or the name of a session. Empty means a new one.
	Session string
	// Create makes a session with the name Session when there is none.
	Create bool

	// The fields below are of a session that is made.

	// Kept makes it stand by itself, under a lease; otherwise it is owned by
	// whoever opens it and ends soon after its owner.
	Kept bool
	// Lease is how long a kept session may be idle; 0 means 24 hours.
	Lease       time.Duration
	Language    string // such as "python"
	Interpreter string // path of the language's program
	Isolation   string // such as "process"
	Env         []string
	// Dir is the working directory. Empty is a fresh one in the session's own
	// directory, a relative one lies in that.
	Dir string
	// ConnectionFile is the connection file of the kernel that owns it. An
	// owned session that was made with the same file is closed first.
	ConnectionFile string
}

// Open finds or makes a session, with an agent that runs. One that exists is
// kept from then on if the request says so. The error wraps ErrNotFound or
// ErrExpired when a session that must exist does not.
func (m *Manager) Open(ctx context.Context, r OpenRequest) (*Session, error) {
	m.reap(ctx)
	if r.ConnectionFile != "" {
		if err := m.closeEarlier(ctx, r.ConnectionFile); err != nil {
			return nil, err
		}
	}
	if r.Session == "" {
		return m.create(ctx, &r)
	}
	for {
		s, err := m.find(ctx, &r)
		if err == nil {
			return s, nil
		}
		if !r.Create || !errors.Is(err, ErrNotFound) && !errors.Is(err, ErrExpired) || IsID(r.Session) {
			return nil, err
		}
		if err := ValidName(r.Session); err != nil {
			return nil, err
		}
		s, err = m.create(ctx, &r)
		if !errors.Is(err, ErrNameTaken) || ctx.Err() != nil {
			return s, err
		}
		// Somebody was faster: what they have made is to be found.
	}
}

// find returns the session that r names, with an agent that runs.
func (m *Manager) find(ctx context.Context, r *OpenRequest) (*Session, error) {
	s, err := m.Get(ctx, r.Session)
	if err != nil {
		return nil, err
	}
	if err := m.ensure(ctx, s); err != nil {
		return nil, err
	}
	if r.Kept && !s.Kept() {
		if err := s.Keep(ctx, r.Lease); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// Get finds the session with this id or name, which must exist. It does not
// start an agent that is not running.
func (m *Manager) Get(ctx context.Context, idOrName string) (*Session, error) {
	row, err := m.lookup(ctx, idOrName)
	if err != nil {
		return nil, err
	}
	if !row.Live() {
		return nil, fmt.Errorf("session %s %w: %s", idOrName, ErrExpired, row.EndReason)
	}
	return &Session{m: m, id: row.ID, row: row}, nil
}

func (m *Manager) lookup(ctx context.Context, idOrName string) (*Row, error) {
	if IsID(idOrName) {
		return m.store.Get(ctx, idOrName)
	}
	return m.store.ByName(ctx, idOrName)
}

// List returns the sessions that have not ended, oldest first. What it says of
// running ones is measured.
func (m *Manager) List(ctx context.Context) ([]Info, error) {
	m.reap(ctx)
	rows, err := m.store.List(ctx, false)
	if err != nil {
		return nil, err
	}
	list := make([]Info, len(rows))
	var asking sync.WaitGroup
	room := make(chan struct{}, askedAtOnce)
	for i, row := range rows {
		asking.Go(func() {
			room <- struct{}{}
			defer func() { <-room }()
			list[i] = m.describe(ctx, row)
		})
	}
	asking.Wait()
	return list, nil
}

const (
	// askedAtOnce is how many agents List asks at the same time, and infoTime
	// how long it waits for one.
	askedAtOnce = 16
	infoTime    = 2 * time.Second
)

// describe says what a session is, by its agent if that answers.
func (m *Manager) describe(ctx context.Context, row *Row) Info {
	ctx, cancel := context.WithTimeout(ctx, infoTime)
	defer cancel()
	s := &Session{m: m, id: row.ID, row: row}
	info, err := s.Info(ctx)
	if info == nil {
		info = registered(row, err)
	}
	return *info
}

// KeepAlive makes a session stand by itself, if it does not yet, under a lease,
// and returns when that ends if nothing happens from now on. A lease of 0 leaves
// it as it is. The lease is renewed by itself whenever something runs in the
// session or is attached to it. The error wraps ErrNotFound, ErrExpired or
// ErrDead, or is an *InvalidError.
func (m *Manager) KeepAlive(ctx context.Context, idOrName string, lease time.Duration) (time.Time, error) {
	if lease < 0 {
		return time.Time{}, &InvalidError{"lease", fmt.Sprintf("%v is negative; give a time, or 0 to leave it as it is", lease)}
	}
	s, err := m.Get(ctx, idOrName)
	if err != nil {
		return time.Time{}, err
	}
	return s.keep(ctx, lease)
}

// Close ends the session with this id or name, and returns when nothing of it is
// left: no process, no file. The error wraps ErrNotFound or ErrExpired when
// there is none.
func (m *Manager) Close(ctx context.Context, idOrName string) error {
	s, err := m.Get(ctx, idOrName)
	if err != nil {
		return err
	}
	return s.Close(ctx)
}

// create makes a session and starts its agent.
func (m *Manager) create(ctx context.Context, r *OpenRequest) (*Session, error) {
	id := uuid.NewString()
	dir := m.sessionDir(id)
	work := r.Dir
	if !filepath.IsAbs(work) {
		work = filepath.Join(dir, "work", filepath.FromSlash(work))
	}
	c := wire.Config{
		Name: r.Session, Language: r.Language, Interpreter: r.Interpreter, Isolation: r.Isolation,
		Programs: filepath.Join(m.dir, "runners"), History: filepath.Join(m.dir, "history.sqlite"),
		Env: r.Env, Dir: work, Kept: r.Kept, Lease: r.Lease,
	}
	raw, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	spec := sandbox.Spec{ID: id, Dir: dir, Secret: newSecret(), Agent: m.agent, Config: raw}
	row := &Row{
		ID: id, Name: r.Session, State: RowStarting, Kept: r.Kept, Language: r.Language, Interpreter: r.Interpreter,
		Dir: work, SessionDir: dir, Isolation: r.Isolation, ConnectionFile: r.ConnectionFile, FrontPID: os.Getpid(),
		Created: time.Now(),
	}
	if err := m.store.Create(ctx, row); err != nil {
		return nil, err
	}
	s := &Session{m: m, id: id, row: row, spec: &spec, made: true, started: true}
	err = os.MkdirAll(dir, 0o700)
	if err == nil && work != r.Dir {
		err = os.MkdirAll(work, 0o700)
	}
	if err != nil {
		err = fmt.Errorf("session directory: %w", err)
	}
	if err == nil {
		err = writeSpec(&spec)
	}
	if err == nil {
		err = s.start(ctx, &spec)
	}
	if err != nil {
		cleanup, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		return nil, errors.Join(err, m.store.Delete(cleanup, id), s.wipe(cleanup, s.handle()))
	}
	return s, nil
}

// ensure starts the agent of a session that exists, unless it is running; if
// another process is about to, it waits for that.
func (m *Manager) ensure(ctx context.Context, s *Session) error {
	c, err := m.driver.Dial(ctx, s.handle())
	if err == nil {
		return c.Close()
	}
	return s.revive(ctx)
}

func (m *Manager) sessionDir(id string) string { return filepath.Join(m.dir, "sessions", id) }

// closeEarlier closes owned sessions of an earlier kernel with the same
// connection file: it has the same ports.
func (m *Manager) closeEarlier(ctx context.Context, file string) error {
	rows, err := m.store.ByConnectionFile(ctx, file)
	if err != nil {
		return err
	}
	for _, row := range rows {
		if row.Kept {
			continue
		}
		s := &Session{m: m, id: row.ID, row: row}
		if err := s.Close(ctx); err != nil {
			return fmt.Errorf("closing the session of the kernel that had this connection file: %w", err)
		}
	}
	return nil
}

// reapAge is how old a session is before its agent may be missing although
// nobody is known to have killed it: before, it may be about to start.
const reapAge = 15 * time.Second

// reap removes owned sessions whose agent and front are gone, at once, and after
// a while those that were never started: killed, they could not do it
// themselves. It ends what other agents that were killed have left running. What fails is tried again the
// next time.
func (m *Manager) reap(ctx context.Context) {
	rows, err := m.store.List(ctx, false)
	if err != nil {
		m.log.Warn("listing sessions", "error", err)
		return
	}
	for _, row := range rows {
		orphan := !alive(row.FrontPID) && (!row.Kept || row.State == RowStarting)
		settled := orphan && row.State == RowLive // there was an agent, and nobody is there to start another
		if !settled && time.Since(row.Created) < reapAge || row.FrontPID == os.Getpid() {
			continue // its agent may be about to be started, or started again
		}
		if !orphan && row.Handle.ID == "" {
			continue // nothing of it has been left
		}
		s := &Session{m: m, id: row.ID, row: row}
		if c, err := m.driver.Dial(ctx, s.handle()); err == nil {
			if err := c.Close(); err != nil {
				m.log.Debug("closing a probe", "error", err)
			}
			continue
		} else if !errors.Is(err, sandbox.ErrNotFound) {
			continue
		}
		if orphan {
			err = s.remove(ctx, "its front and its agent were killed")
		} else if err = m.driver.Stop(ctx, s.handle()); err == nil {
			err = m.store.SetHandle(ctx, row.ID, sandbox.Handle{}) // once is enough
		}
		if err != nil {
			m.log.Warn("reaping", "session", row.ID, "error", err)
		}
	}
}

// newSecret returns what a front must know to talk to an agent.
func newSecret() string {
	b := make([]byte, 32)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

// IsID reports whether s has the form of a generated session id.
func IsID(s string) bool {
	_, err := uuid.Parse(s)
	return err == nil && len(s) == 36
}
