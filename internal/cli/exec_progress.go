package cli

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/gokernel/gokernel/session"
)

// plainInterval is the shortest time between two plain lines of one stage.
const plainInterval = time.Second

// showProgress lets screen show the progress of a run in one of the modes auto,
// plain, json and none, and returns what takes the events; nil when nobody does.
func (a *app) showProgress(mode string, screen *screen) func(session.Progress) {
	switch mode {
	case "json":
		return func(p session.Progress) { screen.say(eventLine(&p)) }
	case "plain":
		lines := new(plainProgress)
		return func(p session.Progress) {
			if line := lines.line(&p, time.Now()); line != "" {
				screen.say(line)
			}
		}
	case "auto":
		if !canDraw(a.stderr) {
			return nil
		}
		b := &bar{start: time.Now()}
		terminal := terminalOf(a.stderr)
		screen.start(func() int { return width(terminal) }, b.text)
		return b.event
	}
	return nil
}

// eventLine returns an event as one line of JSON.
func eventLine(p *session.Progress) string {
	b, err := json.Marshal(p)
	if err != nil { // a percentage that is no number
		p.Percent = nil
		b, _ = json.Marshal(p) // has nothing left that can fail
	}
	return string(b)
}

// A plainProgress makes lines for people of events. It says when a stage begins
// and, now and then, how far it is.
type plainProgress struct {
	stage session.Stage
	last  time.Time
	text  string
}

// line returns the line for an event that comes at now, or "".
func (l *plainProgress) line(p *session.Progress, now time.Time) string {
	fresh := p.Stage != l.stage
	text := describe(p)
	if !fresh && (text == l.text || now.Sub(l.last) < plainInterval) {
		return ""
	}
	l.stage, l.last, l.text = p.Stage, now, text
	if hasEnded(p) && p.Message != "" { // it says how long it took
		return text
	}
	return fmt.Sprintf("%s  %s", text, seconds(time.Duration(p.Elapsed)*time.Millisecond))
}

// hasEnded reports whether the event is the last one of a run.
func hasEnded(p *session.Progress) bool {
	return p.Stage == session.StageCompleted || p.Stage == session.StageFailed
}

// describe says where a run is: its stage and, as far as they are known, counts,
// percentage, what it is about and what remains.
func describe(p *session.Progress) string {
	words := []string{string(p.Stage)}
	if p.Done != nil {
		words = append(words, counts(p))
	}
	if p.Percent != nil {
		words = append(words, fmt.Sprintf("%.0f%%", *p.Percent))
	}
	if p.Message != "" {
		words = append(words, printable(p.Message))
	}
	if p.Remaining != nil && *p.Remaining > 0 {
		words = append(words, "about "+seconds(time.Duration(*p.Remaining)*time.Millisecond)+" left")
	}
	return strings.Join(words, "  ")
}

// counts says how much of how much is done.
func counts(p *session.Progress) string {
	number := func(n int64) string { return fmt.Sprint(n) }
	unit := " " + p.Unit
	if p.Unit == "bytes" {
		number, unit = func(n int64) string { return size(uint64(max(0, n))) }, ""
	}
	if p.Total == nil || *p.Total <= 0 {
		return number(*p.Done) + unit
	}
	return number(*p.Done) + "/" + number(*p.Total) + unit
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.1fs", d.Seconds()) }

// A bar is the line on a terminal that shows where a run is. Safe for concurrent
// use.
type bar struct {
	start time.Time

	mu   sync.Mutex // guards last
	last session.Progress
}

func (b *bar) event(p session.Progress) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.last = p
}

// text returns the line; a bar proper is in it when there is a percentage and room.
func (b *bar) text(columns int) string {
	b.mu.Lock()
	p := b.last
	b.mu.Unlock()
	if p.Stage == "" {
		p.Stage = session.StageInitializing
	}
	drawn := ""
	if p.Percent != nil && columns >= 2*barWidth {
		filled := int(barWidth * min(100, max(0, *p.Percent)) / 100)
		drawn = "[" + strings.Repeat("=", filled) + strings.Repeat(" ", barWidth-filled) + "] "
	}
	return drawn + seconds(time.Since(b.start)) + "  " + describe(&p)
}
