package notebook

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"unicode/utf8"
)

// maxDepth is how deep values may be nested; Python's reader gives up at about
// the same depth.
const maxDepth = 900

// A syntaxError says what was expected at an offset.
type syntaxError struct {
	at   int
	want string
}

func (e *syntaxError) Error() string { return fmt.Sprintf("byte %d: expected %s", e.at, e.want) }

// place returns err with line and column of b in place of the offset.
func place(b []byte, err error) error {
	var syntax *syntaxError
	if !errors.As(err, &syntax) {
		return err
	}
	before := b[:min(syntax.at, len(b))]
	line := 1 + bytes.Count(before, []byte("\n"))
	column := 1 + utf8.RuneCount(before[bytes.LastIndexByte(before, '\n')+1:])
	if syntax.at >= len(b) {
		return fmt.Errorf("line %d, column %d: the text ends where %s is expected", line, column, syntax.want)
	}
	return fmt.Errorf("line %d, column %d: expected %s", line, column, syntax.want)
}

// A scanner reads JSON in one pass. Its methods skip white space before what
// they read and leave the scanner after it.
type scanner struct {
	b     []byte
	i     int
	depth int
}

// next skips white space and returns the next byte, 0 at the end.
func (s *scanner) next() byte {
	for s.i < len(s.b) {
		switch c := s.b[s.i]; c {
		case ' ', '\n', '\r', '\t':
			s.i++
		default:
			return c
		}
	}
	return 0
}

func (s *scanner) expect(c byte, want string) error {
	if s.next() != c {
		return &syntaxError{s.i, want}
	}
	s.i++
	return nil
}

func (s *scanner) enter() error {
	s.depth++
	if s.depth > maxDepth {
		return &syntaxError{s.i, fmt.Sprintf("no more than %d levels of nesting", maxDepth)}
	}
	return nil
}

// object calls member for each key; member must read the value.
func (s *scanner) object(member func(key string) error) error {
	if err := s.expect('{', "an object"); err != nil {
		return err
	}
	if err := s.enter(); err != nil {
		return err
	}
	defer func() { s.depth-- }()
	if s.next() == '}' {
		s.i++
		return nil
	}
	for {
		if s.next() != '"' {
			return &syntaxError{s.i, "a key"}
		}
		key, err := s.text()
		if err != nil {
			return err
		}
		if err := s.expect(':', "a colon"); err != nil {
			return err
		}
		if err := member(key); err != nil {
			return err
		}
		switch s.next() {
		case ',':
			s.i++
		case '}':
			s.i++
			return nil
		default:
			return &syntaxError{s.i, "a comma or the end of the object"}
		}
	}
}

// array calls element for each element, which it must read.
func (s *scanner) array(element func(n int) error) error {
	if err := s.expect('[', "a list"); err != nil {
		return err
	}
	if err := s.enter(); err != nil {
		return err
	}
	defer func() { s.depth-- }()
	if s.next() == ']' {
		s.i++
		return nil
	}
	for n := 0; ; n++ {
		if err := element(n); err != nil {
			return err
		}
		switch s.next() {
		case ',':
			s.i++
		case ']':
			s.i++
			return nil
		default:
			return &syntaxError{s.i, "a comma or the end of the list"}
		}
	}
}

// value reads any value and returns its bytes, which are valid JSON.
func (s *scanner) value() ([]byte, error) {
	c := s.next()
	start := s.i
	var err error
	switch {
	case c == '{':
		err = s.object(func(string) error { _, err := s.value(); return err })
	case c == '[':
		err = s.array(func(int) error { _, err := s.value(); return err })
	case c == '"':
		_, err = s.quoted()
	case c == '-' || c >= '0' && c <= '9':
		err = s.number()
	default:
		err = s.word()
	}
	if err != nil {
		return nil, err
	}
	return s.b[start:s.i:s.i], nil
}

func (s *scanner) word() error {
	for _, w := range []string{"true", "false", "null"} {
		if bytes.HasPrefix(s.b[s.i:], []byte(w)) {
			s.i += len(w)
			return nil
		}
	}
	return &syntaxError{s.i, "a value"}
}

func (s *scanner) number() error {
	if s.b[s.i] == '-' {
		s.i++
	}
	if s.i < len(s.b) && s.b[s.i] == '0' {
		s.i++
	} else if err := s.digits(); err != nil {
		return err
	}
	if s.i < len(s.b) && s.b[s.i] == '.' {
		s.i++
		if err := s.digits(); err != nil {
			return err
		}
	}
	if s.i < len(s.b) && s.b[s.i]|0x20 == 'e' {
		s.i++
		if s.i < len(s.b) && (s.b[s.i] == '+' || s.b[s.i] == '-') {
			s.i++
		}
		return s.digits()
	}
	return nil
}

func (s *scanner) digits() error {
	start := s.i
	for s.i < len(s.b) && s.b[s.i] >= '0' && s.b[s.i] <= '9' {
		s.i++
	}
	if s.i == start {
		return &syntaxError{s.i, "a digit"}
	}
	return nil
}

// quoted reads a string and returns what is between its quotes, still escaped.
func (s *scanner) quoted() ([]byte, error) {
	if err := s.expect('"', "a string"); err != nil {
		return nil, err
	}
	start := s.i
	for s.i += plain(s.b[s.i:]); s.i < len(s.b); s.i += plain(s.b[s.i:]) {
		switch s.b[s.i] {
		case '"':
			s.i++
			return s.b[start : s.i-1 : s.i-1], nil
		case '\\':
			if err := s.escape(); err != nil {
				return nil, err
			}
		default:
			return nil, &syntaxError{s.i, "no control character in a string"}
		}
	}
	return nil, &syntaxError{s.i, "the end of a string"}
}

// plain returns how many bytes at the start of b stand for themselves in a
// string: it stops at a quote, a backslash and a control character. It looks at
// eight bytes at a time, as images are long.
func plain(b []byte) int {
	const ones, high = 0x0101010101010101, 0x8080808080808080
	i := 0
	for ; i+8 <= len(b); i += 8 {
		x := binary.LittleEndian.Uint64(b[i:])
		quote, slash := x^('"'*ones), x^('\\'*ones)
		// A term has a high bit set when one of its bytes is special; that a
		// borrow may set a further one above it does not matter here.
		if ((x-0x20*ones)|(quote-ones)|(slash-ones))&^x&high != 0 {
			break
		}
	}
	for ; i < len(b); i++ {
		if c := b[i]; c < 0x20 || c == '"' || c == '\\' {
			break
		}
	}
	return i
}

func (s *scanner) escape() error {
	rest := s.b[s.i:]
	if len(rest) < 2 {
		return &syntaxError{len(s.b), "an escape"}
	}
	if rest[1] == 'u' {
		if len(rest) < 6 || hex4(rest[2:6]) < 0 {
			return &syntaxError{s.i, "four hexadecimal digits after \\u"}
		}
		s.i += 6
		return nil
	}
	if bytes.IndexByte([]byte(`"\/bfnrt`), rest[1]) < 0 {
		return &syntaxError{s.i, "an escape"}
	}
	s.i += 2
	return nil
}

// text reads a string and returns its text.
func (s *scanner) text() (string, error) {
	body, err := s.quoted()
	if err != nil {
		return "", err
	}
	return unescape(body), nil
}

// unescape resolves the escapes in body, the inside of a valid string. A lone
// surrogate becomes U+FFFD.
func unescape(body []byte) string {
	i := bytes.IndexByte(body, '\\')
	if i < 0 {
		return string(body)
	}
	out := make([]byte, 0, len(body))
	for ; i >= 0; i = bytes.IndexByte(body, '\\') {
		out = append(out, body[:i]...)
		r, size := unescapeOne(body[i:])
		out = utf8.AppendRune(out, r)
		body = body[i+size:]
	}
	return string(append(out, body...))
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
	const high, low, end = 0xd800, 0xdc00, 0xe000
	r = hex4(b[2:6])
	if r < high || r >= end {
		return r, 6
	}
	if r < low && len(b) >= 12 && b[6] == '\\' && b[7] == 'u' {
		if second := hex4(b[8:12]); second >= low && second < end {
			return 0x10000 + (r-high)<<10 + (second - low), 12
		}
	}
	return utf8.RuneError, 6
}

// hex4 returns the value of four hexadecimal digits, or -1.
func hex4(b []byte) rune {
	var r rune
	for _, c := range b {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			c = c | 0x20 - 'a' + 10
		default:
			return -1
		}
		r = r<<4 | rune(c)
	}
	return r
}
