package protocol

import (
	"bytes"
	"errors"
	"fmt"
	"unicode/utf8"
)

// fromParts returns the message on ch with the four parts, whose bytes it keeps.
// It is the one place that decides what is let in, whatever the transport.
func fromParts(ch Channel, header, parent, metadata, content []byte) (*Message, error) {
	m := &Message{Channel: ch, RawHeader: header}
	if !utf8.Valid(header) {
		// It comes back to every client as the parent of what it causes.
		return nil, fmt.Errorf("%w: header is not UTF-8", ErrMalformed)
	}
	if err := decodeHeader(header, &m.Header); err != nil {
		return nil, fmt.Errorf("%w: header: %w", ErrMalformed, err)
	}
	if m.Header.MsgType == "" {
		return nil, fmt.Errorf("%w: header: no msg_type", ErrMalformed)
	}
	var err error
	if m.Parent, err = checkObject(parent); err != nil {
		return nil, fmt.Errorf("%w: parent header: %w", ErrMalformed, err)
	}
	if m.Metadata, err = checkObject(metadata); err != nil {
		return nil, fmt.Errorf("%w: metadata: %w", ErrMalformed, err)
	}
	if m.Content, err = looksLikeObject(content); err != nil {
		return nil, fmt.Errorf("%w: content: %w", ErrMalformed, err)
	}
	return m, nil
}

var errNotObject = errors.New("expected a JSON object")

// checkObject returns raw, which must be a JSON object, and nil for nothing or
// null.
func checkObject(raw []byte) ([]byte, error) {
	raw, err := looksLikeObject(raw)
	if err != nil || len(raw) == 0 {
		return raw, err
	}
	return raw, scanObject(raw, func(_, _ []byte) error { return nil })
}

// looksLikeObject is checkObject by first and last byte only: content may be
// huge and is checked by who decodes it.
func looksLikeObject(raw []byte) ([]byte, error) {
	trimmed := bytes.Trim(raw, " \t\r\n")
	if len(trimmed) == 0 || bytes.Equal(trimmed, null) {
		return nil, nil
	}
	if trimmed[0] != '{' || trimmed[len(trimmed)-1] != '}' {
		return nil, errNotObject
	}
	return raw, nil
}

// decodeHeader decodes raw into h. The ids and the type must be strings; a
// date, a user name or a version that is none is left out, for it does no harm.
// An absent subshell id and null are the same.
func decodeHeader(raw []byte, h *Header) error {
	return scanObject(raw, func(key, value []byte) error {
		var p *string
		needed := false
		switch string(key) {
		case `"msg_id"`:
			p, needed = &h.MsgID, true
		case `"msg_type"`:
			p, needed = &h.MsgType, true
		case `"session"`:
			p, needed = &h.Session, true
		case `"subshell_id"`:
			if kindOf(value) == kindNull {
				h.SubshellID = nil
				return nil
			}
			h.SubshellID = new(string)
			p, needed = h.SubshellID, true
		case `"username"`:
			p = &h.Username
		case `"date"`:
			p = &h.Date
		case `"version"`:
			p = &h.Version
		default:
			return nil
		}
		s, err := unquote(value)
		if err != nil && needed {
			return fmt.Errorf("%s: %w", trimQuotes(key), err)
		}
		*p = s
		return nil
	})
}

// appendHeader appends the encoding of h to dst.
func appendHeader(dst []byte, h *Header) []byte {
	dst = appendString(append(dst, `{"msg_id":`...), h.MsgID)
	dst = appendString(append(dst, `,"msg_type":`...), h.MsgType)
	dst = appendString(append(dst, `,"session":`...), h.Session)
	dst = appendString(append(dst, `,"username":`...), h.Username)
	dst = appendString(append(dst, `,"date":`...), h.Date)
	dst = appendString(append(dst, `,"version":`...), h.Version)
	if h.SubshellID != nil {
		dst = appendString(append(dst, `,"subshell_id":`...), *h.SubshellID)
	}
	return append(dst, '}')
}
