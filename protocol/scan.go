package protocol

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"unicode/utf8"
)

// This file reads JSON without building anything: it finds where values end and
// which kind they are. Others' messages are checked and routed with it, so it
// is one pass, allocates nothing and is as strict as encoding/json.

// maxDepth is how deep JSON may be nested, as in encoding/json.
const maxDepth = 10000

var (
	errEndOfJSON = errors.New("unexpected end of JSON")
	errDepth     = errors.New("JSON is nested too deep")
	errTrailing  = errors.New("more after the JSON value")
)

// A syntaxError says where JSON ceases to be JSON. It does not quote the text.
type syntaxError struct {
	offset int
	want   string
}

func (e *syntaxError) Error() string {
	return fmt.Sprintf("invalid JSON at byte %d: expected %s", e.offset, e.want)
}

// A kind is the JSON type of a value, as a bit, so that kinds make a set.
type kind uint8

const (
	kindNull kind = 1 << iota
	kindBool
	kindInteger // a number without fraction and exponent
	kindNumber  // any other number
	kindString
	kindArray
	kindObject
)

// kindOf returns the kind of the valid JSON value v, which has no space around it.
func kindOf(v []byte) kind {
	switch v[0] {
	case '{':
		return kindObject
	case '[':
		return kindArray
	case '"':
		return kindString
	case 't', 'f':
		return kindBool
	case 'n':
		return kindNull
	}
	for _, c := range v {
		if c == '.' || c == 'e' || c == 'E' {
			return kindNumber
		}
	}
	return kindInteger
}

// validJSON reports whether b is exactly one JSON value, space around it allowed.
func validJSON(b []byte) bool {
	i, err := skipValue(b, skipSpace(b, 0), 0)
	return err == nil && skipSpace(b, i) == len(b)
}

// scanObject calls field with the raw key and value of each member of the JSON
// object b, in order. The key is still quoted, without needless escapes. An
// error of field ends the scan and is returned. Null counts as an object without members.
func scanObject(b []byte, field func(key, value []byte) error) error {
	i := skipSpace(b, 0)
	if i == len(b) {
		return errEndOfJSON
	}
	if b[i] == 'n' {
		end, err := skipLiteral(b, i, "null")
		if err != nil {
			return err
		}
		return atEnd(b, end)
	}
	if b[i] != '{' {
		return &syntaxError{i, "an object"}
	}
	i = skipSpace(b, i+1)
	if i < len(b) && b[i] == '}' {
		return atEnd(b, i+1)
	}
	for {
		keyEnd, value, end, err := skipMember(b, i, 1)
		if err != nil {
			return err
		}
		key := b[i:keyEnd]
		if bytes.IndexByte(key, '\\') >= 0 {
			key = appendString(nil, unescape(key[1:len(key)-1]))
		}
		if err := field(key, b[value:end]); err != nil {
			return err
		}
		next, done, err := skipSeparator(b, end, '}')
		if err != nil {
			return err
		}
		if done {
			return atEnd(b, next)
		}
		i = next
	}
}

func atEnd(b []byte, i int) error {
	if skipSpace(b, i) != len(b) {
		return errTrailing
	}
	return nil
}

func skipSpace(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\n' || b[i] == '\t' || b[i] == '\r') {
		i++
	}
	return i
}

// skipValue returns the index after the JSON value that begins at b[i].
func skipValue(b []byte, i, depth int) (int, error) {
	if i >= len(b) {
		return i, errEndOfJSON
	}
	switch c := b[i]; {
	case c == '"':
		return skipString(b, i)
	case c == '{':
		return skipObject(b, i, depth+1)
	case c == '[':
		return skipArray(b, i, depth+1)
	case c == 't':
		return skipLiteral(b, i, "true")
	case c == 'f':
		return skipLiteral(b, i, "false")
	case c == 'n':
		return skipLiteral(b, i, "null")
	case c == '-' || c >= '0' && c <= '9':
		return skipNumber(b, i)
	}
	return i, &syntaxError{i, "a value"}
}

func skipObject(b []byte, i, depth int) (int, error) {
	if depth > maxDepth {
		return i, errDepth
	}
	i = skipSpace(b, i+1)
	if i < len(b) && b[i] == '}' {
		return i + 1, nil
	}
	for {
		_, _, end, err := skipMember(b, i, depth)
		if err != nil {
			return i, err
		}
		next, done, err := skipSeparator(b, end, '}')
		if err != nil || done {
			return next, err
		}
		i = next
	}
}

// skipMember reads "key": value from b[i] on.
func skipMember(b []byte, i, depth int) (keyEnd, value, end int, err error) {
	if i >= len(b) {
		return i, i, i, errEndOfJSON
	}
	if b[i] != '"' {
		return i, i, i, &syntaxError{i, "a string as key"}
	}
	keyEnd, err = skipString(b, i)
	if err != nil {
		return i, i, i, err
	}
	i = skipSpace(b, keyEnd)
	if i >= len(b) {
		return i, i, i, errEndOfJSON
	}
	if b[i] != ':' {
		return i, i, i, &syntaxError{i, "a colon"}
	}
	value = skipSpace(b, i+1)
	end, err = skipValue(b, value, depth)
	return keyEnd, value, end, err
}

func skipArray(b []byte, i, depth int) (int, error) {
	if depth > maxDepth {
		return i, errDepth
	}
	i = skipSpace(b, i+1)
	if i < len(b) && b[i] == ']' {
		return i + 1, nil
	}
	for {
		end, err := skipValue(b, i, depth)
		if err != nil {
			return i, err
		}
		next, done, err := skipSeparator(b, end, ']')
		if err != nil || done {
			return next, err
		}
		i = next
	}
}

// skipSeparator reads what follows a value: a comma, after which the next value
// begins, or closing, after which the array or object is done.
func skipSeparator(b []byte, i int, closing byte) (next int, done bool, err error) {
	i = skipSpace(b, i)
	if i >= len(b) {
		return i, false, errEndOfJSON
	}
	switch b[i] {
	case ',':
		return skipSpace(b, i+1), false, nil
	case closing:
		return i + 1, true, nil
	}
	return i, false, &syntaxError{i, "a comma or " + string(rune(closing))}
}

func skipLiteral(b []byte, i int, word string) (int, error) {
	if len(b)-i < len(word) || string(b[i:i+len(word)]) != word {
		return i, &syntaxError{i, word}
	}
	return i + len(word), nil
}

func skipNumber(b []byte, i int) (int, error) {
	if b[i] == '-' {
		i++
	}
	var err error
	if i < len(b) && b[i] == '0' {
		i++
	} else if i, err = skipDigits(b, i); err != nil {
		return i, err
	}
	if i < len(b) && b[i] == '.' {
		if i, err = skipDigits(b, i+1); err != nil {
			return i, err
		}
	}
	if i < len(b) && (b[i] == 'e' || b[i] == 'E') {
		i++
		if i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		return skipDigits(b, i)
	}
	return i, nil
}

func skipDigits(b []byte, i int) (int, error) {
	start := i
	for i < len(b) && b[i] >= '0' && b[i] <= '9' {
		i++
	}
	if i == start {
		return i, &syntaxError{i, "a digit"}
	}
	return i, nil
}

// skipString returns the index after the JSON string that begins at b[i].
func skipString(b []byte, i int) (int, error) {
	i++
	for {
		i += plainRun(b[i:], noHighBit)
		if i >= len(b) {
			return i, errEndOfJSON
		}
		switch b[i] {
		case '"':
			return i + 1, nil
		case '\\':
			end, err := skipEscape(b, i)
			if err != nil {
				return i, err
			}
			i = end
		default:
			return i, &syntaxError{i, "no control character in a string"}
		}
	}
}

func skipEscape(b []byte, i int) (int, error) {
	if i+1 >= len(b) {
		return i, errEndOfJSON
	}
	switch b[i+1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return i + 2, nil
	case 'u':
		if i+6 > len(b) {
			return i, errEndOfJSON
		}
		if hex4(b[i+2:]) < 0 {
			return i, &syntaxError{i, "four hexadecimal digits"}
		}
		return i + 6, nil
	}
	return i, &syntaxError{i, "an escape"}
}

// hex4 returns the value of four hexadecimal digits, or -1.
func hex4(b []byte) rune {
	var r rune
	for _, c := range b[:4] {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			return -1
		}
		r = r<<4 | rune(c)
	}
	return r
}

// What plainRun stops at beside quotes, backslashes and control characters.
const (
	noHighBit uint64 = 0                  // nothing else
	highBit   uint64 = 0x8080808080808080 // bytes of characters beyond ASCII
)

// plainRun returns how many bytes at the start of b stand for themselves in a
// JSON string: it stops at a quote, a backslash, a control character and a byte
// with a bit of stop.
func plainRun(b []byte, stop uint64) int {
	const ones = 0x0101010101010101
	i := 0
	for ; i+8 <= len(b); i += 8 {
		x := binary.LittleEndian.Uint64(b[i:])
		// Each term has the high bit of a byte set if that byte, or by the
		// borrow one above it, is special: exact about whether there is one.
		q, s := x^('"'*ones), x^('\\'*ones)
		special := ((x - 0x20*ones) | (q - ones) | (s - ones)) & ^x & highBit
		if special|x&stop != 0 {
			break
		}
	}
	for ; i < len(b); i++ {
		if c := b[i]; c < 0x20 || c == '"' || c == '\\' || c >= utf8.RuneSelf && stop != 0 {
			break
		}
	}
	return i
}
