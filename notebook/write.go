package notebook

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/gokernel/gokernel/protocol"
)

// Bytes returns nb as it is stored in a file: keys sorted, indented by one
// space, texts as lists of lines, and a final newline. What must not be stored
// (signatures, trust) is left out.
func (nb *Notebook) Bytes() ([]byte, error) {
	w := writer{file: true}
	if err := w.notebook(nb); err != nil {
		return nil, fmt.Errorf("notebook: %w", err)
	}
	return append(w.dst, '\n'), nil
}

// MarshalJSON returns nb as clients get it over HTTP: compact, and each text
// one string.
func (nb *Notebook) MarshalJSON() ([]byte, error) {
	w := writer{}
	if err := w.notebook(nb); err != nil {
		return nil, fmt.Errorf("notebook: %w", err)
	}
	return w.dst, nil
}

// MarshalJSON returns o compactly, as it is in a notebook.
func (o *Output) MarshalJSON() ([]byte, error) {
	w := writer{}
	err := w.output(o)
	return w.dst, err
}

// encode returns v as JSON, without escaping HTML characters.
func encode(v any) (json.RawMessage, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// A writer encodes a notebook, for a file or else for HTTP.
type writer struct {
	dst   []byte
	file  bool
	depth int
}

// A member is one of an object, with what writes its value.
type member struct {
	key   string
	write func() error
}

// object writes members and those of extra, which win, sorted by key.
func (w *writer) object(extra Object, members ...member) error {
	if len(extra) > 0 {
		members = slices.DeleteFunc(members, func(m member) bool { _, ok := extra[m.key]; return ok })
		for key, raw := range extra {
			members = append(members, member{key, func() error { return w.value(raw) }})
		}
	}
	slices.SortFunc(members, func(a, b member) int { return strings.Compare(a.key, b.key) })
	return w.sequence('{', '}', len(members), func(i int) error {
		w.key(members[i].key)
		if err := members[i].write(); err != nil {
			return fmt.Errorf("%s: %w", members[i].key, err)
		}
		return nil
	})
}

func (w *writer) key(key string) {
	w.str(key)
	w.dst = append(w.dst, ':')
	if w.file {
		w.dst = append(w.dst, ' ')
	}
}

// sequence writes n items between brackets.
func (w *writer) sequence(open, end byte, n int, item func(i int) error) error {
	w.dst = append(w.dst, open)
	w.depth++
	for i := range n {
		if i > 0 {
			w.dst = append(w.dst, ',')
		}
		w.newline()
		if err := item(i); err != nil {
			return err
		}
	}
	w.depth--
	if n > 0 {
		w.newline()
	}
	w.dst = append(w.dst, end)
	return nil
}

func (w *writer) newline() {
	if !w.file {
		return
	}
	w.dst = append(w.dst, '\n')
	for range w.depth {
		w.dst = append(w.dst, ' ')
	}
}

func (w *writer) str(s string) { w.dst = protocol.AppendJSONString(w.dst, []byte(s)) }

func (w *writer) strMember(key, s string) member {
	return member{key, func() error { w.str(s); return nil }}
}

func (w *writer) intMember(key string, n *int) member {
	return member{key, func() error {
		if n == nil {
			w.dst = append(w.dst, "null"...)
			return nil
		}
		w.dst = strconv.AppendInt(w.dst, int64(*n), 10)
		return nil
	}}
}

// textMember writes text as a list of lines where that is the form.
func (w *writer) textMember(key, text string) member {
	return member{key, func() error { return w.text(text) }}
}

func (w *writer) text(text string) error {
	if !w.file {
		w.str(text)
		return nil
	}
	w.dst = append(w.dst, '[')
	w.depth++
	for first := true; text != ""; first = false {
		n := lineLength(text)
		if !first {
			w.dst = append(w.dst, ',')
		}
		w.newline()
		w.str(text[:n])
		text = text[n:]
		if text == "" {
			w.depth--
			w.newline()
			w.depth++
		}
	}
	w.depth--
	w.dst = append(w.dst, ']')
	return nil
}

// lineLength returns the length of the first line of text with its end, as
// Python's str.splitlines has it: besides \n and \r these end a line: \v, \f,
// 0x1c to 0x1e, U+0085, U+2028 and U+2029.
func lineLength(text string) int {
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '\r' && i+1 < len(text) && text[i+1] == '\n':
			return i + 2
		case c >= '\n' && c <= '\r', c >= 0x1c && c <= 0x1e:
			return i + 1
		case c == 0xc2 && strings.HasPrefix(text[i:], "\u0085"):
			return i + 2
		case c == 0xe2 && (strings.HasPrefix(text[i:], "\u2028") || strings.HasPrefix(text[i:], "\u2029")):
			return i + 3
		}
	}
	return len(text)
}

func (w *writer) notebook(nb *Notebook) error {
	metadata := without(nb.Metadata, true)
	return w.object(nb.Extra,
		member{"cells", func() error {
			return w.sequence('[', ']', len(nb.Cells), func(i int) error {
				if err := w.cell(nb.Cells[i]); err != nil {
					return fmt.Errorf("cells[%d]: %w", i, err)
				}
				return nil
			})
		}},
		member{"metadata", func() error { return w.object(metadata) }},
		member{"nbformat", func() error { w.dst = append(w.dst, '4'); return nil }},
		w.intMember("nbformat_minor", &nb.Minor))
}

// without returns metadata without what is never stored.
func without(metadata Object, top bool) Object {
	for key := range metadata {
		if !transient(key, top) {
			continue
		}
		kept := make(Object, len(metadata))
		for key, raw := range metadata {
			if !transient(key, top) {
				kept[key] = raw
			}
		}
		return kept
	}
	return metadata
}

func (w *writer) cell(c *Cell) error {
	metadata := c.Metadata
	if w.file { // over HTTP the server says what it trusts
		metadata = without(metadata, false)
	}
	known := c.Type == Code || c.Type == Markdown || c.Type == Raw
	members := make([]member, 0, 8)
	members = append(members, w.strMember("cell_type", c.Type))
	if known || metadata != nil {
		members = append(members, member{"metadata", func() error { return w.object(metadata) }})
	}
	if c.ID != "" {
		members = append(members, w.strMember("id", c.ID))
	}
	if known || c.Source != "" {
		members = append(members, w.textMember("source", c.Source))
	}
	if c.Type == Code {
		members = append(members, w.intMember("execution_count", c.ExecutionCount))
	}
	if c.Type == Code || c.Outputs != nil {
		members = append(members, member{"outputs", func() error {
			return w.sequence('[', ']', len(c.Outputs), func(i int) error {
				if err := w.output(c.Outputs[i]); err != nil {
					return fmt.Errorf("outputs[%d]: %w", i, err)
				}
				return nil
			})
		}})
	}
	if c.Attachments != nil {
		members = append(members, member{"attachments", func() error { return w.attachments(c.Attachments) }})
	}
	return w.object(c.Extra, members...)
}

func (w *writer) attachments(files map[string]protocol.MimeBundle) error {
	members := make([]member, 0, len(files))
	for name, data := range files {
		members = append(members, member{name, func() error { return w.bundle(data) }})
	}
	return w.object(nil, members...)
}

func (w *writer) output(o *Output) error {
	members := make([]member, 0, 8)
	members = append(members, w.strMember("output_type", o.Type))
	switch o.Type {
	case StreamOutput:
		members = append(members, w.strMember("name", o.Name), w.textMember("text", o.Text))
	case DisplayOutput, ResultOutput:
		members = append(members,
			member{"data", func() error { return w.bundle(o.Data) }},
			member{"metadata", func() error { return w.object(o.Metadata) }})
		if o.Type == ResultOutput {
			members = append(members, w.intMember("execution_count", o.ExecutionCount))
		}
	case ErrorOutput:
		members = append(members, w.strMember("ename", o.EName), w.strMember("evalue", o.EValue),
			member{"traceback", func() error {
				return w.sequence('[', ']', len(o.Traceback), func(i int) error {
					w.str(o.Traceback[i])
					return nil
				})
			}})
	}
	return w.object(o.Extra, members...)
}

// bundle writes a mime bundle; text is split into lines as nbformat does.
func (w *writer) bundle(data protocol.MimeBundle) error {
	members := make([]member, 0, len(data))
	for mime, raw := range data {
		members = append(members, member{mime, func() error {
			if isText(mime) && len(raw) > 1 && raw[0] == '"' && w.file {
				if err := check(raw); err != nil {
					return err
				}
				return w.text(unescape(raw[1 : len(raw)-1]))
			}
			return w.value(raw)
		}})
	}
	return w.object(nil, members...)
}

func isText(mime string) bool {
	return strings.HasPrefix(mime, "text/") || mime == "application/javascript" || mime == "image/svg+xml"
}

// check returns an error unless raw is one JSON value in UTF-8.
func check(raw []byte) error {
	s := scanner{b: raw}
	if _, err := s.value(); err != nil {
		return err
	}
	if s.next() != 0 || s.i != len(raw) {
		return &syntaxError{s.i, "the end"}
	}
	if !utf8.Valid(raw) {
		return fmt.Errorf("not UTF-8")
	}
	return nil
}
