package agent

import (
	"os"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/gokernel/gokernel/protocol"
)

const (
	// rescueInterval is how often the pipes are looked at while code runs. One
	// that is three quarters full twice is emptied by the agent: the runner,
	// which reads it normally, is held up, perhaps by a library that writes
	// while it has the interpreter's lock.
	rescueInterval = 100 * time.Millisecond
	// tailSize is how much of what a process wrote before it was ready is kept
	// to say why it did not get there, in bytes.
	tailSize = 2000
	// drainSize is how much is taken from a pipe at once while somebody writes
	// to it, in bytes.
	drainSize = 4 << 20
)

// An outPipe is the agent's end of a pipe that a language process and its
// children write to.
type outPipe struct {
	name string
	r    *os.File

	mu      sync.Mutex // guards the fields below, held while the pipe is drained
	partial []byte     // the beginning of a character
	tail    []byte     // the last of what was drained before the runner was ready
	full    bool       // it was nearly full when it was last looked at
}

// drain appends what is in the pipe now as output of the last request, up to
// drainSize. With all set nobody writes any more: then all of it goes, also the
// beginning of a character that never came whole.
func (p *process) drain(pipe *outPipe, all bool) {
	pipe.mu.Lock()
	defer pipe.mu.Unlock()
	a := p.lang.a
	buf := make([]byte, 256<<10)
	for taken := 0; all || taken < drainSize; {
		n := readNow(pipe.r, buf)
		if n <= 0 {
			break
		}
		taken += n
		text := append(pipe.partial, buf[:n]...)
		whole := len(text) - incomplete(text)
		a.stream(a.queue.last(p.lang), pipe.name, text[:whole])
		if !p.isReady() && pipe.name == protocol.Stderr {
			pipe.tail = append(pipe.tail, text[:whole]...)
			pipe.tail = pipe.tail[max(0, len(pipe.tail)-tailSize):]
		}
		pipe.partial = append([]byte(nil), text[whole:]...)
	}
	if all {
		a.stream(a.queue.last(p.lang), pipe.name, pipe.partial)
		pipe.partial = nil
	}
}

// rescue empties pipes that stay full.
func (p *process) rescue() {
	for _, pipe := range p.pipes {
		pipe.mu.Lock()
		was := pipe.full
		pipe.full = filled(pipe.r) >= capacity(pipe.r)/4*3
		now := was && pipe.full
		pipe.mu.Unlock()
		if now {
			p.drain(pipe, false)
		}
	}
}

// incomplete returns how many bytes at the end of text begin a character that
// is not whole.
func incomplete(text []byte) int {
	for i := 1; i <= min(utf8.UTFMax-1, len(text)); i++ {
		b := text[len(text)-i:]
		if utf8.RuneStart(b[0]) {
			if utf8.FullRune(b) {
				return 0
			}
			return i
		}
	}
	return 0
}
