package protocol

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func newSigner(t testing.TB, scheme, key string) *Signer {
	t.Helper()
	s, err := NewSigner(scheme, key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func sample() *Message {
	id := "sub-1"
	return &Message{
		Channel:    Shell,
		Identities: [][]byte{{0, 1, 2}, []byte("second")},
		Header: Header{
			MsgID: "id-1", Session: "client", Username: "ünï \"quoted\"\n", Date: "2024-01-02T03:04:05.000006Z",
			MsgType: "execute_request", Version: "5.4", SubshellID: &id,
		},
		Parent:   []byte(`{"msg_id": "p", "odd":1.50}`),
		Metadata: []byte(`{"cellId":"x"}`),
		Content:  []byte(`{"code":"1+1"}`),
		Buffers:  [][]byte{{}, {1}, bytes.Repeat([]byte{7}, 1000)},
	}
}

func TestFramesRoundTrip(t *testing.T) {
	for _, scheme := range []string{"", "hmac-sha256", "hmac-sha512", "hmac-md5"} {
		for _, key := range []string{"", "secret"} {
			t.Run(scheme+"/"+key, func(t *testing.T) {
				s := newSigner(t, scheme, key)
				m := sample()
				frames, err := EncodeFrames(m, s)
				if err != nil {
					t.Fatal(err)
				}
				got, err := DecodeFrames(frames, s, Shell)
				if err != nil {
					t.Fatal(err)
				}
				want := *m
				want.RawHeader = got.RawHeader
				if diff := cmp.Diff(got, &want); diff != "" {
					t.Errorf("decoded message (-got +want):\n%s", diff)
				}
				again, err := EncodeFrames(got, s)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(again, frames); diff != "" {
					t.Errorf("frames after a round trip (-got +want):\n%s", diff)
				}
			})
		}
	}
}

func TestFramesLayout(t *testing.T) {
	m := sample()
	frames, err := EncodeFrames(m, newSigner(t, "", "secret"))
	if err != nil {
		t.Fatal(err)
	}
	h := hmac.New(sha256.New, []byte("secret"))
	for _, part := range frames[4:8] {
		h.Write(part)
	}
	want := [][]byte{
		m.Identities[0], m.Identities[1], []byte("<IDS|MSG>"), []byte(hex.EncodeToString(h.Sum(nil))),
		frames[4], m.Parent, m.Metadata, m.Content, m.Buffers[0], m.Buffers[1], m.Buffers[2],
	}
	if diff := cmp.Diff(frames, want); diff != "" {
		t.Errorf("frames (-got +want):\n%s", diff)
	}
	var header Header
	if err := json.Unmarshal(frames[4], &header); err != nil {
		t.Fatalf("header %s: %v", frames[4], err)
	}
	if diff := cmp.Diff(header, m.Header); diff != "" {
		t.Errorf("header (-got +want):\n%s", diff)
	}
}

func TestEncodeFramesNeverSendsNothing(t *testing.T) {
	for _, part := range [][]byte{nil, {}, []byte("null")} {
		m := &Message{Channel: Shell, Header: Header{MsgType: "x"}, Parent: part, Metadata: part, Content: part}
		frames, err := EncodeFrames(m, nil)
		if err != nil {
			t.Fatal(err)
		}
		for i, f := range frames[3:] {
			if string(f) != "{}" {
				t.Errorf("part %d encoded from %q = %q, want {}", i, part, f)
			}
		}
		if len(frames[1]) != 0 {
			t.Errorf("signature without a key = %q, want none", frames[1])
		}
	}
}

func TestTopic(t *testing.T) {
	tests := []struct {
		msgType, content, want string
	}{
		{"stream", `{"name":"stdout","text":"x"}`, "stream.stdout"},
		{"stream", `{"text":"x", "name":"stderr"}`, "stream.stderr"},
		{"stream", `{"text":"x"}`, "kernel.k1.stream"},
		{"stream", `{"name":1}`, "kernel.k1.stream"},
		{"stream", `garbage`, "kernel.k1.stream"},
		{"status", `{"execution_state":"busy"}`, "kernel.k1.status"},
		{"iopub_welcome", `{"subscription":"kernel."}`, "kernel."},
		{"iopub_welcome", `{"subscription":""}`, ""},
	}
	for _, tt := range tests {
		m := &Message{Channel: IOPub, Header: Header{MsgType: tt.msgType, Session: "k1"}, Content: []byte(tt.content)}
		if got := Topic(m); got != tt.want {
			t.Errorf("Topic(%s %s) = %q, want %q", tt.msgType, tt.content, got, tt.want)
		}
		frames, err := EncodeFrames(m, nil)
		if err != nil {
			t.Fatal(err)
		}
		if string(frames[0]) != tt.want || string(frames[1]) != "<IDS|MSG>" {
			t.Errorf("first frames of %s = %q, want the topic %q and the delimiter", tt.msgType, frames[:2], tt.want)
		}
	}
	m := &Message{Channel: IOPub, Identities: [][]byte{[]byte("mine")}, Header: Header{MsgType: "status"}}
	frames, err := EncodeFrames(m, nil)
	if err != nil {
		t.Fatal(err)
	}
	if string(frames[0]) != "mine" {
		t.Errorf("first frame = %q, want the identity that was set", frames[0])
	}
}

func TestDecodeFramesRejects(t *testing.T) {
	s := newSigner(t, "", "secret")
	signed := func(parts ...string) [][]byte {
		p := make([][]byte, 4)
		for i := range p {
			p[i] = []byte(parts[i])
		}
		return append([][]byte{delimiter, s.sign(p[0], p[1], p[2], p[3])}, p...)
	}
	good := signed(`{"msg_id":"1","msg_type":"x"}`, "{}", "{}", "{}")
	with := func(i int, f string) [][]byte {
		frames := append([][]byte(nil), good...)
		frames[i] = []byte(f)
		return frames
	}
	const header = `{"msg_id":"1","msg_type":"x"}`
	tests := []struct {
		name   string
		frames [][]byte
		want   error
	}{
		{"nothing", nil, ErrMalformed},
		{"no delimiter", good[1:], ErrMalformed},
		{"too few frames", good[:5], ErrMalformed},
		{"unsigned", with(1, ""), ErrSignature},
		{"other signature", with(1, strings.Repeat("0", 64)), ErrSignature},
		{"signature in upper case", with(1, strings.ToUpper(string(good[1]))), ErrSignature},
		{"changed header", with(2, `{"msg_id":"2","msg_type":"x"}`), ErrSignature},
		{"changed content", with(5, `{"code":""}`), ErrSignature},
		{"header is a list", signed("[]", "{}", "{}", "{}"), ErrMalformed},
		{"header is null", signed("null", "{}", "{}", "{}"), ErrMalformed},
		{"header is empty", signed("", "{}", "{}", "{}"), ErrMalformed},
		{"header is garbage", signed("{\"msg_type\":\"x\"", "{}", "{}", "{}"), ErrMalformed},
		{"header with NaN", signed(`{"msg_type":"x","msg_id":"1","a":NaN}`, "{}", "{}", "{}"), ErrMalformed},
		{"header is not UTF-8", signed("{\"msg_type\":\"x\",\"username\":\"\xff\"}", "{}", "{}", "{}"), ErrMalformed},
		{"no msg_type", signed(`{"msg_id":"1"}`, "{}", "{}", "{}"), ErrMalformed},
		{"msg_type is a number", signed(`{"msg_type":1}`, "{}", "{}", "{}"), ErrMalformed},
		{"msg_id is null", signed(`{"msg_type":"x","msg_id":null}`, "{}", "{}", "{}"), ErrMalformed},
		{"parent is a list", signed(header, "[]", "{}", "{}"), ErrMalformed},
		{"metadata is half", signed(header, "{}", `{"a":}`, "{}"), ErrMalformed},
		{"content is a string", signed(header, "{}", "{}", `"x"`), ErrMalformed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m, err := DecodeFrames(tt.frames, s, Shell)
			if !errors.Is(err, tt.want) {
				t.Errorf("DecodeFrames = %v, %v, want error %v", m, err, tt.want)
			}
		})
	}
}

func TestDecodeFramesIsLenient(t *testing.T) {
	tests := []struct {
		name   string
		header string
		rest   [3]string
		want   Header
	}{
		{"no date", `{"msg_id":"1","msg_type":"x"}`, [3]string{"{}", "{}", "{}"}, Header{MsgID: "1", MsgType: "x"}},
		{"date is a number", `{"msg_id":"1","msg_type":"x","date":17.5}`, [3]string{"{}", "{}", "{}"}, Header{MsgID: "1", MsgType: "x"}},
		{"date is malformed", `{"msg_id":"1","msg_type":"x","date":"yesterday"}`, [3]string{"{}", "{}", "{}"}, Header{MsgID: "1", MsgType: "x", Date: "yesterday"}},
		{"user is null", `{"username":null,"msg_id":"1","msg_type":"x","subshell_id":null}`, [3]string{"{}", "{}", "{}"}, Header{MsgID: "1", MsgType: "x"}},
		{"null parts", ` {"msg_id":"1" , "msg_type":"\u0078"}`, [3]string{"null", " null", "null\n"}, Header{MsgID: "1", MsgType: "x"}},
		{"empty parts", `{"msg_id":"1","msg_type":"x"}`, [3]string{}, Header{MsgID: "1", MsgType: "x"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			frames := [][]byte{delimiter, nil, []byte(tt.header), []byte(tt.rest[0]), []byte(tt.rest[1]), []byte(tt.rest[2])}
			m, err := DecodeFrames(frames, nil, Shell)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(m.Header, tt.want); diff != "" {
				t.Errorf("header (-got +want):\n%s", diff)
			}
			if string(m.RawHeader) != tt.header {
				t.Errorf("raw header = %s, want it as it came: %s", m.RawHeader, tt.header)
			}
			out, err := EncodeFrames(m, nil)
			if err != nil {
				t.Fatal(err)
			}
			for i, f := range out[3:] {
				if string(f) != "{}" {
					t.Errorf("part %d sent on = %q, want {}", i, f)
				}
			}
		})
	}
}

func TestUnknownHeaderFieldsReachTheAnswer(t *testing.T) {
	raw := []byte(`{"msg_id":"1","msg_type":"execute_request","session":"s","x":{"y":[1.0]}}`)
	request, err := DecodeFrames([][]byte{[]byte("peer"), delimiter, nil, raw, nil, nil, nil}, nil, Shell)
	if err != nil {
		t.Fatal(err)
	}
	reply, err := New(Shell, &ExecuteReply{Reply: Reply{Status: StatusOK}}, request)
	if err != nil {
		t.Fatal(err)
	}
	frames, err := EncodeFrames(reply, nil)
	if err != nil {
		t.Fatal(err)
	}
	if string(frames[0]) != "peer" || !bytes.Equal(frames[4], raw) {
		t.Errorf("answer to %q with parent %s, want to %q with %s", frames[0], frames[4], "peer", raw)
	}
}

func TestDecodeFramesDoesNotCopy(t *testing.T) {
	content := []byte(`{"code":"` + strings.Repeat("x", 1<<20) + `"}`)
	frames := [][]byte{delimiter, nil, []byte(`{"msg_id":"1","msg_type":"x"}`), nil, nil, content}
	m, err := DecodeFrames(frames, nil, Shell)
	if err != nil {
		t.Fatal(err)
	}
	if &m.Content[0] != &content[0] {
		t.Error("content was copied, want the frame itself")
	}
}

func TestSigner(t *testing.T) {
	if _, err := NewSigner("hmac-sha3", "k"); err == nil || !strings.Contains(err.Error(), "hmac-sha3") {
		t.Errorf("NewSigner(hmac-sha3) = %v, want an error that names the scheme", err)
	}
	s := newSigner(t, "hmac-sha512", "topsecret")
	if got := fmt.Sprintf("%v %s", s, s); strings.Contains(got, "topsecret") || !strings.Contains(got, "hmac-sha512") {
		t.Errorf("signer prints as %q, want its scheme only", got)
	}
}

func BenchmarkEncodeFrames(b *testing.B) {
	for _, size := range []int{100, 1 << 20} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			s := newSigner(b, "", "secret")
			m := sample()
			m.Content = AppendStreamContent(nil, Stdout, bytes.Repeat([]byte("x"), size))
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := EncodeFrames(m, s); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkDecodeFrames(b *testing.B) {
	for _, size := range []int{100, 1 << 20} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			s := newSigner(b, "", "secret")
			m := sample()
			m.Content = AppendStreamContent(nil, Stdout, bytes.Repeat([]byte("x"), size))
			frames, err := EncodeFrames(m, s)
			if err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := DecodeFrames(frames, s, Shell); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
