package session

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/google/uuid"

	"github.com/gokernel/gokernel/protocol"
	"github.com/gokernel/gokernel/session/wire"
)

// leaveTime bounds what a run does with its session when it is over.
const leaveTime = 20 * time.Second

// A call is one run as its caller has it. Its methods are for one goroutine, but
// for those of helpers. It starts, and waits for, a goroutine that reads frames,
// one for each transfer and one for an interrupt; one that waits for Request.Input
// ends when that returns.
type call struct {
	m     *Manager
	r     *Request
	id    string
	start time.Time
	resp  *Response
	out   *collector

	found  *Session // the one that was there before; nil if the run makes its own
	s      *Session
	owned  bool // the session is closed when the run is over
	a      *Attachment
	parcel *parcel

	stage Stage // "" before the first
	since time.Time
	spent map[Stage]time.Duration
	ended bool // the last progress was told
	done  bool // perform has returned: nobody has panicked

	follower
}

func newCall(m *Manager, r *Request, id string) *call {
	resp := &Response{RunID: id, Files: map[string]Downloaded{}}
	return &call{
		m: m, r: r, id: id, start: time.Now(), resp: resp, out: newCollector(r, resp), spent: map[Stage]time.Duration{},
		follower: newFollower(),
	}
}

// Run performs a run: it finds or makes the session, sends files, installs
// packages, runs the code and brings results and files back. It waits while
// other runs, or the cells of a kernel, are before it in the session.
//
// The Response is never nil and holds what was collected, whatever the error.
// Code that raises is no error: Success is false then, and Response.Error says
// what it raised. An error is
//
//   - an *InvalidError when a field of r is wrong: nothing has been started;
//   - a *StageError when the run has failed otherwise; it may wrap ErrNotFound,
//     ErrExpired or ErrNameTaken;
//   - one that wraps ErrTimeLimit, or ErrDead when the language process or the
//     agent has died;
//   - the cause of ctx's end. The code is interrupted then, and what it still
//     gives waited for a moment. In a session that is not closed, code that
//     ignores the interrupt goes on; Session.Wait follows it;
//   - what a writer or Input of r has returned.
//
// A session that r has not asked to keep, and that was not there before, is
// closed before Run returns or panics.
func (m *Manager) Run(ctx context.Context, r Request) (resp *Response, err error) {
	c := newCall(m, &r, uuid.NewString())
	resp = c.resp
	defer func() { err = c.finish(ctx, err) }()
	if err = m.validate(&r); err == nil {
		err = c.perform(ctx)
	}
	c.done = true
	return resp, err
}

// perform does everything but the leaving.
func (c *call) perform(ctx context.Context) error {
	limited, cancel := c.limit(ctx)
	defer cancel()
	err := c.prepare(limited)
	if err != nil {
		return c.failed(limited, err)
	}
	if err := c.follow(ctx); err != nil {
		return err
	}
	return c.outcome()
}

// limit returns a context that ends with the run's time.
func (c *call) limit(ctx context.Context) (context.Context, context.CancelFunc) {
	if c.r.TimeLimit == 0 {
		return context.WithCancel(ctx)
	}
	return context.WithDeadlineCause(ctx, c.start.Add(c.r.TimeLimit), c.timeUp())
}

// prepare does the caller's stages and submits the run.
func (c *call) prepare(ctx context.Context) error {
	if err := c.find(ctx); err != nil {
		return err
	}
	if len(c.r.Files) > 0 {
		c.stage, c.since = StageUploading, time.Now()
		var err error
		if c.parcel, err = pack(ctx, c.r.Files); err != nil {
			return err
		}
	}
	if c.found != nil {
		c.enter(StageConnecting, "")
	} else {
		c.enter(StageInitializing, "starting a session")
	}
	if err := c.open(ctx); err != nil {
		return err
	}
	c.enter(StageConnecting, "")
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return c.submit(ctx)
}

// find looks whether the session is there, and checks what depends on that,
// before anything is started.
func (c *call) find(ctx context.Context) error {
	c.stage, c.since = StageConnecting, time.Now()
	if c.found = c.m.recent.get(c.r.Session); c.found != nil {
		return c.suits(c.found)
	}
	return c.lookUp(ctx)
}

// lookUp asks the registry for the session.
func (c *call) lookUp(ctx context.Context) error {
	if c.r.Session != "" {
		s, err := c.m.Get(ctx, c.r.Session)
		if err == nil {
			c.found = s
			return c.suits(s)
		}
		gone := errors.Is(err, ErrNotFound) || errors.Is(err, ErrExpired)
		if !c.r.KeepAlive || IsID(c.r.Session) || !gone {
			return err
		}
	}
	c.stage = StageInitializing
	return checkDir(c.r.Cwd)
}

// suits checks the request against the session that it is for.
func (c *call) suits(s *Session) error {
	if c.r.Lease > 0 && !c.r.KeepAlive && !s.Kept() {
		return invalid("lease", "session %s is not kept, so it has none; set KeepAlive, or leave it out", c.r.Session)
	}
	language := c.r.Language
	if language == "" {
		language = s.language()
	}
	for i, spec := range c.r.Packages {
		if err := wire.CheckPackage(language, spec); err != nil {
			return invalid(fmt.Sprintf("packages[%d]", i), "%v", err)
		}
	}
	return nil
}

// open attaches to the session that is there, or to a new one. In one whose
// agent has just been started it waits for the language process.
func (c *call) open(ctx context.Context) error {
	if c.found == nil {
		return c.create(ctx)
	}
	err := c.attach(ctx, c.found)
	if err == nil {
		c.m.recent.put(c.r.Session, c.found)
		return nil
	}
	c.m.recent.forget(c.r.Session)
	if !errors.Is(err, ErrNotFound) && !errors.Is(err, ErrExpired) {
		return err
	}
	c.found = nil // it has ended: another one may have its name, or it is free
	if err := c.lookUp(ctx); err != nil {
		return err
	}
	if c.found != nil {
		return c.attach(ctx, c.found)
	}
	return c.create(ctx)
}

// create makes the session, unless somebody was faster and made one with its
// name, and attaches to it.
func (c *call) create(ctx context.Context) error {
	language := cmp.Or(c.r.Language, defaultLanguage)
	program, err := interpreter(language, c.m.interpreters[language])
	if err != nil {
		return err
	}
	s, err := c.m.Open(ctx, OpenRequest{
		Session: c.r.Session, Create: c.r.KeepAlive && c.r.Session != "", Kept: c.r.KeepAlive, Lease: c.r.Lease,
		Language: language, Interpreter: program, Isolation: c.m.isolation, Env: c.m.environment(c.r.Env), Dir: c.r.Cwd,
	})
	if err != nil {
		return err
	}
	return c.attach(ctx, s)
}

// attach attaches to s, which is kept from then on if the run says so.
func (c *call) attach(ctx context.Context, s *Session) (err error) {
	c.s, c.owned = s, s.made && !c.r.KeepAlive
	c.resp.SessionID = s.ID()
	if c.a, err = s.attach(ctx, c.id, true); err != nil {
		return err
	}
	keep := !s.made && c.r.KeepAlive && !s.Kept()
	if keep || !s.made && c.r.Lease > 0 && s.Kept() {
		if err := s.Keep(ctx, c.r.Lease); err != nil {
			return err
		}
	}
	if !s.wasStarted() {
		return nil
	}
	if !s.made {
		c.stage = StageInitializing
		c.tell(&Progress{Stage: c.stage, Message: "starting the session's agent again"})
		c.resp.Insights = append(c.resp.Insights, revived)
	}
	if _, err := c.a.Runner(ctx); err != nil && ctx.Err() == nil {
		return fmt.Errorf("the %s process cannot be started: %w", s.language(), err)
	}
	return context.Cause(ctx)
}

// revived says that a session has lost what it held.
var revived = Insight{
	Stage: StageInitializing, Finding: "the session's variables are gone, its files are there",
	Evidence: "its agent had died and was started again for this run",
}

// interpreter finds a language's program.
func interpreter(language, name string) (string, error) {
	program, err := exec.LookPath(name)
	if err == nil {
		program, err = filepath.Abs(program)
	}
	if err != nil {
		return "", fmt.Errorf("the program that runs %s cannot be found: %w; install it, or name another one in Options.Interpreters", language, err)
	}
	return program, nil
}

// environment returns the environment of a session that a run makes.
func (m *Manager) environment(more map[string]string) []string {
	env := m.env
	if env == nil {
		env = os.Environ()
	}
	out := make([]string, 0, len(env)+len(more))
	out = append(out, env...)
	for name, value := range more {
		out = append(out, name+"="+value)
	}
	return out
}

// submit hands the run to the session's queue.
func (c *call) submit(ctx context.Context) error {
	spec := wire.Run{
		Packages: c.r.Packages, Progress: wire.ProgressAlways, Language: c.r.Language, Pull: true,
	}
	if !c.s.made {
		spec.Env, spec.Cwd = c.r.Env, c.r.Cwd
		spec.Interpreter = c.m.interpreters[c.r.Language]
	}
	if c.parcel != nil {
		spec.Manifest = c.parcel.manifest
	}
	for _, d := range c.r.Downloads {
		spec.Downloads = append(spec.Downloads, d.Path)
	}
	now := time.Now()
	if deadline, ok := ctx.Deadline(); ok && c.r.TimeLimit > 0 {
		spec.Limit = max(1, deadline.Sub(now))
	}
	c.spend(now)
	spec.Spent = c.spent
	metadata, err := json.Marshal(map[string]*wire.Run{wire.RunKey: &spec})
	if err != nil {
		return err
	}
	m, err := protocol.New(protocol.Shell, &protocol.ExecuteRequest{
		Code: c.r.Code, StoreHistory: true, AllowStdin: c.r.Input != nil, StopOnError: true,
	}, nil)
	if err != nil {
		return err
	}
	m.Header.MsgID, m.Header.Session = c.id, c.id
	header, err := m.HeaderJSON()
	if err != nil {
		return err
	}
	return c.a.Submit(ctx, &wire.Request{
		ID: c.id, MsgType: m.Header.MsgType, Metadata: metadata, Content: m.Content,
		Origin: wire.Origin{Header: header, Channel: protocol.Shell},
	})
}

// enter begins a stage and tells of it.
func (c *call) enter(stage Stage, message string) {
	c.move(stage)
	c.tell(&Progress{Stage: stage, Message: message})
}

// move begins a stage.
func (c *call) move(stage Stage) {
	c.spend(time.Now())
	c.stage = stage
}

// spend counts the time until now for the present stage.
func (c *call) spend(now time.Time) {
	if c.stage != "" {
		c.spent[c.stage] += now.Sub(c.since)
	}
	c.since = now
}

// tell reports where the run is.
func (c *call) tell(p *Progress) {
	if c.r.OnProgress == nil {
		return
	}
	p.RunID, p.Elapsed = c.id, time.Since(c.start).Milliseconds()
	c.r.OnProgress(*p)
}

// finish leaves the session, or closes it, and completes the response.
func (c *call) finish(ctx context.Context, err error) error {
	if c.stage != "" {
		c.resp.Timing = c.timing(err) // the leaving is no part of the run
	}
	leaveErr := c.leave(ctx)
	c.out.settle()
	if c.stage == "" || !c.done { // nothing was begun, or a callback has panicked
		return errors.Join(err, leaveErr)
	}
	if !c.ended {
		last := &Progress{Stage: StageCompleted}
		if err != nil || !c.resp.Success {
			last.Stage = StageFailed
		}
		c.tell(last)
	}
	if leaveErr != nil {
		leaveErr = fmt.Errorf("closing the session of the run: %w", leaveErr)
	}
	return errors.Join(err, leaveErr)
}

// leave ends what the run has of its session, also when ctx has ended.
func (c *call) leave(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveTime)
	defer cancel()
	var err error
	switch {
	case c.a != nil && c.owned:
		err = c.a.Close(ctx)
	case c.a != nil && c.idle: // nothing of the run is in the session's way
		err = c.a.end()
	case c.a != nil:
		if detachErr := c.a.Detach(ctx); detachErr != nil { // the agent sees soon that the link is gone
			c.m.log.Debug("leaving a session", "session", c.s.id, "error", detachErr)
		}
	case c.s != nil && c.owned:
		err = c.s.Close(ctx)
	}
	if c.parcel != nil {
		err = errors.Join(err, c.parcel.close())
	}
	return err
}
