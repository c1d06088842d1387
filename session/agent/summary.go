package agent

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/gokernel/gokernel/session/wire"
)

// summary says in one line what was done beside the code, for people who read
// it in a saved notebook. The caller holds mu.
func (c *course) summary(timing *wire.Timing) string {
	if timing.Failed != "" {
		return fmt.Sprintf("Failed while %s, after %s", timing.Failed, short(timing.Total))
	}
	var parts []string
	var took time.Duration
	add := func(stage wire.Stage, text string) {
		parts = append(parts, text)
		took += timing.Stages[stage]
	}
	if up := c.counted(wire.StageUploading, "bytes"); up > 0 {
		add(wire.StageUploading, "uploaded "+bytesText(up))
	}
	if n := c.counted(wire.StageInstalling, "packages"); n > 0 {
		add(wire.StageInstalling, "installed "+plural(n, "package"))
	}
	if down := c.counted(wire.StageDownloading, "bytes"); down > 0 {
		add(wire.StageDownloading, "downloaded "+bytesText(down))
	}
	if len(parts) == 0 {
		return "Ran in " + short(timing.Total)
	}
	text := strings.Join(parts, ", ") + " in " + short(took)
	return strings.ToUpper(text[:1]) + text[1:]
}

// counted returns what a stage has counted in units, 0 if nothing. The caller
// holds mu.
func (c *course) counted(stage wire.Stage, unit string) int64 {
	last := &c.last[slices.Index(stageNames, stage)]
	if last.Unit != unit || last.Done == nil {
		return 0
	}
	return *last.Done
}

func plural(n int64, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// bytesText returns n bytes for people.
func bytesText(n int64) string {
	value, unit := float64(n), "bytes"
	for _, next := range []string{"kB", "MB", "GB", "TB"} {
		if value < 1000 {
			break
		}
		value, unit = value/1000, next
	}
	switch {
	case unit == "bytes" && n == 1:
		return "1 byte"
	case unit == "bytes":
		return fmt.Sprintf("%d bytes", n)
	}
	return fmt.Sprintf("%.1f %s", value, unit)
}

// short returns d for people: 4.1 s, 320 ms, 2 min 5 s.
func short(d time.Duration) string {
	switch {
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Round(time.Millisecond).Milliseconds())
	case d < time.Minute:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d < time.Hour:
		d = d.Round(time.Second)
		return fmt.Sprintf("%d min %d s", int(d.Minutes()), int(d.Seconds())%60)
	}
	d = d.Round(time.Minute)
	return fmt.Sprintf("%d h %d min", int(d.Hours()), int(d.Minutes())%60)
}
