package protocol

import (
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strings"
	"sync"
)

// A rule is the little of JSON Schema that our schemas use, in a form that can
// be checked on raw JSON. A test sees to it that they use no more.
type rule struct {
	Type                 kinds            `json:"type"`
	Required             []string         `json:"required"`
	Properties           map[string]*rule `json:"properties"`
	AdditionalProperties *rule            `json:"additionalProperties"` // nil allows all
	Enum                 []string         `json:"enum"`
	Minimum              *int             `json:"minimum"` // only ever 0
}

// kinds is a set of kinds. In a schema it is the name of a type or a list of
// names; none stands for all.
type kinds kind

// anyObject is the rule for types that have no schema.
var anyObject = &rule{Type: kinds(kindObject)}

// rules returns the rules of all schemas, by message type.
var rules = sync.OnceValues(readRules)

func readRules() (map[string]*rule, error) {
	files, err := schemas.ReadDir("schema")
	if err != nil {
		return nil, err
	}
	all := make(map[string]*rule, len(files))
	for _, f := range files {
		text, err := schemas.ReadFile(path.Join("schema", f.Name()))
		if err != nil {
			return nil, err
		}
		r := new(rule)
		if err := json.Unmarshal(text, r); err != nil {
			return nil, fmt.Errorf("schema %s: %w", f.Name(), err)
		}
		all[strings.TrimSuffix(f.Name(), ".json")] = r
	}
	return all, nil
}

// check reports whether the object raw, which need not be valid, surely
// satisfies r. If it is not sure the schema decides. An error means that raw is
// not a JSON object at all.
func (r *rule) check(raw []byte) (sure bool, err error) {
	sure = true
	var found uint64 // of what is required, a bit each
	err = scanObject(raw, func(key, value []byte) error {
		name := trimQuotes(key)
		if i := slices.Index(r.Required, name); i >= 0 {
			found |= 1 << i
		}
		p := r.Properties[name]
		if p == nil {
			p = r.AdditionalProperties
		}
		if p != nil && !p.allows(value) {
			sure = false
		}
		return nil
	})
	return sure && found == 1<<len(r.Required)-1, err
}

// allows reports whether the valid JSON value v surely satisfies r.
func (r *rule) allows(v []byte) bool {
	k := kindOf(v)
	if r.Type != 0 && kind(r.Type)&k == 0 {
		return false
	}
	switch k {
	case kindInteger:
		return r.Minimum == nil || v[0] != '-'
	case kindNumber:
		return r.Minimum == nil
	case kindString:
		return r.Enum == nil || slices.Contains(r.Enum, trimQuotes(v))
	case kindObject:
		if len(r.Required) == 0 && r.Properties == nil && r.AdditionalProperties == nil {
			return true
		}
		sure, err := r.check(v)
		return sure && err == nil
	}
	return r.Enum == nil
}

// UnmarshalJSON reads the value of the keyword type.
func (k *kinds) UnmarshalJSON(b []byte) error {
	var names []string
	if err := json.Unmarshal(b, &names); err != nil {
		names = make([]string, 1)
		if err := json.Unmarshal(b, &names[0]); err != nil {
			return err
		}
	}
	for _, name := range names {
		switch name {
		case "null":
			*k |= kinds(kindNull)
		case "boolean":
			*k |= kinds(kindBool)
		case "integer":
			*k |= kinds(kindInteger)
		case "string":
			*k |= kinds(kindString)
		case "object":
			*k |= kinds(kindObject)
		default:
			return fmt.Errorf("type %q is not used in our schemas", name)
		}
	}
	return nil
}
