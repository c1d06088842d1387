package protocol

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"
)

var texts = []string{
	"", "plain", "a\nb\r\tc\b\f", `"quoted" and \back\`, "\x00\x01\x1f\x7f", "<b>&amp;</b>", "ünïcödé 世界 🎉",
	"bad \xff utf8 \xed\xa0\x80 end\xc3", "\u2028\u2029", "12345678", "1234567\"", "12345678\x80", strings.Repeat("é", 100),
	strings.Repeat("longer than a word ", 20) + "\n" + strings.Repeat("x", 15),
}

func TestAppendJSONString(t *testing.T) {
	for _, text := range texts {
		checkJSONString(t, []byte(text))
	}
	for c := range 256 {
		for at := range 17 {
			text := []byte(strings.Repeat("x", 17))
			text[at] = byte(c)
			checkJSONString(t, text)
		}
	}
}

func checkJSONString(t *testing.T, text []byte) {
	t.Helper()
	want := []byte(strings.ToValidUTF8(string(text), "\ufffd"))
	if !utf8.Valid(text) {
		// ToValidUTF8 makes one of a run of bad bytes, the encoder one of each.
		want = []byte(string([]rune(string(text))))
	}
	got := AppendJSONString([]byte("before"), text)
	if !bytes.HasPrefix(got, []byte(`before"`)) {
		t.Fatalf("AppendJSONString(%q) = %s, want it appended", text, got)
	}
	got = got[len("before"):]
	var back string
	if err := json.Unmarshal(got, &back); err != nil || !utf8.Valid(got) {
		t.Fatalf("AppendJSONString(%q) = %q: %v, want JSON", text, got, err)
	}
	if back != string(want) {
		t.Errorf("AppendJSONString(%q) means %q, want %q", text, back, want)
	}
	if mine, err := unquote(got); err != nil || mine != back {
		t.Errorf("unquote(%s) = %q, %v, want %q", got, mine, err, back)
	}
	if s := appendString(nil, string(text)); !bytes.Equal(s, got) {
		t.Errorf("appendString(%q) = %s, want %s", text, s, got)
	}
}

func TestAppendJSONStringEscapesNoHTML(t *testing.T) {
	if got, want := string(AppendJSONString(nil, []byte("<&>\u2028"))), "\"<&>\u2028\""; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestAppendStreamContent(t *testing.T) {
	for _, text := range texts {
		raw := AppendStreamContent(nil, Stderr, []byte(text))
		c, err := DecodeContent("stream", raw)
		if err != nil {
			t.Fatalf("%s: %v", raw, err)
		}
		if got, want := *c.(*Stream), (Stream{Stderr, string([]rune(text))}); got != want {
			t.Errorf("stream content of %q = %q, want %q", text, got, want)
		}
	}
}

func TestUnquote(t *testing.T) {
	for _, v := range []string{
		`"\ud83c\udf89"`, `"\ud83c"`, `"\ud83cx"`, `"\udf89\ud83c"`, `"\ud83c\ud83c\udf89"`, `"a\/b\u0041\u00e9"`,
		`"\"\\\b\f\n\r\t"`, `"\u0000"`, "\"\xff\"", `"\ud83c\n"`, `"\uFFFF"`,
	} {
		var want string
		if err := json.Unmarshal([]byte(v), &want); err != nil {
			t.Fatal(err)
		}
		if got, err := unquote([]byte(v)); err != nil || got != want {
			t.Errorf("unquote(%s) = %q, %v, want %q", v, got, err, want)
		}
	}
	if got, err := unquote([]byte(`12`)); err == nil {
		t.Errorf("unquote(12) = %q, want an error", got)
	}
}

var jsonTexts = []string{
	``, ` `, `{}`, ` {} `, `[]`, `null`, `true`, `false`, `nul`, `nullx`, `0`, `-0`, `01`, `1.`, `1.5e+10`, `1e`, `-`, `.5`,
	`"a`, `"\u12"`, `"\u12g4"`, `"\x"`, "\"\n\"", `"\`, `{"a"}`, `{"a":}`, `{"a":1,}`, `{,}`, `[1,]`, `[,]`, `[1 2]`, `{"a":1 "b":2}`,
	`{"a":{"b":[1,2,{"c":null}]},"d":"e"}`, `{} {}`, `NaN`, `[Infinity]`, `-Infinity`, "\ufeff{}", "\"\xff\"", `{"a":1`, `[`, `{"a" 1}`, `{1:2}`,
	strings.Repeat("[", maxDepth) + strings.Repeat("]", maxDepth),
	strings.Repeat("[", maxDepth+1) + strings.Repeat("]", maxDepth+1),
	strings.Repeat(`{"a":`, maxDepth) + `1` + strings.Repeat("}", maxDepth),
	strings.Repeat(`{"a":`, maxDepth+1) + `1` + strings.Repeat("}", maxDepth+1),
}

func TestValidJSON(t *testing.T) {
	for _, text := range jsonTexts {
		checkValidJSON(t, []byte(text))
	}
}

// checkValidJSON compares the scanner with encoding/json's.
func checkValidJSON(t *testing.T, text []byte) {
	t.Helper()
	want := json.Valid(text)
	if got := validJSON(text); got != want {
		t.Errorf("validJSON(%.100q) = %t, want %t", text, got, want)
	}
	fields := map[string]json.RawMessage{}
	err := scanObject(text, func(key, value []byte) error {
		k, err := unquote(key)
		fields[k] = value
		return err
	})
	var wantFields map[string]json.RawMessage
	wantErr := json.Unmarshal(text, &wantFields)
	if (err == nil) != (wantErr == nil) {
		t.Fatalf("scanObject(%.100q) = %v, want %v", text, err, wantErr)
	}
	if err != nil {
		return
	}
	for k, v := range wantFields {
		if !bytes.Equal(fields[k], v) {
			t.Errorf("scanObject(%.100q): %q = %s, want %s", text, k, fields[k], v)
		}
	}
	if len(fields) != len(wantFields) {
		t.Errorf("scanObject(%.100q) found %d fields, want %d", text, len(fields), len(wantFields))
	}
}

func BenchmarkAppendJSONString(b *testing.B) {
	line := "step 12345: loss=0.123456 accuracy=0.987654 learning_rate=1e-3 ok\n"
	for _, bm := range []struct{ name, text string }{
		{"ascii", strings.Repeat("x", 1<<20)},
		{"lines", strings.Repeat(line, 1<<20/len(line))},
		{"greek", strings.Repeat("αβγδ εζηθ\n", 1<<20/19)},
	} {
		b.Run(bm.name, func(b *testing.B) {
			text := []byte(bm.text)
			dst := make([]byte, 0, 2*len(text))
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				dst = AppendJSONString(dst[:0], text)
			}
		})
	}
}

func BenchmarkValidJSON(b *testing.B) {
	raw := AppendStreamContent(nil, Stdout, bytes.Repeat([]byte(fmt.Sprintln("a line of text, of usual length and with a number", 42)), 1<<14))
	b.SetBytes(int64(len(raw)))
	for b.Loop() {
		if !validJSON(raw) {
			b.Fatal("not valid")
		}
	}
}
