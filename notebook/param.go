package notebook

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A Parameter is a variable that a run sets. Value is what encoding/json makes
// of JSON, numbers being of any numeric type or a json.Number.
type Parameter struct {
	Name  string
	Value any
}

// ParseParameter parses name=value. A value that is JSON is that; True, False
// and None are meant as Python does; anything else is a string as it stands.
func ParseParameter(s string) (Parameter, error) {
	name, text, ok := strings.Cut(s, "=")
	if !ok {
		return Parameter{}, fmt.Errorf("parameter %q: expected name=value", s)
	}
	p := Parameter{Name: name}
	switch text {
	case "True":
		p.Value = true
		return p, nil
	case "False":
		p.Value = false
		return p, nil
	case "None":
		return p, nil
	}
	if check([]byte(text)) != nil {
		p.Value = text
		return p, nil
	}
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	if err := d.Decode(&p.Value); err != nil {
		return Parameter{}, fmt.Errorf("parameter %s: %w", name, err)
	}
	return p, nil
}

// Inject adds a cell that sets params, in the given language, after the cell
// tagged [TagParameters], whose values it overrides, or as the first one. It
// replaces a cell that an earlier Inject added. Only Python is supported.
func Inject(nb *Notebook, language string, params []Parameter) error {
	if language != "python" {
		return fmt.Errorf("parameters can be given to Python notebooks only, and this one's language is %q", language)
	}
	var b strings.Builder
	b.WriteString("# Parameters\n")
	for _, p := range params {
		if err := assignment(&b, p); err != nil {
			return fmt.Errorf("parameter %q: %w", p.Name, err)
		}
	}
	c := nb.NewCell(Code, strings.TrimSuffix(b.String(), "\n"))
	if err := c.Metadata.Set("tags", []string{TagInjected}); err != nil {
		return err
	}
	tagged := func(tag string) int {
		return slices.IndexFunc(nb.Cells, func(c *Cell) bool { return c.Type == Code && c.HasTag(tag) })
	}
	if i := tagged(TagInjected); i >= 0 {
		c.ID = nb.Cells[i].ID
		nb.Cells[i] = c
		return nil
	}
	nb.Cells = slices.Insert(nb.Cells, tagged(TagParameters)+1, c)
	return nil
}

func assignment(b *strings.Builder, p Parameter) error {
	if !identifier(p.Name) {
		return errors.New("not a name that Python allows for a variable")
	}
	b.WriteString(p.Name)
	b.WriteString(" = ")
	if err := literal(b, p.Value); err != nil {
		return err
	}
	b.WriteByte('\n')
	return nil
}

// identifier reports whether name can be assigned to in Python.
func identifier(name string) bool {
	for i, r := range name {
		letter := r == '_' || unicode.IsLetter(r)
		if !letter && (i == 0 || !unicode.IsDigit(r)) {
			return false
		}
	}
	return name != "" && utf8.ValidString(name) && !keyword(name)
}

func keyword(name string) bool {
	switch name {
	case "False", "None", "True", "and", "as", "assert", "async", "await", "break", "class", "continue", "def", "del",
		"elif", "else", "except", "finally", "for", "from", "global", "if", "import", "in", "is", "lambda", "nonlocal",
		"not", "or", "pass", "raise", "return", "try", "while", "with", "yield", "__debug__":
		return true
	}
	return false
}

// literal appends v as a Python expression.
func literal(b *strings.Builder, v any) error {
	switch v := v.(type) {
	case nil:
		b.WriteString("None")
	case bool:
		if v {
			b.WriteString("True")
		} else {
			b.WriteString("False")
		}
	case string:
		return quote(b, v)
	case json.Number:
		return number(b, v)
	case []any:
		return literals(b, '[', ']', len(v), func(i int) error { return literal(b, v[i]) })
	case map[string]any:
		keys := sortedKeys(v)
		return literals(b, '{', '}', len(keys), func(i int) error {
			if err := quote(b, keys[i]); err != nil {
				return err
			}
			b.WriteString(": ")
			return literal(b, v[keys[i]])
		})
	default:
		raw, err := json.Marshal(v)
		if err != nil {
			return err
		}
		if raw[0] != '-' && (raw[0] < '0' || raw[0] > '9') {
			return fmt.Errorf("a %T has no form in Python", v)
		}
		return number(b, json.Number(raw))
	}
	return nil
}

// number appends a JSON number, which Python reads as it is.
func number(b *strings.Builder, n json.Number) error {
	raw := []byte(n)
	if err := check(raw); err != nil || kindOf(raw) != "a number" {
		return fmt.Errorf("%q is not a number", n)
	}
	b.Write(raw)
	return nil
}

func literals(b *strings.Builder, open, end byte, n int, item func(i int) error) error {
	b.WriteByte(open)
	for i := range n {
		if i > 0 {
			b.WriteString(", ")
		}
		if err := item(i); err != nil {
			return err
		}
	}
	b.WriteByte(end)
	return nil
}

// quote appends s as a Python string, with escapes for what cannot be seen.
func quote(b *strings.Builder, s string) error {
	if !utf8.ValidString(s) {
		return errors.New("the value is not UTF-8")
	}
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == '\t':
			b.WriteString(`\t`)
		case strconv.IsPrint(r):
			b.WriteRune(r)
		case r > 0xffff:
			fmt.Fprintf(b, `\U%08x`, r)
		default:
			fmt.Fprintf(b, `\u%04x`, r)
		}
	}
	b.WriteByte('"')
	return nil
}
