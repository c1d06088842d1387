package notebook

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"strconv"
	"unicode/utf8"
)

// ErrVersion is wrapped by the error for a document of a major version of the
// format other than 4.
var ErrVersion = errors.New("unsupported notebook format")

// Read decodes the notebook in data, which may have its text as strings or as
// lists of lines. The notebook keeps parts of data, which must not be changed
// any more.
//
// When data break the format's rules and can be represented all the same, Read
// returns the notebook together with an [*InvalidError]; writing it keeps what
// is wrong. Any other error comes without a notebook.
func Read(data []byte) (*Notebook, error) {
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	if at := invalidUTF8(data); at >= 0 {
		return nil, fmt.Errorf("notebook: byte %d is not UTF-8", at)
	}
	r := reader{scanner: scanner{b: data}}
	nb, err := r.notebook()
	if err != nil {
		return nil, fmt.Errorf("notebook: %w", place(data, err))
	}
	if r.shape != nil {
		return nil, r.shape
	}
	if problems := r.relevant(nb.Minor); len(problems) > 0 {
		return nb, &InvalidError{problems}
	}
	return nb, nil
}

// Validate checks nb against the rules of its version of the format. What it
// finds it returns as an [*InvalidError].
func (nb *Notebook) Validate() error {
	data, err := nb.Bytes()
	if err != nil {
		return err
	}
	_, err = Read(data)
	return err
}

func invalidUTF8(data []byte) int {
	if utf8.Valid(data) {
		return -1
	}
	for i := 0; ; {
		r, size := utf8.DecodeRune(data[i:])
		if r == utf8.RuneError && size <= 1 {
			return i
		}
		i += size
	}
}

// A reader decodes a notebook and notes what is wrong with it.
type reader struct {
	scanner
	path  []step // to what is being read
	found []finding
	shape *InvalidError // set when what was read cannot be represented
	ids   map[string]int
	noted []string // fields of the present object whose problem has been noted
}

func (r *reader) notebook() (*Notebook, error) {
	nb := &Notebook{}
	fields := Object{}
	listed := false
	err := r.object(func(key string) error {
		listed = listed || key == "cells"
		if key == "cells" && r.next() == '[' {
			return r.cells(nb)
		}
		raw, err := r.value()
		fields[key] = raw
		return err
	})
	if err != nil {
		return nil, err
	}
	if r.next() != 0 || r.i != len(r.b) {
		return nil, &syntaxError{r.i, "the end"}
	}
	if err := r.version(fields, nb); err != nil {
		return nil, err
	}
	switch {
	case fields["cells"] != nil:
		return nil, fmt.Errorf("cells: expected a list, but got %s", kindOf(fields["cells"]))
	case !listed:
		return nil, errors.New("cells is missing")
	}
	r.metadata(&nb.Metadata, fields, notebookRules)
	nb.Extra = r.rest(fields)
	return nb, nil
}

// version takes the version out of fields. The major one must be right.
func (r *reader) version(fields Object, nb *Notebook) error {
	raw, ok := fields["nbformat"]
	if !ok {
		return fmt.Errorf("%w: nbformat is missing, so this is no notebook", ErrVersion)
	}
	if major, ok := integer(raw); !ok || major != Major {
		return fmt.Errorf("%w %s: gokernel reads version %d; Jupyter converts it: jupyter nbconvert --to notebook",
			ErrVersion, short(raw), Major)
	}
	delete(fields, "nbformat")
	raw, ok = fields["nbformat_minor"]
	if !ok {
		return fmt.Errorf("%w: nbformat_minor is missing", ErrVersion)
	}
	if nb.Minor, ok = integer(raw); !ok || nb.Minor < 0 {
		return fmt.Errorf("%w: nbformat_minor: expected a whole number, but got %s", ErrVersion, short(raw))
	}
	delete(fields, "nbformat_minor")
	return nil
}

func (r *reader) cells(nb *Notebook) error {
	nb.Cells = nil
	r.ids = map[string]int{}
	return r.array(func(n int) error {
		defer r.push("cells", n)()
		if r.next() != '{' {
			return r.misshapen()
		}
		c, err := r.cell()
		nb.Cells = append(nb.Cells, c)
		return err
	})
}

// misshapen skips a value where there must be an object.
func (r *reader) misshapen() error {
	raw, err := r.value()
	if err == nil && r.shape == nil {
		r.shape = &InvalidError{[]Problem{{r.where(), "expected an object, but got " + kindOf(raw)}}}
	}
	return err
}

func (r *reader) cell() (*Cell, error) {
	c := &Cell{}
	fields := make(Object, 6)
	listed := false
	err := r.object(func(key string) error {
		if key == "outputs" && r.next() == '[' {
			listed = true
			return r.outputs(c)
		}
		raw, err := r.value()
		fields[key] = raw
		return err
	})
	if err != nil {
		return nil, err
	}
	r.str(&c.Type, fields, "cell_type", required)
	rules := cellRules
	if c.Type == Code {
		rules = codeRules
	}
	r.metadata(&c.Metadata, fields, rules)
	r.cellID(c, fields)
	known := c.Type == Code || c.Type == Markdown || c.Type == Raw
	switch {
	case known:
		r.lines(&c.Source, fields, "source")
	case c.Type != "":
		r.note(upToKnown, "cell_type %q is not known; expected code, markdown or raw", c.Type)
	}
	if c.Type == Code {
		r.count(&c.ExecutionCount, fields, required)
		if !listed {
			r.mistyped(fields, "outputs", "a list", required)
		}
	} else {
		if known && listed {
			r.note(upToKnown, "outputs belongs to code cells only")
		}
		if known {
			r.attachments(c, fields)
		}
	}
	c.Extra = r.rest(fields)
	return c, nil
}

// cellID checks and takes the id; it came with format 4.5.
func (r *reader) cellID(c *Cell, fields Object) {
	if _, ok := fields["id"]; !ok {
		r.found = append(r.found, r.finding(Minor, math.MaxInt, "id is missing"))
		return
	}
	r.found = append(r.found, r.finding(0, Minor-1, "id is not allowed before format 4.5"))
	if !r.str(&c.ID, fields, "id", optional) {
		return
	}
	if !validID(c.ID) {
		r.found = append(r.found, r.finding(Minor, math.MaxInt,
			"id %s is not valid; expected 1 to 64 letters, digits, - and _", short([]byte(strconv.Quote(c.ID)))))
		if c.ID == "" {
			fields["id"] = []byte(`""`) // else it would be gone when written
			r.noted = append(r.noted, "id")
		}
	}
	if first, ok := r.ids[c.ID]; ok {
		r.found = append(r.found, r.finding(Minor, math.MaxInt, "id %q is also that of cells[%d]", c.ID, first))
		return
	}
	r.ids[c.ID] = r.path[len(r.path)-1].n
}

func validID(id string) bool {
	if id == "" || len(id) > 64 {
		return false
	}
	for i := range len(id) {
		c := id[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_') {
			return false
		}
	}
	return true
}

func (r *reader) outputs(c *Cell) error {
	c.Outputs = []*Output{}
	return r.array(func(n int) error {
		defer r.push("outputs", n)()
		if r.next() != '{' {
			return r.misshapen()
		}
		o, err := r.output()
		c.Outputs = append(c.Outputs, o)
		return err
	})
}

func (r *reader) output() (*Output, error) {
	o := &Output{}
	fields := make(Object, 5)
	err := r.object(func(key string) error {
		raw, err := r.value()
		fields[key] = raw
		return err
	})
	if err != nil {
		return nil, err
	}
	r.str(&o.Type, fields, "output_type", required)
	switch o.Type {
	case StreamOutput:
		r.str(&o.Name, fields, "name", required)
		r.lines(&o.Text, fields, "text")
	case DisplayOutput, ResultOutput:
		r.bundle(&o.Data, fields, "data")
		r.metadata(&o.Metadata, fields, nil)
		if o.Type == ResultOutput {
			r.count(&o.ExecutionCount, fields, required)
		}
	case ErrorOutput:
		r.str(&o.EName, fields, "ename", required)
		r.str(&o.EValue, fields, "evalue", required)
		r.stringList(&o.Traceback, fields, "traceback")
	case "":
	default:
		r.note(upToKnown, "output_type %q is not known; expected stream, display_data, execute_result or error", o.Type)
		o.Extra = fields
		return o, nil
	}
	o.Extra = r.rest(fields)
	return o, nil
}
