package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/gokernel/gokernel/protocol"
	"github.com/gokernel/gokernel/session/agent/files"
	"github.com/gokernel/gokernel/session/wire"
)

// errGone is why a stage ends whose run has no caller any more.
var errGone = errors.New("whoever asked for the run is gone")

// An exchange is the files of a run that its caller may send or fetch just now.
// There is at most one, for the stage of the run that is performed. Transfers
// take part in it; none is left when it is over.
type exchange struct {
	r      *request
	space  *files.Workspace
	report report
	what   string // what is being done, for people

	done   chan struct{} // closed when it has come to its end, or has failed
	ctx    context.Context
	cancel context.CancelFunc // ends the transfers
	users  sync.WaitGroup     // transfers that take part

	needed  map[int]*wire.Manifest // of an upload, by index in the run's manifest
	offered []string               // of a download: paths by index; "" cannot be had

	mu      sync.Mutex   // guards the fields below
	missing map[int]bool // of needed: what has not come
	active  int          // transfers that take part
	ended   bool         // done is closed
	over    bool         // nobody may take part any more
	err     error        // why it has failed
	moved   int64        // bytes, of what counts
	most    int64        // what was reported of them
	total   int64
}

func newExchange(r *request, space *files.Workspace, what string, report report) *exchange {
	return &exchange{
		r: r, space: space, report: report, what: what, done: make(chan struct{}),
		needed: map[int]*wire.Manifest{}, missing: map[int]bool{},
	}
}

// exchange lets the caller of x's run send or fetch, tells it so with content,
// and returns when x has come to its end, or ctx has, or when nobody is there who
// could do it.
func (a *Agent) exchange(ctx context.Context, x *exchange, msgType string, content any) error {
	raw, err := json.Marshal(content)
	if err != nil {
		return err
	}
	x.ctx, x.cancel = context.WithCancel(context.Background())
	a.shared.Store(x) // it stays, for who does not know yet that it is over
	defer x.close()
	a.journal.Append(&wire.Frame{
		Kind: wire.KindTransfer, Request: x.r.ID, Owner: x.r.owner, Channel: protocol.IOPub, MsgType: msgType, Time: time.Now(),
		Parent: x.r.Origin.Header, Content: raw,
	})
	look := time.NewTicker(max(a.grace/8, time.Millisecond))
	defer look.Stop()
	seen := time.Now()
	for {
		select {
		case <-x.done:
			return x.failure()
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-look.C:
			if x.busy() || a.isAttached(x.r.owner) {
				seen = time.Now()
			} else if time.Since(seen) > a.grace {
				return errGone
			}
		}
	}
}

// isAttached reports whether a front of this owner is attached.
func (a *Agent) isAttached(owner string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	for f := range a.fronts {
		if f.owner == owner {
			return true
		}
	}
	return false
}

// A share is the part of one transfer in an exchange. When the exchange ends, so
// does the transfer's connection, unless it was let go before.
type share struct {
	x     *exchange
	letGo func() bool
	once  sync.Once
}

// join makes a transfer on c take part in the exchange of a run, until leave is
// called. It returns nil when that is over and nothing was wrong with it.
func (a *Agent) join(c net.Conn, run string) (*exchange, *share, error) {
	x := a.shared.Load()
	if x == nil || run != x.r.ID && run != x.r.owner {
		return nil, nil, fmt.Errorf("%w: run %s has no files to send or to fetch now", errBad, quoteID(run))
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.over {
		if !x.ended || x.err != nil {
			return nil, nil, fmt.Errorf("%w: run %s has no files to send or to fetch any more", errBad, quoteID(run))
		}
		return x, nil, nil
	}
	x.active++
	x.users.Add(1)
	return x, &share{x: x, letGo: context.AfterFunc(x.ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })}, nil
}

// leave says that the transfer is over.
func (s *share) leave() {
	if s == nil {
		return
	}
	s.once.Do(func() {
		s.letGo()
		s.x.mu.Lock()
		s.x.active--
		s.x.mu.Unlock()
		s.x.users.Done()
	})
}

// quoteID returns an id as it stands in an error.
func quoteID(id string) string { return fmt.Sprintf("%.80q", id) }

// finish says that x has come to its end, or why it has failed.
func (x *exchange) finish(err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.finishLocked(err)
}

func (x *exchange) finishLocked(err error) {
	if x.ended {
		return
	}
	x.ended, x.err = true, err
	close(x.done)
}

// close ends what still takes part and waits for it.
func (x *exchange) close() {
	x.mu.Lock()
	x.over = true
	x.mu.Unlock()
	x.cancel()
	x.users.Wait()
}

func (x *exchange) failure() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.err
}

func (x *exchange) busy() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.active > 0
}

// count counts n bytes that have moved, or with a negative n that were in vain,
// and reports them. What is reported never goes back. The caller holds mu.
func (x *exchange) count(n int64) {
	x.moved += n
	if x.moved <= x.most || x.over {
		return
	}
	x.most = min(x.moved, x.total)
	x.report(x.what, x.most, x.total, "bytes")
}
