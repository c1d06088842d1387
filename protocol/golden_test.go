package protocol

import (
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A golden is a message as ipykernel or jupyter_client sent it: see
// testdata/capture.py.
type golden struct {
	Channel    Channel  `json:"channel"`
	Identities []string `json:"identities"`
	Signature  string   `json:"signature"`
	Header     string   `json:"header"`
	Parent     string   `json:"parent_header"`
	Metadata   string   `json:"metadata"`
	Content    string   `json:"content"`
	Buffers    []string `json:"buffers"`
}

func (g *golden) frames(t testing.TB) [][]byte {
	t.Helper()
	var frames [][]byte
	add := func(all []string) {
		for _, s := range all {
			b, err := base64.StdEncoding.DecodeString(s)
			if err != nil {
				t.Fatal(err)
			}
			frames = append(frames, b)
		}
	}
	add(g.Identities)
	frames = append(frames, delimiter)
	for _, part := range []string{g.Signature, g.Header, g.Parent, g.Metadata, g.Content} {
		frames = append(frames, []byte(part))
	}
	add(g.Buffers)
	return frames
}

func goldens(t testing.TB) map[string]*golden {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", "golden", "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]*golden{}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		g := new(golden)
		if err := json.Unmarshal(text, g); err != nil {
			t.Fatalf("%s: %v", f, err)
		}
		all[strings.TrimSuffix(filepath.Base(f), ".json")] = g
	}
	if len(all) == 0 {
		t.Fatal("no golden messages")
	}
	return all
}

// dropped lists the fields that ipykernel sends and our types leave out on
// purpose: for all others a golden message is the same after it was typed.
var dropped = map[string][]string{
	"execute_reply": {"engine_info"},   // for ipyparallel, deprecated
	"comm_open":     {"target_module"}, // null, that is none
}

// added lists what our types write where Debian's Jupyter writes nothing.
var added = map[string][]string{
	"execute_reply":     {"execution_count", "payload", "user_expressions"}, // aborted
	"history_request":   {"session", "start"},                               // their defaults
	"interrupt_reply":   {"status"},
	"kernel_info_reply": {"supported_features", "debugger"}, // newer
}

func TestGoldenMessages(t *testing.T) {
	signer := newSigner(t, SchemeHMACSHA256, "golden")
	for name, g := range goldens(t) {
		t.Run(name, func(t *testing.T) {
			frames := g.frames(t)
			m, err := DecodeFrames(frames, signer, g.Channel)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.HasPrefix(name, string(g.Channel)+"."+m.Header.MsgType) {
				t.Errorf("message type %q on %s", m.Header.MsgType, g.Channel)
			}
			if m.Header.MsgID == "" || m.Header.Session == "" || m.Header.Date == "" || m.Header.Version == "" {
				t.Errorf("header %+v, want all fields", m.Header)
			}
			again, err := EncodeFrames(m, signer)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(again, frames); diff != "" && (g.Channel != IOPub || len(g.Identities) > 0) {
				t.Errorf("frames after a round trip (-got +want):\n%s", diff)
			}
			checkTyped(t, m)
			if strings.HasSuffix(m.Header.MsgType, "_request") && g.Channel != Stdin || m.Header.MsgType == "input_reply" {
				if err := Validate(m); err != nil {
					t.Errorf("Validate: %v", err)
				}
			}
			for _, c := range codecs {
				checkThroughWebsocket(t, c, m)
			}
		})
	}
}

// checkTyped compares the content of m with what becomes of it when it is
// decoded and encoded again.
func checkTyped(t *testing.T, m *Message) {
	t.Helper()
	c, err := m.Decode()
	if err != nil {
		t.Fatal(err)
	}
	if _, unknown := c.(*Unknown); unknown {
		t.Fatalf("%s is not a known type", m.Header.MsgType)
	}
	raw, err := EncodeContent(c)
	if err != nil {
		t.Fatal(err)
	}
	var got, want map[string]any
	if err := json.Unmarshal(raw, &got); err != nil {
		t.Fatalf("%s: %v", raw, err)
	}
	if err := json.Unmarshal(m.Content, &want); err != nil {
		t.Fatal(err)
	}
	for _, k := range dropped[c.MsgType()] {
		delete(want, k)
	}
	for k := range got {
		if _, sent := want[k]; !sent && slices.Contains(added[c.MsgType()], k) {
			delete(got, k)
		}
	}
	if diff := cmp.Diff(got, want); diff != "" {
		t.Errorf("content, typed and encoded again (-got +want):\n%s", diff)
	}
}

func checkThroughWebsocket(t *testing.T, c codec, m *Message) {
	t.Helper()
	data, isBinary, err := c.encode(nil, m)
	if err != nil {
		t.Fatal(err)
	}
	got, err := c.decode(data, isBinary)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(got, onWire(t, m)); diff != "" {
		t.Errorf("after the %s websocket protocol (-got +want):\n%s", c.name, diff)
	}
}
