package protocol

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
)

// The contents that a kernel sends are written here, field by field: clients
// refuse a null where they expect an object or a list, and large displays must
// not be read over and over on their way out.

// An object is a JSON object under construction.
type object struct {
	buf []byte
	err error // the first that happened
}

// An appender is a content that writes itself.
type appender interface {
	appendFields(o *object)
}

// encodeObject returns a as JSON.
func encodeObject(a appender) ([]byte, error) {
	o := object{buf: append(make([]byte, 0, contentSize), '{')}
	a.appendFields(&o)
	if o.err != nil {
		return nil, o.err
	}
	return append(o.buf, '}'), nil
}

// contentSize is room for a usual small content.
const contentSize = 128

// key begins a field. Keys are ours and need no escapes.
func (o *object) key(name string) {
	if len(o.buf) > 1 {
		o.buf = append(o.buf, ',')
	}
	o.buf = append(o.buf, '"')
	o.buf = append(o.buf, name...)
	o.buf = append(o.buf, '"', ':')
}

func (o *object) string(name, v string) {
	o.key(name)
	o.buf = appendString(o.buf, v)
}

// stringIfAny leaves the field out when v is empty.
func (o *object) stringIfAny(name, v string) {
	if v != "" {
		o.string(name, v)
	}
}

func (o *object) int(name string, v int) {
	o.key(name)
	o.buf = strconv.AppendInt(o.buf, int64(v), 10)
}

func (o *object) bool(name string, v bool) {
	o.key(name)
	o.buf = strconv.AppendBool(o.buf, v)
}

func (o *object) strings(name string, v []string) {
	o.key(name)
	o.buf = append(o.buf, '[')
	for i, s := range v {
		if i > 0 {
			o.buf = append(o.buf, ',')
		}
		o.buf = appendString(o.buf, s)
	}
	o.buf = append(o.buf, ']')
}

// raw writes v as it is, and fallback when v is empty or null.
func (o *object) raw(name string, v json.RawMessage, fallback string) {
	o.key(name)
	o.value(name, v, fallback)
}

func (o *object) value(name string, v json.RawMessage, fallback string) {
	switch {
	case len(v) == 0 || bytes.Equal(v, null):
		o.buf = append(o.buf, fallback...)
	case !validJSON(v):
		o.fail(fmt.Errorf("%s: not valid JSON", name))
	default:
		o.buf = append(o.buf, v...)
	}
}

func (o *object) raws(name string, v []json.RawMessage) {
	o.key(name)
	o.buf = append(o.buf, '[')
	for i, r := range v {
		if i > 0 {
			o.buf = append(o.buf, ',')
		}
		o.value(name, r, "null")
	}
	o.buf = append(o.buf, ']')
}

// bundle writes the keys in order, so that equal bundles are equal bytes.
func (o *object) bundle(name string, v map[string]json.RawMessage) {
	o.key(name)
	o.buf = append(o.buf, '{')
	for i, k := range slices.Sorted(maps.Keys(v)) {
		if i > 0 {
			o.buf = append(o.buf, ',')
		}
		o.buf = append(appendString(o.buf, k), ':')
		o.value(k, v[k], "null")
	}
	o.buf = append(o.buf, '}')
}

func (o *object) transient(t *Transient) {
	o.key("transient")
	o.buf = append(o.buf, '{')
	if t != nil && t.DisplayID != "" {
		o.buf = appendString(append(o.buf, `"display_id":`...), t.DisplayID)
	}
	o.buf = append(o.buf, '}')
}

// any writes v as encoding/json does.
func (o *object) any(name string, v any) {
	o.key(name)
	raw, err := marshal(v)
	if err != nil {
		o.fail(fmt.Errorf("%s: %w", name, err))
	}
	o.buf = append(o.buf, raw...)
}

func (o *object) fail(err error) {
	if o.err == nil {
		o.err = err
	}
}

// marshal is json.Marshal without escapes for HTML.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}
