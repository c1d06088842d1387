package protocol

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
)

// An InvalidError says which field of a content has not the form that its
// message type wants. Its text may be shown to users; it quotes no values but
// small ones like numbers.
type InvalidError struct {
	MsgType string
	Field   string // like code or user_expressions.x; empty for the content itself
	Reason  string // like "expected string, but got number"
}

func (e *InvalidError) Error() string {
	if e.Field == "" {
		return fmt.Sprintf("%s content: %s", e.MsgType, e.Reason)
	}
	return fmt.Sprintf("%s content: %s: %s", e.MsgType, e.Field, e.Reason)
}

// contentError turns an error of decoding a content into one that names the
// message type and, if it is about one, the field.
func contentError(msgType string, err error) error {
	var invalid *InvalidError
	if errors.As(err, &invalid) {
		return err
	}
	var mismatch *json.UnmarshalTypeError
	if errors.As(err, &mismatch) {
		reason := fmt.Sprintf("expected %s, but got %s", jsonTypeOf(mismatch.Type.Kind()), mismatch.Value)
		return &InvalidError{MsgType: msgType, Field: mismatch.Field, Reason: reason}
	}
	return fmt.Errorf("%s content: %w", msgType, err)
}

// jsonTypeOf names the JSON type that a Go value of kind k is decoded from.
func jsonTypeOf(k reflect.Kind) string {
	switch k {
	case reflect.String:
		return "string"
	case reflect.Bool:
		return "boolean"
	case reflect.Slice, reflect.Array:
		return "array"
	case reflect.Map, reflect.Struct:
		return "object"
	case reflect.Float32, reflect.Float64:
		return "number"
	}
	return "integer"
}
