package cli

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

const (
	// drawInterval is how often a bar is drawn again while nothing happens.
	drawInterval = 100 * time.Millisecond
	// barDelay is how long a run takes before there is a bar: one that only
	// flickers up helps nobody.
	barDelay = 250 * time.Millisecond
	// eraseLine goes to the beginning of the line and clears it.
	eraseLine = "\r\x1b[K"
)

// A screen is where the output of a run goes: stdout, stderr and, when stderr is
// a terminal, a line at its bottom that is drawn again and again. It keeps the
// three apart on a terminal that shows all of them. All methods are safe for
// concurrent use. Between start and stop one goroutine draws.
type screen struct {
	stop func() // ends drawing

	mu     sync.Mutex // guards the fields below
	out    channel
	err    channel
	bar    func(columns int) string // what the line shows; nil when there is none
	width  func() int
	note   string // shown instead of bar
	shown  bool   // the line is on the screen
	paused bool   // the line stays away: somebody types
	failed error  // the first failure to write to stdout
}

// A channel is stdout or stderr.
type channel struct {
	w        io.Writer
	terminal bool
	open     bool // the last line has not ended
}

func newScreen(stdout, stderr io.Writer) *screen {
	return &screen{
		out:  channel{w: stdout, terminal: terminalOf(stdout) != nil},
		err:  channel{w: stderr, terminal: terminalOf(stderr) != nil},
		stop: func() {},
	}
}

// start draws what bar returns from now on, until stop.
func (s *screen) start(width func() int, bar func(columns int) string) {
	s.bar, s.width = bar, width
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		wait := time.NewTimer(barDelay)
		defer wait.Stop()
		for {
			select {
			case <-wait.C:
				s.draw()
				wait.Reset(drawInterval)
			case <-end:
				return
			}
		}
	}()
	s.stop = sync.OnceFunc(func() {
		close(end)
		<-ended
		s.mu.Lock()
		defer s.mu.Unlock()
		s.erase()
		s.bar = nil
	})
}

// draw draws the line, unless it would go over text or over what is typed.
func (s *screen) draw() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.bar == nil || s.paused || s.out.terminal && s.out.open || s.err.open {
		return
	}
	// The last column stays free: some terminals go to the next line there.
	columns := max(0, s.width()-1)
	text := s.note
	if text == "" {
		text = s.bar(columns)
	}
	s.shown = true
	_, _ = io.WriteString(s.err.w, eraseLine+fit(printable(text), columns)) // a lost terminal is no failure of the run
}

// notice shows note in place of the bar from now on.
func (s *screen) notice(note string) {
	s.mu.Lock()
	s.note = note
	s.mu.Unlock()
	s.draw()
}

// erase takes the line off the screen. The caller holds the lock.
func (s *screen) erase() {
	if s.shown {
		_, _ = io.WriteString(s.err.w, eraseLine)
		s.shown = false
	}
}

// stdout returns a writer for what goes to stdout.
func (s *screen) stdout() io.Writer {
	return writerFunc(func(p []byte) (int, error) { return s.write(&s.out, p) })
}

// stderr returns a writer for what goes to stderr.
func (s *screen) stderr() io.Writer {
	return writerFunc(func(p []byte) (int, error) { return s.write(&s.err, p) })
}

func (s *screen) write(c *channel, p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.writeLocked(c, p)
}

func (s *screen) writeLocked(c *channel, p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if c.terminal {
		s.erase()
	}
	n, err := c.w.Write(p)
	c.open = p[len(p)-1] != '\n'
	if c.terminal { // both are on one screen
		if other := s.other(c); other.terminal {
			other.open = c.open
		}
	}
	if err != nil && c == &s.out && s.failed == nil {
		s.failed = fmt.Errorf("writing to stdout: %w", err)
	}
	return n, err
}

func (s *screen) other(c *channel) *channel {
	if c == &s.out {
		return &s.err
	}
	return &s.out
}

// result writes text to stdout as lines of their own.
func (s *screen) result(text string) { s.lines(&s.out, text) }

// say writes text to stderr as lines of their own.
func (s *screen) say(text string) { s.lines(&s.err, text) }

func (s *screen) lines(c *channel, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.open {
		text = "\n" + text
	}
	if !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	_, _ = s.writeLocked(c, []byte(text)) // kept in failed
}

// ask writes a prompt to stderr and keeps the line away until answered is called
// with whether the answer has ended the prompt's line.
func (s *screen) ask(prompt string) (answered func(ended bool)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.erase()
	s.paused = true
	_, _ = s.writeLocked(&s.err, []byte(prompt)) // who does not see it does not answer
	return func(ended bool) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.paused = false
		if !ended {
			_, _ = s.writeLocked(&s.err, []byte("\n"))
			return
		}
		s.err.open = false
		if s.out.terminal {
			s.out.open = false
		}
	}
}

// failure returns the first failure to write to stdout.
func (s *screen) failure() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failed
}

// A writerFunc is an io.Writer.
type writerFunc func(p []byte) (int, error)

// Write implements io.Writer.
func (f writerFunc) Write(p []byte) (int, error) { return f(p) }
