package notebook

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/gokernel/gokernel/protocol"
)

const (
	required = true
	optional = false
)

// mistyped notes that the field key is not what it should be, or missing. A
// mistyped value stays in fields, from where it gets into Extra.
func (r *reader) mistyped(fields Object, key, want string, needed bool) {
	raw, ok := fields[key]
	if ok {
		r.bad(key, "expected %s, but got %s", want, kindOf(raw))
		return
	}
	if needed {
		r.wrong("%s is missing", key)
	}
}

// bad notes a problem with the field key, which will be in Extra.
func (r *reader) bad(key, format string, args ...any) {
	r.noted = append(r.noted, key)
	defer r.push(key, -1)()
	r.wrong(format, args...)
}

// rest returns what is left of fields once the known ones have been taken, and
// notes those that the format does not define.
func (r *reader) rest(fields Object) Object {
	if len(fields) == 0 {
		return nil
	}
	for _, key := range sortedKeys(fields) {
		if !slices.Contains(r.noted, key) {
			r.note(upToKnown, "%s is not a field of the format", short([]byte(strconv.Quote(key))))
		}
	}
	r.noted = r.noted[:0]
	return fields
}

func (r *reader) str(to *string, fields Object, key string, needed bool) bool {
	raw, ok := fields[key]
	if !ok || raw[0] != '"' {
		r.mistyped(fields, key, "a string", needed)
		return false
	}
	*to = unescape(raw[1 : len(raw)-1])
	delete(fields, key)
	return true
}

// lines takes text that may be a list of lines.
func (r *reader) lines(to *string, fields Object, key string) {
	joined, ok := joinLines(fields[key])
	if !ok {
		r.mistyped(fields, key, "a string or a list of strings", required)
		return
	}
	*to = unescape(joined[1 : len(joined)-1])
	delete(fields, key)
}

// joinLines returns the string raw, or the strings in the list raw as one.
func joinLines(raw []byte) (joined []byte, ok bool) {
	if len(raw) == 0 || raw[0] != '[' {
		return raw, len(raw) > 0 && raw[0] == '"'
	}
	s := scanner{b: raw}
	joined = append(make([]byte, 0, len(raw)), '"')
	err := s.array(func(int) error {
		line, err := s.quoted()
		joined = append(joined, line...)
		return err
	})
	return append(joined, '"'), err == nil
}

func (r *reader) stringList(to *[]string, fields Object, key string) {
	raw := fields[key]
	if len(raw) == 0 || raw[0] != '[' {
		r.mistyped(fields, key, "a list of strings", required)
		return
	}
	list := []string{}
	s := scanner{b: raw}
	err := s.array(func(int) error {
		text, err := s.text()
		list = append(list, text)
		return err
	})
	if err != nil {
		r.bad(key, "expected a list of strings, but an element is something else")
		return
	}
	*to = list
	delete(fields, key)
}

// count takes an execution count.
func (r *reader) count(to **int, fields Object, needed bool) {
	const key = "execution_count"
	raw := fields[key]
	if string(raw) == "null" {
		delete(fields, key)
		return
	}
	n, ok := integer(raw)
	if !ok || n < 0 {
		if ok || len(raw) > 0 && raw[0] >= '-' && raw[0] <= '9' {
			r.bad(key, "expected a whole number from 0 or null, but got %s", short(raw))
			return
		}
		r.mistyped(fields, key, "a whole number or null", needed)
		return
	}
	*to = &n
	delete(fields, key)
}

func integer(raw []byte) (int, bool) {
	n, err := strconv.Atoi(string(raw))
	return n, err == nil
}

// split returns the members of the object raw.
func split(raw []byte) (Object, bool) {
	if len(raw) == 0 || raw[0] != '{' {
		return nil, false
	}
	o := Object{}
	s := scanner{b: raw}
	err := s.object(func(key string) error {
		value, err := s.value()
		o[key] = value
		return err
	})
	return o, err == nil
}

// bundle takes a mime bundle and joins the lines of its texts.
func (r *reader) bundle(to *protocol.MimeBundle, fields Object, key string) {
	data, ok := split(fields[key])
	if !ok {
		r.mistyped(fields, key, "an object", required)
		return
	}
	*to = r.mimes(key, data)
	delete(fields, key)
}

// mimes joins the lines in the bundle at key.
func (r *reader) mimes(key string, data Object) protocol.MimeBundle {
	for mime, raw := range data {
		if isJSON(mime) {
			continue
		}
		joined, ok := joinLines(raw)
		if !ok {
			r.path = append(r.path, step{key, -1}, step{mime, -1})
			r.wrong("expected a string or a list of strings, but got %s", kindOf(raw))
			r.path = r.path[:len(r.path)-2]
			continue
		}
		data[mime] = joined
	}
	return protocol.MimeBundle(data)
}

// isJSON reports whether data of the mime type are any JSON, never text.
func isJSON(mime string) bool {
	return mime == "application/json" || strings.HasPrefix(mime, "application/") && strings.HasSuffix(mime, "+json")
}

func (r *reader) attachments(c *Cell, fields Object) {
	const key = "attachments"
	raw, ok := fields[key]
	if !ok {
		return
	}
	files, ok := split(raw)
	if !ok {
		r.mistyped(fields, key, "an object", optional)
		return
	}
	attachments := make(map[string]protocol.MimeBundle, len(files))
	for name, raw := range files {
		data, ok := split(raw)
		if !ok {
			r.bad(key, "%s: expected an object, but got %s", name, kindOf(raw))
			return // the whole of it stays in fields
		}
		attachments[name] = r.mimes(key+"."+name, data)
	}
	c.Attachments = attachments
	delete(fields, key)
}

// A rule checks one entry of metadata. It returns what is expected instead, or "".
type rule struct {
	since int // the minor version that introduced it
	check func(raw []byte) (want string)
}

// metadata takes metadata, without what is never stored, and checks it.
func (r *reader) metadata(to *Object, fields Object, rules func(key string) (rule, bool)) {
	const key = "metadata"
	o, ok := split(fields[key])
	if !ok {
		r.mistyped(fields, key, "an object", required)
		return
	}
	*to = o
	delete(fields, key)
	if rules == nil {
		return
	}
	top := len(r.path) == 0
	r.path = append(r.path, step{key, -1})
	defer r.pop()
	for _, k := range sortedKeys(o) {
		if transient(k, top) {
			delete(o, k)
			continue
		}
		rule, ok := rules(k)
		if !ok {
			continue
		}
		if want := rule.check(o[k]); want != "" {
			r.path = append(r.path, step{k, -1})
			r.found = append(r.found, r.finding(rule.since, math.MaxInt, "expected %s, but got %s", want, short(o[k])))
			r.pop()
		}
	}
}

// transient reports whether an entry of the notebook's or else a cell's
// metadata is never stored in files.
func transient(key string, top bool) bool {
	if top {
		return key == "orig_nbformat" || key == "orig_nbformat_minor" || key == "signature"
	}
	return key == "trusted"
}

func notebookRules(key string) (rule, bool) {
	switch key {
	case "kernelspec":
		return rule{0, func(raw []byte) string { return wantStrings(raw, []string{"name", "display_name"}, nil) }}, true
	case "language_info":
		return rule{0, wantLanguageInfo}, true
	case "title":
		return rule{2, func(raw []byte) string { return want(raw, `"`, "a string") }}, true
	case "authors":
		return rule{2, func(raw []byte) string { return want(raw, "[", "a list") }}, true
	}
	return rule{}, false
}

func wantLanguageInfo(raw []byte) string {
	if w := wantStrings(raw, []string{"name"}, []string{"file_extension", "mimetype", "pygments_lexer"}); w != "" {
		return w
	}
	o, _ := split(raw)
	if mode, ok := o["codemirror_mode"]; ok && want(mode, `"{`, "x") != "" {
		return "codemirror_mode to be a string or an object"
	}
	return ""
}

func cellRules(key string) (rule, bool) {
	switch key {
	case "tags":
		return rule{0, wantTags}, true
	case "name":
		return rule{0, wantName}, true
	case "jupyter":
		return rule{3, func(raw []byte) string { return want(raw, "{", "an object") }}, true
	}
	return rule{}, false
}

// codeRules are cellRules and those for code cells only.
func codeRules(key string) (rule, bool) {
	switch key {
	case "execution":
		return rule{4, wantTimes}, true
	case "collapsed":
		return rule{0, func(raw []byte) string { return want(raw, "tf", "a boolean") }}, true
	case "scrolled":
		return rule{0, func(raw []byte) string {
			if string(raw) == `"auto"` {
				return ""
			}
			return want(raw, "tf", `true, false or "auto"`)
		}}, true
	}
	return cellRules(key)
}

func wantTimes(raw []byte) string {
	o, ok := split(raw)
	for _, v := range o {
		ok = ok && v[0] == '"'
	}
	if !ok {
		return "an object with strings"
	}
	return ""
}

func want(raw []byte, kinds, what string) string {
	if strings.IndexByte(kinds, raw[0]) < 0 {
		return what
	}
	return ""
}

// wantStrings checks an object whose named members must be strings.
func wantStrings(raw []byte, needed, others []string) string {
	o, ok := split(raw)
	if !ok {
		return "an object"
	}
	for _, key := range needed {
		if o[key] == nil || o[key][0] != '"' {
			return fmt.Sprintf("a string as %s", key)
		}
	}
	for _, key := range others {
		if o[key] != nil && o[key][0] != '"' {
			return fmt.Sprintf("a string as %s", key)
		}
	}
	return ""
}

func wantTags(raw []byte) string {
	const what = "a list of different strings without commas"
	var tags []string
	if raw[0] != '[' || json.Unmarshal(raw, &tags) != nil {
		return what
	}
	seen := map[string]bool{}
	for _, tag := range tags {
		if seen[tag] || tag == "" || strings.Contains(tag, ",") {
			return what
		}
		seen[tag] = true
	}
	return ""
}

func wantName(raw []byte) string {
	if raw[0] != '"' || utf8.RuneCount(raw) <= 2 {
		return "a string that is not empty"
	}
	return ""
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}
