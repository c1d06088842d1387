package protocol

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

// A codec is one of the websocket protocols.
type codec struct {
	name   string
	encode func(dst []byte, m *Message) ([]byte, bool, error)
	decode func(data []byte, isBinary bool) (*Message, error)
}

var codecs = []codec{
	{"json", AppendWebsocketJSON, DecodeWebsocketJSON},
	{
		"v1",
		func(dst []byte, m *Message) ([]byte, bool, error) {
			data, err := AppendWebsocketV1(dst, m)
			return data, true, err
		},
		func(data []byte, _ bool) (*Message, error) { return DecodeWebsocketV1(data) },
	},
}

func TestWebsocketRoundTrip(t *testing.T) {
	plain := sample()
	plain.Buffers = nil
	bare := &Message{Channel: IOPub, Header: Header{MsgID: "1", MsgType: "status"}}
	raw := sample()
	raw.RawHeader = []byte(`{ "msg_type":"execute_request", "msg_id":"id-1", "odd":[1.0] }`)
	raw.Header = Header{MsgID: "id-1", MsgType: "execute_request"}
	for _, c := range codecs {
		for name, m := range map[string]*Message{"buffers": sample(), "plain": plain, "bare": bare, "raw": raw} {
			t.Run(c.name+"/"+name, func(t *testing.T) {
				prefix := []byte("before")
				data, isBinary, err := c.encode(slices.Clip(prefix), m)
				if err != nil {
					t.Fatal(err)
				}
				if !bytes.HasPrefix(data, prefix) {
					t.Fatalf("message %.20q, want it appended to %q", data, prefix)
				}
				data = data[len(prefix):]
				if wantBinary := c.name == "v1" || m.Buffers != nil; isBinary != wantBinary {
					t.Errorf("binary = %t, want %t", isBinary, wantBinary)
				}
				if !isBinary && !json.Valid(data) {
					t.Errorf("not JSON: %s", data)
				}
				got, err := c.decode(data, isBinary)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(got, onWire(t, m)); diff != "" {
					t.Errorf("decoded message (-got +want):\n%s", diff)
				}
			})
		}
	}
}

// onWire returns m as a websocket carries it.
func onWire(t *testing.T, m *Message) *Message {
	t.Helper()
	header, err := m.HeaderJSON()
	if err != nil {
		t.Fatal(err)
	}
	w := *m
	w.RawHeader, w.Identities = header, nil
	w.Parent, w.Metadata, w.Content = orEmpty(m.Parent), orEmpty(m.Metadata), orEmpty(m.Content)
	return &w
}

// TestWebsocketLayout pins byte order and offsets to the specification.
func TestWebsocketLayout(t *testing.T) {
	m := &Message{
		Channel: Shell, RawHeader: []byte(`{"msg_type":"x"}`), Header: Header{MsgType: "x"},
		Metadata: []byte(`{"m":1}`), Buffers: [][]byte{[]byte("AB"), {}, []byte("C")},
	}
	v1, err := AppendWebsocketV1(nil, m)
	if err != nil {
		t.Fatal(err)
	}
	var want []byte
	for _, n := range []uint64{9, 80, 85, 101, 103, 110, 112, 114, 114, 115} {
		want = binary.LittleEndian.AppendUint64(want, n)
	}
	want = append(want, `shell{"msg_type":"x"}{}{"m":1}{}ABC`...)
	if !bytes.Equal(v1, want) {
		t.Errorf("v1:\n got %q\nwant %q", v1, want)
	}

	legacy, _, err := AppendWebsocketJSON(nil, m)
	if err != nil {
		t.Fatal(err)
	}
	text := `{"channel":"shell","msg_id":"","msg_type":"x","header":{"msg_type":"x"},"parent_header":{},"metadata":{"m":1},"content":{},"buffers":[]}`
	want = nil
	end := uint32(20 + len(text))
	for _, n := range []uint32{4, 20, end, end + 2, end + 2} {
		want = binary.BigEndian.AppendUint32(want, n)
	}
	want = append(want, text+"ABC"...)
	if !bytes.Equal(legacy, want) {
		t.Errorf("legacy:\n got %q\nwant %q", legacy, want)
	}
}

func TestWebsocketChannel(t *testing.T) {
	tests := []struct {
		channel string
		want    Channel
		err     error
	}{
		{`"channel":"iopub",`, IOPub, nil},
		{`"channel":"stdin",`, Stdin, nil},
		{`"channel":"control",`, Control, nil},
		{`"channel":"",`, Shell, nil},
		{`"channel":null,`, Shell, nil},
		{``, Shell, nil},
		{`"channel":"hb",`, "", ErrChannel},
		{`"channel":"Shell",`, "", ErrChannel},
		{`"channel":1,`, "", ErrMalformed},
	}
	for _, tt := range tests {
		m, err := DecodeWebsocketJSON([]byte(`{`+tt.channel+`"header":{"msg_type":"x"},"parent_header":null}`), false)
		if !errors.Is(err, tt.err) {
			t.Errorf("%s: error %v, want %v", tt.channel, err, tt.err)
			continue
		}
		if err == nil && (m.Channel != tt.want || m.Parent != nil) {
			t.Errorf("%s: channel %q and parent %s, want %q and none", tt.channel, m.Channel, m.Parent, tt.want)
		}
	}
	for ch, want := range map[Channel]error{"": nil, Shell: nil, "hb": ErrChannel, Channel(strings.Repeat("x", 1000)): ErrChannel} {
		data, err := AppendWebsocketV1(nil, &Message{Channel: ch, Header: Header{MsgType: "x"}})
		if err != nil {
			t.Fatal(err)
		}
		m, err := DecodeWebsocketV1(data)
		if !errors.Is(err, want) {
			t.Errorf("v1 channel %.10q: error %v, want %v", ch, err, want)
		}
		if err == nil && m.Channel != Shell {
			t.Errorf("v1 channel %q = %q, want shell", ch, m.Channel)
		}
	}
}

func TestDecodeWebsocketV1Rejects(t *testing.T) {
	message := func(header string, offsets ...uint64) []byte {
		b := binary.LittleEndian.AppendUint64(nil, uint64(len(offsets)))
		for _, o := range offsets {
			b = binary.LittleEndian.AppendUint64(b, o)
		}
		return append(b, "shell"+header...)
	}
	const header = `{"msg_type":"x"}` // 16 bytes
	good := []uint64{56, 61, 77, 77, 77, 77}
	if _, err := DecodeWebsocketV1(message(header, good...)); err != nil {
		t.Fatalf("the good one: %v", err)
	}
	with := func(i int, v uint64) []byte {
		o := slices.Clone(good)
		o[i] = v
		return message(header, o...)
	}
	count := func(n uint64) []byte {
		b := message(header, good...)
		binary.LittleEndian.PutUint64(b, n)
		return b
	}
	for name, data := range map[string][]byte{
		"nothing":           nil,
		"seven bytes":       make([]byte, 7),
		"zeros":             make([]byte, 64),
		"five offsets":      message(header, 48, 53, 69, 69, 69),
		"too many offsets":  count(9),
		"huge count":        count(1 << 61),
		"count of all ones": count(^uint64(0)),
		"into the table":    with(0, 8),
		"decreasing":        with(2, 60),
		"beyond the end":    with(3, 1<<40),
		"all ones":          with(1, ^uint64(0)),
		"short of the end":  with(5, 76),
		"past the end":      with(5, 78),
		"bad header":        message(`{"msg_type":"x"]`, good...),
	} {
		if m, err := DecodeWebsocketV1(data); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v, %v, want %v", name, m, err, ErrMalformed)
		}
	}
}

func TestDecodeWebsocketJSONRejects(t *testing.T) {
	const text = `{"header":{"msg_type":"x"}}` // 27 bytes
	message := func(numbers ...uint32) []byte {
		var b []byte
		for _, n := range numbers {
			b = binary.BigEndian.AppendUint32(b, n)
		}
		return append(b, text+"AB"...)
	}
	if m, err := DecodeWebsocketJSON(message(2, 12, 39), true); err != nil || string(m.Buffers[0]) != "AB" {
		t.Fatalf("the good one: %v, %v", m, err)
	}
	for name, data := range map[string][]byte{
		"nothing":          nil,
		"three bytes":      make([]byte, 3),
		"no offsets":       message(0),
		"too many offsets": message(100, 12, 39),
		"huge count":       message(1<<32-1, 12, 39),
		"into the table":   message(2, 4, 39),
		"decreasing":       message(2, 39, 12),
		"beyond the end":   message(2, 12, 42),
		"far beyond":       message(2, 12, 1<<32-1),
		"cut JSON":         message(2, 12, 38),
	} {
		if m, err := DecodeWebsocketJSON(data, true); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v, %v, want %v", name, m, err, ErrMalformed)
		}
	}
	for _, data := range []string{
		``, `null`, `[]`, `{}`, `{"header":null}`, `{"header":{}}`, `{"header":{"msg_type":"x"},"content":[]}`,
		`{"header":{"msg_type":"x"},"metadata":1}`, `{"header":{"msg_type":"x"},"content":{"a":NaN}}`, text + text,
	} {
		if m, err := DecodeWebsocketJSON([]byte(data), false); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v, %v, want %v", data, m, err, ErrMalformed)
		}
	}
}

func TestWebsocketTextIsUTF8(t *testing.T) {
	m := &Message{Channel: IOPub, Header: Header{MsgType: "stream", Username: "\xff"}, Content: []byte("{\"text\":\"a\xff\xfeb\"}")}
	data, _, err := AppendWebsocketJSON(nil, m)
	if err != nil {
		t.Fatal(err)
	}
	if !utf8.Valid(data) || !json.Valid(data) {
		t.Errorf("message = %q, want JSON in UTF-8", data)
	}
}

func TestWebsocketKeepsBytes(t *testing.T) {
	const content = `{ "code" : "\u0041", "n": 1.50e+01 }`
	m, err := DecodeWebsocketJSON([]byte(`{"header":{"msg_type":"x","msg_id":"1"},"content":`+content+`}`), false)
	if err != nil {
		t.Fatal(err)
	}
	frames, err := EncodeFrames(m, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := string(frames[5]); got != content {
		t.Errorf("content after websocket and ZeroMQ = %s, want %s", got, content)
	}
}

func BenchmarkWebsocket(b *testing.B) {
	m := sample()
	m.RawHeader = appendHeader(nil, &m.Header)
	m.Buffers = nil
	m.Content = AppendStreamContent(nil, Stdout, bytes.Repeat([]byte("x"), 600))
	for _, c := range codecs {
		data, isBinary, err := c.encode(nil, m)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(c.name+"/encode", func(b *testing.B) {
			var dst []byte
			b.ReportAllocs()
			for b.Loop() {
				if dst, _, err = c.encode(dst[:0], m); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(c.name+"/decode", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := c.decode(data, isBinary); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
