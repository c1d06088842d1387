package install

import (
	"bytes"
	"regexp"
	"strings"
	"unicode/utf8"
)

const (
	// maxLine is how much of a line is looked at, in bytes.
	maxLine = 4 << 10
	// maxTail is how much of what an installer writes is kept for an error, in
	// bytes.
	maxTail = 8 << 10
)

// A reader understands what one installer writes.
type reader interface {
	// tool is the installer's name.
	tool() string
	// line takes a line and reports whether it is one for people.
	line(text string, report Report) (keep bool)
}

// An output takes what an installer writes, whatever that is: lines are cut at
// maxLine, and the last of them are kept.
type output struct {
	reader reader
	report Report
	buf    []byte // the beginning of a line
	tail   []string
	kept   int // bytes of tail
	cut    bool
}

// newOutput returns an output whose reports are in order: their part of the
// whole never goes back.
func newOutput(r reader, report Report) *output { return &output{reader: r, report: forward(report)} }

// forward passes reports on in which done/total does not go back.
func forward(report Report) Report {
	var lastDone, lastTotal int64
	return func(message string, done, total int64, unit string) {
		if total > 0 {
			done = min(done, total)
			if lastTotal > 0 && done*lastTotal < lastDone*total {
				done, total = lastDone, lastTotal
			}
			lastDone, lastTotal = done, total
		}
		report(message, done, total, unit)
	}
}

// write takes bytes as they come.
func (o *output) write(b []byte) {
	for len(b) > 0 {
		i := bytes.IndexAny(b, "\r\n")
		if i < 0 {
			o.add(b)
			return
		}
		o.add(b[:i])
		o.flush()
		b = b[i+1:]
	}
}

func (o *output) add(b []byte) { o.buf = append(o.buf, b[:min(len(b), maxLine-len(o.buf))]...) }

// end says that nothing more comes.
func (o *output) end() { o.flush() }

var (
	escapes  = regexp.MustCompile("\x1b(?:\\[[0-9;?]*[A-Za-z]|\\][^\x07\x1b]*(?:\x07|\x1b\\\\)?|[^\\[\\]])")
	password = regexp.MustCompile(`//[^/@\s]*@`)
)

func (o *output) flush() {
	text := strings.ToValidUTF8(string(o.buf), string(utf8.RuneError))
	o.buf = o.buf[:0]
	text = escapes.ReplaceAllLiteralString(text, "")
	text = strings.Map(func(r rune) rune {
		if r < ' ' && r != '\t' || r == 0x7f {
			return -1
		}
		return r
	}, text)
	text = password.ReplaceAllLiteralString(strings.TrimRight(text, " \t"), "//***@")
	if text == "" || !o.reader.line(text, o.report) {
		return
	}
	o.tail = append(o.tail, text)
	o.kept += len(text) + 1
	for o.kept > maxTail && len(o.tail) > 1 {
		o.kept -= len(o.tail[0]) + 1
		o.tail = o.tail[1:]
		o.cut = true
	}
}

// text returns the last of what was written.
func (o *output) text() string {
	text := strings.Join(o.tail, "\n")
	if o.cut {
		text = "...\n" + text
	}
	return text
}
