package protocol

import (
	"encoding/hex"
	"sync"
)

// replayHistory is how many signatures a Replay remembers.
const replayHistory = 1 << 16

// A Replay notices messages that are received a second time, by their
// signatures, of which it remembers the last 65,536. It is safe for concurrent
// use. The zero value is ready; a nil Replay notices nothing.
type Replay struct {
	mu    sync.Mutex
	seen  map[replayKey]struct{}
	order []replayKey // a ring once it is full
	next  int         // the oldest in a full ring
}

// A replayKey is the first 256 bits of a signature.
type replayKey [32]byte

// Check returns [ErrReplay] if a message with the signature in frames was
// checked before. Only frames that [DecodeFrames] has accepted may be checked,
// or anyone could fill the memory. A message that is not signed passes.
func (r *Replay) Check(frames [][]byte) error {
	if r == nil {
		return nil
	}
	at := indexDelimiter(frames)
	if at < 0 || at+1 == len(frames) || len(frames[at+1]) == 0 {
		return nil
	}
	signature := frames[at+1]
	var key replayKey
	if _, err := hex.Decode(key[:], signature[:min(len(signature), hex.EncodedLen(len(key)))]); err != nil {
		return ErrSignature
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.seen[key]; ok {
		return ErrReplay
	}
	if r.seen == nil {
		r.seen = make(map[replayKey]struct{})
	}
	if len(r.order) < replayHistory {
		r.order = append(r.order, key)
	} else {
		delete(r.seen, r.order[r.next])
		r.order[r.next] = key
		r.next = (r.next + 1) % replayHistory
	}
	r.seen[key] = struct{}{}
	return nil
}
