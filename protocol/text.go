package protocol

import (
	"encoding/json"
	"fmt"
	"unicode/utf8"
)

// AppendJSONString appends text to dst as a JSON string. Bytes that are not
// UTF-8 become U+FFFD; HTML characters are not escaped.
func AppendJSONString(dst, text []byte) []byte {
	dst = append(dst, '"')
	start, i := 0, 0 // text[start:i] can be copied as it is
	for {
		i += plainRun(text[i:], highBit)
		if i == len(text) {
			break
		}
		c := text[i]
		if c < utf8.RuneSelf {
			dst = append(dst, text[start:i]...)
			dst = appendEscape(dst, c)
			i++
			start = i
			continue
		}
		for i < len(text) && text[i] >= utf8.RuneSelf {
			r, size := utf8.DecodeRune(text[i:])
			if r == utf8.RuneError && size == 1 {
				dst = append(dst, text[start:i]...)
				dst = utf8.AppendRune(dst, utf8.RuneError)
				start = i + 1
			}
			i += size
		}
	}
	dst = append(dst, text[start:]...)
	return append(dst, '"')
}

// appendEscape appends the escape of a quote, a backslash or a control character.
func appendEscape(dst []byte, c byte) []byte {
	const hex = "0123456789abcdef"
	switch c {
	case '"', '\\':
		return append(dst, '\\', c)
	case '\n':
		return append(dst, '\\', 'n')
	case '\r':
		return append(dst, '\\', 'r')
	case '\t':
		return append(dst, '\\', 't')
	case '\b':
		return append(dst, '\\', 'b')
	case '\f':
		return append(dst, '\\', 'f')
	}
	return append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&0xf])
}

// AppendStreamContent appends to dst the content of a stream message: text that
// was written to the stream name, [Stdout] or [Stderr].
func AppendStreamContent(dst []byte, name string, text []byte) []byte {
	dst = append(dst, `{"name":`...)
	dst = appendString(dst, name)
	dst = append(dst, `,"text":`...)
	dst = AppendJSONString(dst, text)
	return append(dst, '}')
}

// appendString is AppendJSONString for a string, without copying it when it is
// plain, as names and ids are.
func appendString(dst []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c == '"' || c == '\\' || c >= utf8.RuneSelf {
			return AppendJSONString(dst, []byte(s))
		}
	}
	dst = append(dst, '"')
	dst = append(dst, s...)
	return append(dst, '"')
}

// trimQuotes returns the inside of a quoted key, escapes and all.
func trimQuotes(key []byte) string { return string(key[1 : len(key)-1]) }

// unquote returns the text of the valid JSON string v.
func unquote(v []byte) (string, error) {
	if len(v) < 2 || v[0] != '"' {
		return "", fmt.Errorf("expected string, but got %s", kindName(kindOf(v)))
	}
	body := v[1 : len(v)-1]
	if plainRun(body, noHighBit) == len(body) && utf8.Valid(body) {
		return string(body), nil
	}
	return unescape(body), nil
}

// unescape resolves the escapes of body, the inside of a valid JSON string.
// What is not UTF-8 and lone surrogates become U+FFFD.
func unescape(body []byte) string {
	out := make([]byte, 0, len(body))
	for i := 0; i < len(body); {
		if n := plainRun(body[i:], highBit); n > 0 {
			out = append(out, body[i:i+n]...)
			i += n
			continue
		}
		if body[i] != '\\' {
			r, size := utf8.DecodeRune(body[i:])
			out = utf8.AppendRune(out, r)
			i += size
			continue
		}
		r, size := unescapeOne(body[i:])
		out = utf8.AppendRune(out, r)
		i += size
	}
	return string(out)
}

// unescapeOne resolves the valid escape at the start of b.
func unescapeOne(b []byte) (r rune, size int) {
	switch b[1] {
	case 'n':
		return '\n', 2
	case 'r':
		return '\r', 2
	case 't':
		return '\t', 2
	case 'b':
		return '\b', 2
	case 'f':
		return '\f', 2
	case 'u':
	default:
		return rune(b[1]), 2
	}
	r = hex4(b[2:])
	const highStart, lowStart, lowEnd = 0xd800, 0xdc00, 0xe000
	if r < highStart || r >= lowEnd {
		return r, 6
	}
	if r < lowStart && len(b) >= 12 && b[6] == '\\' && b[7] == 'u' {
		if low := hex4(b[8:]); low >= lowStart && low < lowEnd {
			return 0x10000 + (r-highStart)<<10 + (low - lowStart), 12
		}
	}
	return utf8.RuneError, 6
}

func kindName(k kind) string {
	switch k {
	case kindNull:
		return "null"
	case kindBool:
		return "boolean"
	case kindInteger, kindNumber:
		return "number"
	case kindString:
		return "string"
	case kindArray:
		return "array"
	}
	return "object"
}

// decodeField decodes the valid JSON value v into p, a field of a content. Null
// leaves it alone.
func decodeField(v []byte, p any) error {
	if kindOf(v) == kindNull {
		return nil
	}
	if s, ok := p.(*string); ok {
		var err error
		*s, err = unquote(v)
		return err
	}
	if b, ok := p.(*bool); ok {
		if kindOf(v) != kindBool {
			return fmt.Errorf("expected boolean, but got %s", kindName(kindOf(v)))
		}
		*b = v[0] == 't'
		return nil
	}
	return json.Unmarshal(v, p)
}
