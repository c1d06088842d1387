package cli

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/mattn/go-isatty"

	"github.com/gokernel/gokernel/notebook"
)

// barWidth is the width of a progress bar in characters.
const barWidth = 24

// A progress shows how far a notebook is: a bar on a terminal, a line a cell
// elsewhere.
type progress struct {
	out      io.Writer
	terminal bool
	start    time.Time
	drawn    time.Time
	shown    bool
}

func (a *app) newProgress(quiet bool) *progress {
	p := &progress{out: a.stderr, start: time.Now()}
	if quiet {
		p.out = io.Discard
	}
	if f, ok := p.out.(*os.File); ok {
		p.terminal = isatty.IsTerminal(f.Fd()) && os.Getenv("TERM") != "dumb"
	}
	return p
}

// event shows one event of a run.
func (p *progress) event(e notebook.Event) {
	if p.terminal {
		if e.Kind != notebook.CellOutput || time.Since(p.drawn) > 100*time.Millisecond {
			p.draw(e.Done, e.Total)
		}
		return
	}
	if e.Kind != notebook.CellFinished {
		return
	}
	result := "ok"
	if e.Err != nil {
		result = "error"
	}
	fmt.Fprintf(p.out, "cell %d/%d %s %.1fs\n", e.Done, e.Total, result, e.Elapsed.Seconds())
}

func (p *progress) draw(done, total int) {
	filled := barWidth
	if total > 0 {
		filled = barWidth * done / total
	}
	p.drawn, p.shown = time.Now(), true
	fmt.Fprintf(p.out, "\r[%s%s] %d/%d cells  %.1fs ", strings.Repeat("=", filled), strings.Repeat(" ", barWidth-filled),
		done, total, time.Since(p.start).Seconds())
}

// end leaves the bar as it is and goes to the next line.
func (p *progress) end() {
	if p.shown {
		fmt.Fprintln(p.out)
	}
}
