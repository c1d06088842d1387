package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/gokernel/gokernel/session/agent/files"
	"github.com/gokernel/gokernel/session/wire"
)

// maxDelivered is how many bytes of files come in a reply together.
const maxDelivered = 32 << 20

// download performs the stage downloading of r. Its caller fetches the files, if
// that is what it wants; otherwise they are returned. Each has its own error: one
// failure does not spoil the others.
func (a *Agent) download(ctx context.Context, r *request, dir string, report report) (map[string]wire.Delivered, error) {
	space, err := files.Open(dir, &a.sweeper)
	if err != nil {
		return nil, err
	}
	var delivered map[string]wire.Delivered
	if r.run.Pull {
		err = a.offer(ctx, r, space, report)
	} else {
		delivered, err = deliver(ctx, r, space, report)
	}
	return delivered, errors.Join(err, space.Close())
}

// offer lets the caller of r fetch its downloads until it says that it has. When
// it is gone the stage is over all the same.
func (a *Agent) offer(ctx context.Context, r *request, space *files.Workspace, report report) error {
	x := newExchange(r, space, "fetching files", report)
	offer := wire.Offer{Files: []wire.Offered{}}
	for _, name := range r.run.Downloads {
		offered := wire.Offered{Path: name}
		f, err := space.Read(name)
		if err != nil {
			offered.Code, offered.Error = codeOf(err), err.Error()
			name = ""
		} else {
			offered.Size, offered.Mode = f.Size(), uint32(f.Mode())
			f.Close()
		}
		offer.Files = append(offer.Files, offered)
		x.offered = append(x.offered, name)
		x.total += offered.Size
	}
	err := a.exchange(ctx, x, wire.MsgOffer, offer)
	if errors.Is(err, errGone) {
		a.log.Info("nobody fetches the files of a run", "files", len(offer.Files))
		return nil
	}
	return err
}

// fetched ends the stage of a run whose downloads have been fetched.
func (a *Agent) fetched(run string) error {
	x := a.shared.Load()
	if x == nil || x.offered == nil || run != x.r.ID && run != x.r.owner {
		return fmt.Errorf("%w: run %s offers no files now", errBad, quoteID(run))
	}
	x.finish(nil)
	return nil
}

// outgoing returns where the get of a file comes from that a run offers.
func (a *Agent) outgoing(c net.Conn, t *wire.Transfer) (source, error) {
	x, part, err := a.join(c, t.Run)
	if err != nil {
		return nil, err
	}
	if part == nil {
		return nil, fmt.Errorf("%w: the files of run %s have been fetched", errBad, quoteID(t.Run))
	}
	if t.Index < 0 || t.Index >= len(x.offered) || x.offered[t.Index] == "" {
		part.leave()
		return nil, fmt.Errorf("%w: run %s does not offer file %d", errBad, quoteID(t.Run), t.Index)
	}
	r, err := x.space.Read(x.offered[t.Index])
	if err != nil {
		part.leave()
		return nil, err
	}
	return &outgoingFile{Reader: r, x: x, part: part}, nil
}

// An outgoingFile is the source of a get that a run offers.
type outgoingFile struct {
	*files.Reader
	x    *exchange
	part *share
	read int64 // what counts until it was read to its end
}

func (f *outgoingFile) Read(b []byte) (int, error) {
	n, err := f.Reader.Read(b)
	f.read += int64(n)
	f.x.mu.Lock()
	f.x.count(int64(n))
	f.x.mu.Unlock()
	if errors.Is(err, io.EOF) {
		f.read = 0
	}
	return n, err
}

func (f *outgoingFile) over() {
	f.Close()
	f.x.mu.Lock()
	f.x.count(-f.read)
	f.read = 0
	f.x.mu.Unlock()
	f.part.leave()
}

// deliver returns the downloads of r with their content.
func deliver(ctx context.Context, r *request, space *files.Workspace, report report) (map[string]wire.Delivered, error) {
	all := map[string]wire.Delivered{}
	left := int64(maxDelivered)
	for _, name := range r.run.Downloads {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if _, ok := all[name]; ok {
			continue
		}
		d, err := deliverOne(space, name, left)
		if err != nil {
			d = wire.Delivered{Code: codeOf(err), Error: err.Error()}
		}
		left -= d.Size
		all[name] = d
		report("fetching files", maxDelivered-left, 0, "bytes")
	}
	report("fetching files", maxDelivered-left, 0, "bytes")
	return all, nil
}

// deliverOne returns one file with its content, which may have left bytes.
func deliverOne(space *files.Workspace, name string, left int64) (wire.Delivered, error) {
	f, err := space.Read(name)
	if err != nil {
		return wire.Delivered{}, err
	}
	defer f.Close()
	size := f.Size()
	var b []byte
	if size <= left {
		b, err = io.ReadAll(io.LimitReader(f, left+1))
		size = max(size, int64(len(b)))
	}
	if err != nil {
		return wire.Delivered{}, err
	}
	if size > left {
		return wire.Delivered{}, fmt.Errorf("reading %.200q: it has %d bytes, and there is room for %d: the files of a reply are at most %d together",
			name, size, left, maxDelivered)
	}
	sum := files.SumBytes(b)
	return wire.Delivered{Data: b, Size: sum.Size, SHA256: sum.SHA256}, nil
}
