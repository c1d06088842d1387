package agent

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/gokernel/gokernel/protocol"
	"github.com/gokernel/gokernel/session/wire"
)

// takeRequest journals and queues a request.
func (a *Agent) takeRequest(f *front, packet *wire.Packet) error {
	var h wire.RequestHead
	if err := json.Unmarshal(packet.Head, &h); err != nil {
		return fmt.Errorf("request head: %w", err)
	}
	if len(packet.Parts) < 3 {
		return fmt.Errorf("%w: a request needs three parts", wire.ErrPacket)
	}
	if h.Channel != protocol.Control {
		h.Channel = protocol.Shell
	}
	request := wire.Request{
		ID: h.ID, MsgType: h.MsgType, Published: h.Published,
		Origin:   wire.Origin{Header: packet.Parts[0], Identities: h.Identities, Channel: h.Channel},
		Metadata: packet.Parts[1], Content: packet.Parts[2], Buffers: packet.Parts[3:],
	}
	if err := request.Check(); err != nil {
		return err
	}
	if f.owner == wire.KernelOwner && a.isFenced(f.name) {
		return nil // it is about to be told
	}
	a.enqueue(newRequest(request, f.owner, h.Epoch))
	f.accepted(h.ID)
	return nil
}

// enqueue journals and queues r, unless it is known already, or answers it at
// once when it cannot be taken. Two connections of a front, an old one that has
// broken and a new one, agree on the order.
func (a *Agent) enqueue(r *request) {
	a.intake.Lock()
	defer a.intake.Unlock()
	if err := a.assign(r); err != nil && r.invalid == nil {
		r.invalid = err
	}
	if r.owner == wire.KernelOwner && r.invalid == nil { // a run's are checked by who made it
		r.invalid = checkPackages(r.run, r.lang.name)
	}
	if !a.queue.meet(r) {
		return
	}
	if r.epoch != 0 && r.epoch < a.journal.Epoch() {
		r.abort = "it was first sent to an agent that has died"
	}
	f := &wire.Frame{
		Kind: wire.KindRequest, Request: r.ID, Owner: r.owner, Channel: r.Origin.Channel, MsgType: r.MsgType, Time: time.Now(),
		Identities: r.Origin.Identities, Parent: r.Origin.Header,
	}
	if r.outlives() {
		f.Metadata, f.Content, f.Buffers = r.Metadata, r.Content, r.Buffers
	}
	a.journal.Append(f)
	if r.execute != nil {
		a.history.accept(r, a.queue.ahead(), r.lang.name)
	}
	if r.overdue != nil {
		a.background.Go(func() { a.watchLimit(r) })
	}
	if err := a.queue.add(r); err != nil {
		a.status(r, protocol.StateBusy)
		a.replyFailed(r, nameQueueFull, err.Error())
		a.status(r, protocol.StateIdle)
		a.finish(r)
		return
	}
	a.touch()
}

func (a *Agent) takeAck(f *front, packet *wire.Packet) error {
	var ack wire.Ack
	if err := json.Unmarshal(packet.Head, &ack); err != nil {
		return fmt.Errorf("ack: %w", err)
	}
	if f.owner == wire.KernelOwner {
		a.acknowledge(f.name, &ack)
	}
	return nil
}

// acknowledge moves the kernel's cursor for the kernel's front with this name.
func (a *Agent) acknowledge(name string, ack *wire.Ack) {
	if a.isFenced(name) {
		return
	}
	a.acks.Lock()
	defer a.acks.Unlock()
	// What is not there yet is not delivered, and what is delivered stays so:
	// an old connection of the same front may still have something to say.
	if upto, _ := a.journal.LoadCursor(kernelKey); ack.Upto.Before(upto) || a.journal.Last().Before(ack.Upto) {
		return
	}
	a.journal.SaveCursor(kernelKey, ack.Upto, ack.Held)
}
