package zmq

import "github.com/go-zeromq/zmq4"

// write sends what is queued, one batch with one flush after the other, until
// the peer is killed, does not read or is finished.
func (p *peer) write(h handler) {
	for {
		pongs, closing := p.next()
		if len(pongs) == 0 && len(p.writing) == 0 {
			if closing {
				p.closeWrite()
				return
			}
			select {
			case <-p.wake:
				continue
			case <-p.dead:
				return
			}
		}
		err := p.send(pongs)
		settleAll(p.wrote(), err == nil)
		if err != nil {
			p.kill()
			return
		}
		h.drained(p)
	}
}

// next moves the next batch to p.writing.
func (p *peer) next() (pongs [][]byte, closing bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	pongs, p.pongs = p.pongs, nil
	var n int
	for size := int64(0); n < len(p.queue) && n < batchItems && size < batchBytes; n++ {
		size += p.queue[n].size
	}
	p.writing = append(p.writing[:0], p.queue[:n]...)
	clear(p.queue[:n])
	if p.queue = p.queue[n:]; len(p.queue) == 0 {
		p.queue = nil
	}
	return pongs, p.closing
}

func (p *peer) send(pongs [][]byte) error {
	for _, context := range pongs {
		if err := p.zc.SendCmd(zmq4.CmdPong, context); err != nil {
			return err
		}
	}
	// Only the deliveries of p.writing are changed by others.
	for i := range p.writing {
		if err := p.zc.SendMsg(zmq4.Msg{Frames: p.writing[i].frames}); err != nil {
			return err
		}
	}
	return p.w.Flush()
}

// wrote empties p.writing and returns the deliveries that it held.
func (p *peer) wrote() []*delivery {
	p.mu.Lock()
	defer p.mu.Unlock()
	ds := settled(p.writing, nil)
	for i := range p.writing {
		p.queued -= p.writing[i].size
	}
	clear(p.writing)
	p.writing = p.writing[:0]
	return ds
}

// closeWrite says to the peer that nothing more comes.
func (p *peer) closeWrite() {
	if c, ok := p.w.Conn.(interface{ CloseWrite() error }); ok && c.CloseWrite() == nil {
		return
	}
	p.kill()
}
