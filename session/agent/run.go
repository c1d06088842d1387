package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/gokernel/gokernel/protocol"
	"github.com/gokernel/gokernel/session/wire"
)

// begin begins the course of r, an execute whose turn has come.
func (a *Agent) begin(ctx context.Context, r *request) {
	now := time.Now()
	if r.owner != wire.KernelOwner {
		r.used = a.meter(ctx)
		now = r.taken
	}
	r.course = newCourse(a, r, now)
	r.course.enter(wire.StageConnecting)
	a.history.begin(r.course)
}

// prepare performs the stages of r that come before its code, and reports
// whether the code is to be run; otherwise r is answered.
func (a *Agent) prepare(ctx context.Context, r *request, p *process) bool {
	ctx, stop := r.stageContext(ctx)
	defer stop()
	dir, err := a.workdir(r.run)
	if err == nil && len(r.run.Files)+len(r.run.Manifest) > 0 {
		r.course.enter(wire.StageUploading)
		err = a.upload(ctx, r, dir, r.course.report)
	}
	if err == nil && len(r.run.Packages) > 0 {
		r.course.enter(wire.StageInstalling)
		err = a.install(ctx, r, p, r.run.Packages, r.run.Env, r.course.report)
	}
	if err == nil {
		if r.run.Cwd != "" {
			r.cwd = dir
		}
		r.env = r.run.Env
		return true
	}
	a.stageFailed(ctx, r, err)
	return false
}

// stageContext returns a context that ends when r is interrupted.
func (r *request) stageContext(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	over := make(chan struct{})
	watched := make(chan struct{})
	go func() { // ends with stop
		defer close(watched)
		select {
		case <-r.cancelled:
			cancel(errInterrupted)
		case <-over:
		}
	}()
	return ctx, func() {
		close(over)
		<-watched
		cancel(nil)
	}
}

// Names of the errors with which a stage of a run ends.
var stageErrors = map[wire.Stage]string{
	wire.StageConnecting:   wire.NameSetup,
	wire.StageInitializing: wire.NameSetup,
	wire.StageUploading:    wire.NameUpload,
	wire.StageInstalling:   wire.NameInstall,
	wire.StageDownloading:  wire.NameDownload,
}

// stageFailed answers r, a stage of which has ended with err.
func (a *Agent) stageFailed(ctx context.Context, r *request, err error) {
	switch {
	case errors.Is(context.Cause(ctx), errInterrupted):
		a.replyEnded(r)
	case ctx.Err() != nil:
		a.replyAborted(r) // the session ends
	default:
		a.replyFailed(r, stageErrors[r.course.at()], err.Error())
	}
}

// conclude performs what comes after the code of r, whose reply was held back,
// and publishes that.
func (a *Agent) conclude(ctx context.Context, r *request, p *process) {
	if r.held == nil {
		a.replyFailed(r, nameNoReply, "The "+p.lang.name+" process has answered without a reply.")
		return
	}
	var files map[string]wire.Delivered
	if len(r.run.Downloads) > 0 && !r.limited.Load() {
		r.course.enter(wire.StageDownloading)
		files = a.fetch(ctx, r)
	}
	reply := r.held
	result := r.course.finish(replyStatus(reply.content).Status != protocol.StatusError, files, r.measured())
	reply.metadata = a.withResult(reply.metadata, result)
	p.publishReply(r, reply)
}

// fetch performs the stage downloading. A failure of all of it is one of each
// file.
func (a *Agent) fetch(ctx context.Context, r *request) map[string]wire.Delivered {
	r.staging.Store(true)
	defer r.staging.Store(false)
	ctx, stop := r.stageContext(ctx)
	defer stop()
	dir, err := a.workdir(r.run)
	var files map[string]wire.Delivered
	if err == nil {
		files, err = a.download(ctx, r, dir, r.course.report)
	}
	if err == nil {
		return files
	}
	files = map[string]wire.Delivered{}
	for _, path := range r.run.Downloads {
		files[path] = wire.Delivered{Error: err.Error()}
	}
	return files
}

// unwatch ends the measurement of r, if there is one.
func (r *request) unwatch() {
	if r.used != nil {
		r.used()
		r.used = nil
	}
}

// measured returns what the run has used, nil for a cell.
func (r *request) measured() *wire.Resources {
	if r.used == nil {
		return nil
	}
	used := r.used()
	return &used
}

// A reply is one that is to be published.
type reply struct {
	msgType  string
	metadata []byte
	content  []byte
	buffers  [][]byte
}

// A replyStatusContent is what the agent needs of a reply to an execute.
type replyStatusContent struct {
	Status string `json:"status"`
	Count  int    `json:"execution_count"`
}

func replyStatus(content []byte) (s replyStatusContent) {
	if json.Unmarshal(content, &s) != nil {
		return replyStatusContent{Status: protocol.StatusError}
	}
	return s
}

// withResult returns the metadata of a reply with the result of the run.
func (a *Agent) withResult(metadata []byte, result *wire.RunResult) []byte {
	b, err := json.Marshal(result)
	if err != nil {
		a.log.Error("encoding a run's result", "error", err)
		return metadata
	}
	body := bytes.TrimSpace(metadata)
	body = bytes.TrimSpace(bytes.TrimSuffix(bytes.TrimPrefix(body, []byte("{")), []byte("}")))
	out := make([]byte, 0, len(body)+len(b)+len(wire.RunKey)+8)
	out = append(out, '{')
	if len(body) > 0 {
		out = append(append(out, body...), ',')
	}
	out = fmt.Appendf(out, "%q:", wire.RunKey)
	return append(append(out, b...), '}')
}

// finish says that r, which is known and does not wait, is over.
func (a *Agent) finish(r *request) {
	if r.execute != nil {
		a.history.drop(r)
	}
	a.queue.finish(r)
	close(r.finished)
}
