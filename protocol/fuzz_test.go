package protocol

import (
	"bytes"
	"encoding/json"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// same compares messages; no bytes and empty bytes are the same.
var same = cmpopts.EquateEmpty()

func FuzzDecodeFrames(f *testing.F) {
	for _, g := range goldens(f) {
		f.Add([]byte(g.Header), []byte(g.Parent), []byte(g.Metadata), []byte(g.Content), []byte("peer"), []byte("buffer"), true)
	}
	f.Add([]byte(`{"msg_type":"x"}`), []byte("null"), []byte(""), []byte(" null "), []byte("<IDS|MSG>"), []byte(nil), false)
	signer := newSigner(f, "", "secret")
	f.Fuzz(func(t *testing.T, header, parent, metadata, content, identity, buffer []byte, signed bool) {
		frames := [][]byte{identity, delimiter, nil, header, parent, metadata, content, buffer}
		if signed {
			frames[2] = signer.sign(header, parent, metadata, content)
		}
		for n := range frames {
			// Cut messages must be refused or be messages, never panic.
			_, _ = DecodeFrames(frames[:n], signer, Shell)
		}
		m, err := DecodeFrames(frames, signer, Shell)
		if err != nil {
			return
		}
		if !signed {
			t.Fatalf("an unsigned message was accepted: %q", frames)
		}
		checkEncodings(t, m)
	})
}

// checkEncodings checks that m, which was received, is the same after each way
// of encoding it.
func checkEncodings(t *testing.T, m *Message) {
	t.Helper()
	signer := newSigner(t, "", "other")
	frames, err := EncodeFrames(m, signer)
	if err != nil {
		t.Fatal(err)
	}
	again, err := DecodeFrames(frames, signer, m.Channel)
	if err != nil {
		t.Fatalf("encoded as %q: %v", frames, err)
	}
	want := onWire(t, m)
	want.Identities = m.Identities
	if m.Channel == IOPub && m.Identities == nil {
		want.Identities = [][]byte{[]byte(Topic(m))}
	}
	if diff := cmp.Diff(again, want, same); diff != "" {
		t.Fatalf("after EncodeFrames (-got +want):\n%s", diff)
	}
	for _, c := range codecs {
		if c.name == "json" && !(validJSON(want.Content) && utf8.Valid(want.Parent) && utf8.Valid(want.Metadata) && utf8.Valid(want.Content)) {
			continue // it cannot carry these
		}
		data, isBinary, err := c.encode(nil, m)
		if err != nil {
			t.Fatal(err)
		}
		again, err := c.decode(data, isBinary)
		if err != nil {
			t.Fatalf("encoded by %s as %q: %v", c.name, data, err)
		}
		if diff := cmp.Diff(trimmed(again), trimmed(onWire(t, m)), same); diff != "" {
			t.Fatalf("after %s (-got +want):\n%s", c.name, diff)
		}
	}
	// What is wrong with its content is an error, no more.
	_ = Validate(m)
	_, _ = m.Decode()
}

// trimmed returns m without space around its parts, which JSON does not keep.
func trimmed(m *Message) *Message {
	c := *m
	for _, part := range []*[]byte{&c.RawHeader, &c.Parent, &c.Metadata, &c.Content} {
		*part = bytes.Trim(*part, " \t\r\n")
	}
	return &c
}

func FuzzDecodeWebsocketJSON(f *testing.F) {
	addWebsocketSeeds(f, AppendWebsocketJSON)
	f.Fuzz(func(t *testing.T, data []byte, isBinary bool) {
		m, err := DecodeWebsocketJSON(data, isBinary)
		if err == nil {
			checkEncodings(t, m)
		}
	})
}

func FuzzDecodeWebsocketV1(f *testing.F) {
	addWebsocketSeeds(f, func(dst []byte, m *Message) ([]byte, bool, error) {
		data, err := AppendWebsocketV1(dst, m)
		return data, true, err
	})
	f.Fuzz(func(t *testing.T, data []byte, _ bool) {
		m, err := DecodeWebsocketV1(data)
		if err == nil {
			checkEncodings(t, m)
		}
	})
}

func addWebsocketSeeds(f *testing.F, encode func(dst []byte, m *Message) ([]byte, bool, error)) {
	f.Helper()
	messages := []*Message{sample(), {Channel: IOPub, Header: Header{MsgType: "status"}}}
	for _, g := range goldens(f) {
		m, err := DecodeFrames(g.frames(f), nil, g.Channel)
		if err != nil {
			f.Fatal(err)
		}
		messages = append(messages, m)
	}
	for _, m := range messages {
		data, isBinary, err := encode(nil, m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data, isBinary)
	}
	f.Add([]byte{}, true)
}

func FuzzParseConnectionInfo(f *testing.F) {
	f.Add([]byte(`{"transport":"tcp","ip":"::1","shell_port":"1","key":"k","signature_scheme":"hmac-md5"}`))
	f.Add([]byte(`{"transport":"ipc","ip":"/run/k","hb_port":65535,"curve_publickey":null}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		info, err := ParseConnectionInfo(data)
		if err != nil {
			return
		}
		text, err := json.Marshal(info)
		if err != nil {
			t.Fatal(err)
		}
		again, err := ParseConnectionInfo(text)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if diff := cmp.Diff(again, info); diff != "" {
			t.Fatalf("written and read again (-got +want):\n%s", diff)
		}
	})
}

func FuzzDecodeContent(f *testing.F) {
	for _, g := range goldens(f) {
		m, err := DecodeFrames(g.frames(f), nil, g.Channel)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(m.Header.MsgType, []byte(g.Content))
	}
	f.Add("execute_request", []byte(`{"code":"\ud800","user_expressions":{"a":null}}`))
	f.Fuzz(func(t *testing.T, msgType string, raw []byte) {
		c, err := DecodeContent(msgType, raw)
		if err != nil {
			return
		}
		if _, unknown := c.(*Unknown); unknown {
			return
		}
		encoded, err := EncodeContent(c)
		if err != nil {
			t.Fatalf("%s %q was decoded to %+v: %v", msgType, raw, c, err)
		}
		if !json.Valid(encoded) {
			t.Fatalf("%s: encoded %s is not JSON", msgType, encoded)
		}
		again, err := DecodeContent(msgType, encoded)
		if err != nil {
			t.Fatalf("%s %s, encoded from %q: %v", msgType, encoded, raw, err)
		}
		twice, err := EncodeContent(again)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(twice, encoded) {
			t.Fatalf("%s: encoded %s, and from that %s", msgType, encoded, twice)
		}
	})
}

func FuzzCleanJSON(f *testing.F) {
	for _, tt := range uncleanTexts {
		f.Add([]byte(tt.raw))
	}
	for _, text := range jsonTexts {
		if len(text) < maxDepth { // the deep ones are slow
			f.Add([]byte(text))
		}
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		checkValidJSON(t, raw)
		got, err := CleanJSON(raw)
		if json.Valid(raw) && (err != nil || !bytes.Equal(got, raw)) {
			t.Fatalf("CleanJSON of the valid %q = %q, %v", raw, got, err)
		}
		if err == nil && !json.Valid(got) {
			t.Fatalf("CleanJSON(%q) = %q, which is not JSON", raw, got)
		}
	})
}

func FuzzAppendJSONString(f *testing.F) {
	for _, text := range texts {
		f.Add([]byte(text))
	}
	f.Fuzz(checkJSONString)
}
