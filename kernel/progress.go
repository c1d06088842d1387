package kernel

import (
	"encoding/json"
	"fmt"
	"html"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/gokernel/gokernel/protocol"
	"github.com/gokernel/gokernel/session/wire"
)

// How the stages of a run look to a kernel's clients: one display, which is
// updated in place and ends as one quiet line.

// progressMIME is the mime type of a stage report for programs; its data is a
// [wire.Progress].
const progressMIME = "application/vnd.gokernel.progress+json"

// maxProgressText bounds what of a report's message is shown, in characters.
const maxProgressText = 240

// display returns the message for clients that f, a stage report, is. It has the
// cursor of f, and so its msg_id.
func display(f *wire.Frame) (*wire.Frame, error) {
	var p wire.Progress
	if err := json.Unmarshal(f.Content, &p); err != nil {
		return nil, fmt.Errorf("content of a stage report: %w", err)
	}
	text := progressText(&p)
	data := protocol.MimeBundle{}
	for mime, value := range map[string]any{
		"text/plain": text, "text/html": progressHTML(&p, text), progressMIME: &p,
	} {
		raw, err := json.Marshal(value)
		if err != nil {
			return nil, fmt.Errorf("%s of a stage report: %w", mime, err)
		}
		data[mime] = raw
	}
	transient := &protocol.Transient{DisplayID: "gokernel-progress-" + f.Request}
	var content protocol.Content
	switch f.MsgType {
	case wire.MsgProgressFirst:
		content = &protocol.DisplayData{Data: data, Metadata: protocol.MimeBundle{}, Transient: transient}
	case wire.MsgProgress:
		content = &protocol.UpdateDisplayData{Data: data, Metadata: protocol.MimeBundle{}, Transient: transient}
	default:
		return nil, fmt.Errorf("%q is no type of a stage report", f.MsgType)
	}
	raw, err := protocol.EncodeContent(content)
	if err != nil {
		return nil, fmt.Errorf("a stage report: %w", err)
	}
	m := *f
	m.Kind, m.Channel, m.MsgType, m.Content = wire.KindMessage, protocol.IOPub, content.MsgType(), raw
	return &m, nil
}

// isOver reports whether p is the last report of its run.
func isOver(p *wire.Progress) bool {
	return p.Stage == wire.StageCompleted || p.Stage == wire.StageFailed
}

// progressText says p in one line, such as "Installing packages: 3 of 5 (60 %),
// about 4 s left".
func progressText(p *wire.Progress) string {
	message := oneLine(p.Message)
	if isOver(p) {
		switch {
		case message != "":
			return message
		case p.Stage == wire.StageFailed:
			return "Failed after " + roughly(p.Elapsed)
		}
		return "Done in " + roughly(p.Elapsed)
	}
	title, unit := stageTitle(p.Stage), ""
	if message != "" {
		title = sentence(message)
		if p.Unit != "bytes" {
			unit = " " + oneLine(p.Unit)
		}
	}
	var b strings.Builder
	b.WriteString(title)
	percent, known := percentOf(p)
	counted := p.Done != nil && p.Unit != "" && !says(message, p)
	switch {
	case counted && p.Total != nil:
		b.WriteString(": " + counts(*p.Done, *p.Total, p.Unit) + unit)
		if known {
			fmt.Fprintf(&b, " (%d %%)", int(percent))
		}
	case counted:
		b.WriteString(": " + count(*p.Done, p.Unit) + unit + " so far")
	case known && p.Done == nil:
		fmt.Fprintf(&b, ": %d %%", int(percent))
	}
	switch {
	case p.Remaining != nil:
		b.WriteString(", about " + roughly(max(*p.Remaining, 1000)) + " left")
	case p.Done == nil && !known && p.Elapsed >= 1000:
		b.WriteString(", " + roughly(p.Elapsed) + " so far")
	}
	return b.String()
}

// progressHTML is text, which says p, as markup: a bar while it is known how far
// the stage is. It takes its colours from what it stands in.
func progressHTML(p *wire.Progress, text string) string {
	if isOver(p) {
		return `<div style="font-size:90%;opacity:.75">` + html.EscapeString(text) + `</div>`
	}
	bar := ""
	if percent, known := percentOf(p); known {
		bar = fmt.Sprintf(`<progress max="100" value="%s" style="width:12em;vertical-align:middle"></progress> `,
			strconv.FormatFloat(percent, 'f', 1, 64))
	}
	return `<div style="font-size:90%">` + bar + `<span style="opacity:.75">` + html.EscapeString(text) + `</span></div>`
}

// says reports whether the message gives the one count of p already, as in
// "installing 3 packages".
func says(message string, p *wire.Progress) bool {
	if p.Unit == "bytes" || p.Total != nil && *p.Total != *p.Done {
		return false
	}
	return strings.Contains(message+" ", fmt.Sprintf(" %d ", *p.Done))
}

// sentence returns text with a capital at its beginning.
func sentence(text string) string {
	first, n := utf8.DecodeRuneInString(text)
	return string(unicode.ToUpper(first)) + text[n:]
}

// percentOf returns how far the stage is, 0 to 100, if that is known.
func percentOf(p *wire.Progress) (float64, bool) {
	if p.Percent == nil || math.IsNaN(*p.Percent) {
		return 0, false
	}
	return min(100, max(0, *p.Percent)), true
}

// stageTitle says what is done in a stage.
func stageTitle(s wire.Stage) string {
	switch s {
	case wire.StageInitializing:
		return "Starting the session"
	case wire.StageConnecting:
		return "Waiting for the session"
	case wire.StageUploading:
		return "Uploading files"
	case wire.StageInstalling:
		return "Installing packages"
	case wire.StageExecuting:
		return "Running"
	case wire.StageDownloading:
		return "Downloading files"
	}
	return "Working"
}

// oneLine returns what can be shown of text in a line: names in it may be
// anybody's. Control characters, also those that turn the direction of writing,
// are left out, and so is what is too much.
func oneLine(text string) string {
	clean := strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, text)
	clean = strings.Join(strings.Fields(clean), " ")
	n := 0
	for i := range clean {
		if n++; n > maxProgressText {
			return clean[:i] + "…"
		}
	}
	return clean
}

// counts returns "3 of 5" or, for bytes, "3.1 of 12.3 MB".
func counts(done, total int64, unit string) string {
	if unit != "bytes" {
		return fmt.Sprintf("%d of %d", max(0, done), max(0, total))
	}
	scale, name := byteScale(total)
	return inScale(done, scale) + " of " + inScale(total, scale) + " " + name
}

// count returns n of unit.
func count(n int64, unit string) string {
	if unit != "bytes" {
		return strconv.FormatInt(max(0, n), 10)
	}
	scale, name := byteScale(n)
	return inScale(n, scale) + " " + name
}

// byteScale returns the unit in which n bytes are shown, and its size.
func byteScale(n int64) (scale int64, name string) {
	switch {
	case n >= 1e12:
		return 1e12, "TB"
	case n >= 1e9:
		return 1e9, "GB"
	case n >= 1e6:
		return 1e6, "MB"
	case n >= 1e3:
		return 1e3, "kB"
	}
	return 1, "bytes"
}

func inScale(n, scale int64) string {
	n = max(0, n)
	if scale == 1 {
		return strconv.FormatInt(n, 10)
	}
	return strconv.FormatFloat(float64(n)/float64(scale), 'f', 1, 64)
}

// roughly returns so many milliseconds for people: 320 ms, 4 s, 3 min, 2 h.
func roughly(ms int64) string {
	d := time.Duration(min(max(0, ms), math.MaxInt64/int64(time.Millisecond))) * time.Millisecond
	switch {
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < 90*time.Second:
		return fmt.Sprintf("%d s", d.Round(time.Second)/time.Second)
	case d < 90*time.Minute:
		return fmt.Sprintf("%d min", d.Round(time.Minute)/time.Minute)
	}
	return fmt.Sprintf("%d h", d.Round(time.Hour)/time.Hour)
}
