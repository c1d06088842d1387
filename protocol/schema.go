package protocol

import (
	"bytes"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v5"
)

// schemas holds a JSON Schema for the content of every message that a kernel
// receives. They are strict about what we read, lenient about what we do not.
//
//go:embed schema/*.json
var schemas embed.FS

// schemaPath returns where the schema of msgType is in schemas.
func schemaPath(msgType string) string { return "schema/" + msgType + ".json" }

// Validate checks the content of m, a message to a kernel, against the schema
// of its type. What is wrong is told by an [*InvalidError]. Unknown types need
// only be JSON objects; unknown fields pass.
//
// A valid content is read once and nothing is built of it, however large it is.
func Validate(m *Message) error {
	msgType := m.Header.MsgType
	content := orEmpty(m.Content)
	all, err := rules()
	if err != nil {
		return err
	}
	r := all[msgType]
	if r == nil {
		r = anyObject
	}
	sure, err := r.check(content)
	if err != nil {
		return &InvalidError{MsgType: msgType, Reason: err.Error()}
	}
	if sure {
		return nil
	}
	return validateFully(msgType, r, content)
}

// validateFully says what is wrong with content, if it is, by the schema of
// msgType.
func validateFully(msgType string, r *rule, content []byte) error {
	all, err := compiled()
	if err != nil {
		return err
	}
	d := json.NewDecoder(bytes.NewReader(content))
	d.UseNumber()
	var tree any
	if err := d.Decode(&tree); err != nil {
		return fmt.Errorf("%s content: %w", msgType, err)
	}
	err = all[msgType].Validate(tree)
	var failed *jsonschema.ValidationError
	if !errors.As(err, &failed) {
		return err
	}
	return explain(msgType, r, tree, failed)
}

// explain names the first field, in the order of names, that failed.
func explain(msgType string, r *rule, tree any, failed *jsonschema.ValidationError) error {
	causes := leaves(failed, nil)
	first := slices.MinFunc(causes, func(a, b *jsonschema.ValidationError) int {
		return strings.Compare(a.InstanceLocation, b.InstanceLocation)
	})
	if !strings.HasSuffix(first.KeywordLocation, "/required") {
		return &InvalidError{MsgType: msgType, Field: fieldAt(first.InstanceLocation), Reason: first.Message}
	}
	fields, _ := tree.(map[string]any) // else its type had failed
	for _, name := range r.Required {
		if _, ok := fields[name]; !ok {
			return &InvalidError{MsgType: msgType, Field: name, Reason: "missing"}
		}
	}
	return &InvalidError{MsgType: msgType, Reason: first.Message}
}

// leaves appends the failures under e that have no deeper cause to all.
func leaves(e *jsonschema.ValidationError, all []*jsonschema.ValidationError) []*jsonschema.ValidationError {
	if len(e.Causes) == 0 {
		return append(all, e)
	}
	for _, c := range e.Causes {
		all = leaves(c, all)
	}
	return all
}

// fieldAt returns the JSON pointer p as a path of names with dots.
func fieldAt(p string) string {
	const longest = 80
	names := strings.Split(strings.TrimPrefix(p, "/"), "/")
	for i, n := range names {
		if plain, err := url.PathUnescape(n); err == nil {
			n = plain
		}
		names[i] = strings.NewReplacer("~1", "/", "~0", "~").Replace(n)
	}
	field := strings.Join(names, ".")
	if len(field) > longest {
		field = strings.ToValidUTF8(field[:longest], "") + "..."
	}
	return field
}

// compiled returns all schemas, by message type. Compiling costs milliseconds,
// but a valid content never gets here.
var compiled = sync.OnceValues(compileSchemas)

func compileSchemas() (map[string]*jsonschema.Schema, error) {
	all, err := rules()
	if err != nil {
		return nil, err
	}
	done := make(map[string]*jsonschema.Schema, len(all))
	for msgType := range all {
		if done[msgType], err = compileSchema(schemaPath(msgType)); err != nil {
			return nil, fmt.Errorf("compile schema of %s: %w", msgType, err)
		}
	}
	return done, nil
}

func compileSchema(file string) (*jsonschema.Schema, error) {
	text, err := schemas.ReadFile(file)
	if err != nil {
		return nil, err
	}
	location := "gokernel:///" + file
	c := jsonschema.NewCompiler()
	if err := c.AddResource(location, bytes.NewReader(text)); err != nil {
		return nil, err
	}
	return c.Compile(location)
}
