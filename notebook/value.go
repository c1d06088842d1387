package notebook

import (
	"bytes"
	"math"
	"slices"
	"strconv"
	"strings"
)

// value writes the JSON value raw, for a file in the form that Python's json
// module gives it.
func (w *writer) value(raw []byte) error {
	if err := check(raw); err != nil {
		return err
	}
	raw = bytes.TrimSpace(raw)
	if !w.file {
		w.dst = append(w.dst, raw...)
		return nil
	}
	s := scanner{b: raw}
	n, err := parse(&s)
	if err != nil {
		return err
	}
	w.node(n)
	return nil
}

// A node is a decoded value: an object with keys, a list, or a scalar.
type node struct {
	raw  []byte // of a scalar; else only its first byte counts
	kids []kid
}

type kid struct {
	key string
	node
}

// parse reads a value whose objects' keys it sorts; of equal keys the last one
// counts.
func parse(s *scanner) (node, error) {
	c := s.next()
	n := node{raw: s.b[s.i:]}
	switch c {
	case '{':
		at := map[string]int{}
		err := s.object(func(key string) error {
			v, err := parse(s)
			if i, ok := at[key]; ok {
				n.kids[i].node = v
				return err
			}
			at[key] = len(n.kids)
			n.kids = append(n.kids, kid{key, v})
			return err
		})
		sortKids(n.kids)
		return n, err
	case '[':
		err := s.array(func(int) error {
			v, err := parse(s)
			n.kids = append(n.kids, kid{node: v})
			return err
		})
		return n, err
	}
	raw, err := s.value()
	return node{raw: raw}, err
}

func (w *writer) node(n node) {
	switch c := n.raw[0]; {
	case c == '{':
		w.kids('{', '}', n.kids)
	case c == '[':
		w.kids('[', ']', n.kids)
	case c == '"':
		body := n.raw[1 : len(n.raw)-1]
		if plain(body) == len(body) {
			w.dst = append(w.dst, n.raw...)
			return
		}
		w.str(unescape(body))
	case c == '-' || c >= '0' && c <= '9':
		w.dst = append(w.dst, pythonNumber(string(n.raw))...)
	default:
		w.dst = append(w.dst, n.raw...)
	}
}

func (w *writer) kids(open, end byte, kids []kid) {
	// The function below never fails, so neither does sequence.
	_ = w.sequence(open, end, len(kids), func(i int) error {
		if open == '{' {
			w.key(kids[i].key)
		}
		w.node(kids[i].node)
		return nil
	})
}

// pythonNumber returns the JSON number s as Python writes it once it has read
// it: integers as they are, others by the shortest digits that give the same
// float. One beyond the range of a float stays as it is.
func pythonNumber(s string) string {
	if !strings.ContainsAny(s, ".eE") {
		if s == "-0" {
			return "0"
		}
		return s
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return s
	}
	if f == 0 {
		if math.Signbit(f) {
			return "-0.0"
		}
		return "0.0"
	}
	scientific := strconv.FormatFloat(f, 'e', -1, 64)
	_, exponent, _ := strings.Cut(scientific, "e")
	if e, err := strconv.Atoi(exponent); err != nil || e < -4 || e >= 16 {
		return scientific
	}
	fixed := strconv.FormatFloat(f, 'f', -1, 64)
	if !strings.Contains(fixed, ".") {
		fixed += ".0"
	}
	return fixed
}

func sortKids(kids []kid) {
	slices.SortFunc(kids, func(a, b kid) int { return strings.Compare(a.key, b.key) })
}
