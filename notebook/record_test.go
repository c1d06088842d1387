package notebook

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gokernel/gokernel/protocol"
)

// published is a message of testdata/record.json.
type published struct {
	MsgType  string `json:"msg_type"`
	Content  json.RawMessage
	Metadata json.RawMessage
	Cell     int
	Date     string
	Buffers  [][]byte
}

func (p published) message(parent string) *protocol.Message {
	h := protocol.NewHeader(p.MsgType)
	if p.Date != "" {
		h.Date = p.Date
	}
	return &protocol.Message{
		Channel: protocol.IOPub, Header: h, Content: p.Content, Metadata: p.Metadata, Buffers: p.Buffers,
		Parent: []byte(`{"msg_id":"` + parent + `","msg_type":"execute_request"}`),
	}
}

// TestRecorderIsNbclients replays message sequences and compares with the
// notebooks that Python's nbclient made of them, streams joined.
func TestRecorderIsNbclients(t *testing.T) {
	data, err := os.ReadFile("testdata/record.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []struct {
		Name     string
		Messages []published
		Notebook json.RawMessage
		Sent     []struct {
			MsgType string `json:"msg_type"`
			Content any
			Parent  string
		}
	}
	if err := json.Unmarshal(data, &cases); err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			nb := New()
			for i, id := range []string{"zero", "one", "two"} {
				cell := nb.NewCell([]string{Code, Code, Markdown}[i], string("abc"[i]))
				cell.ID = id
				nb.Cells = append(nb.Cells, cell)
			}
			r := NewRecorder(nb)
			begun := map[int]bool{}
			var sent []*protocol.Message
			for _, p := range c.Messages {
				parent := "cell-" + string('0'+rune(p.Cell))
				if !begun[p.Cell] {
					begun[p.Cell] = true
					r.Begin(nb.Cells[p.Cell], parent)
				}
				change, err := r.Apply(p.message(parent))
				if err != nil {
					t.Fatalf("Apply(%s): %v", p.MsgType, err)
				}
				if change.Cell != nb.Cells[p.Cell] {
					t.Errorf("Apply(%s) changed cell %v, want cell %d", p.MsgType, change.Cell, p.Cell)
				}
				sent = append(sent, change.Send...)
			}
			if err := r.SaveWidgets(); err != nil {
				t.Fatal(err)
			}
			got, err := nb.Bytes()
			if err != nil {
				t.Fatal(err)
			}
			read, err := Read(c.Notebook)
			if err != nil {
				t.Fatal(err)
			}
			want, err := read.Bytes()
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(got)); diff != "" {
				t.Errorf("recorded differently from nbclient (-nbclient +ours):\n%s", diff)
			}
			if len(sent) != len(c.Sent) {
				t.Fatalf("sent %d messages to the kernel, want %d", len(sent), len(c.Sent))
			}
			for i, m := range sent {
				var content any
				if err := json.Unmarshal(m.Content, &content); err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(c.Sent[i].Content, content); diff != "" {
					t.Errorf("message %d to the kernel (-nbclient +ours):\n%s", i, diff)
				}
				if parent, err := m.ParentHeader(); err != nil || parent.MsgID != c.Sent[i].Parent {
					t.Errorf("message %d has parent %q (%v), want %q", i, parent.MsgID, err, c.Sent[i].Parent)
				}
			}
		})
	}
}

func codeCells(n int) *Notebook {
	nb := New()
	for range n {
		nb.Cells = append(nb.Cells, nb.NewCell(Code, "x"))
	}
	return nb
}

func text(name, text string) published {
	raw, err := protocol.EncodeContent(&protocol.Stream{Name: name, Text: text})
	if err != nil {
		panic(err) // a struct of strings always encodes
	}
	return published{MsgType: "stream", Content: raw}
}

func TestLateOutputGoesToItsCell(t *testing.T) {
	nb := codeCells(2)
	r := NewRecorder(nb)
	r.Begin(nb.Cells[0], "a")
	r.Begin(nb.Cells[1], "b")
	for parent, p := range map[string]published{"a": text("stdout", "late"), "b": text("stdout", "now"), "stranger": text("stdout", "no")} {
		if _, err := r.Apply(p.message(parent)); err != nil {
			t.Fatal(err)
		}
	}
	for i, want := range []string{"late", "now"} {
		if got := nb.Cells[i].Outputs; len(got) != 1 || got[0].Text != want {
			t.Errorf("cell %d has outputs %+v, want %q", i, got, want)
		}
	}
	r.Begin(nb.Cells[0], "c")
	if change, err := r.Apply(text("stdout", "later").message("a")); err != nil || change.Cell != nil {
		t.Errorf("output of an earlier run: %+v, %v, want it ignored", change, err)
	}
	if len(nb.Cells[0].Outputs) != 0 {
		t.Errorf("cell begun again has outputs %+v", nb.Cells[0].Outputs)
	}
}

func TestMalformedMessageChangesNothing(t *testing.T) {
	nb := codeCells(1)
	r := NewRecorder(nb)
	r.Begin(nb.Cells[0], "a")
	for _, raw := range []string{`{"data":5}`, `[`, `{"data":{},"metadata":"x"}`} {
		if _, err := r.Apply(published{MsgType: "display_data", Content: []byte(raw)}.message("a")); err == nil {
			t.Errorf("Apply with content %s: no error", raw)
		}
	}
	if len(nb.Cells[0].Outputs) != 0 {
		t.Errorf("outputs = %+v, want none", nb.Cells[0].Outputs)
	}
}

// TestOldWidgets has messages as ipywidgets 6 sends them, at which nbclient fails.
func TestOldWidgets(t *testing.T) {
	nb := codeCells(1)
	r := NewRecorder(nb)
	r.Begin(nb.Cells[0], "a")
	messages := []published{
		{MsgType: "comm_open", Content: []byte(`{"comm_id":"w","target_name":"jupyter.widget","data":{"_model_name":"M","_model_module":"jupyter-js-widgets","value":1}}`)},
		{MsgType: "comm_open", Content: []byte(`{"comm_id":"x","target_name":"jupyter.widget.version","data":{}}`)},
		{MsgType: "comm_msg", Content: []byte(`{"comm_id":"w","data":{"method":"update","buffers":[],"state":{"value":2}}}`)},
	}
	for _, m := range messages {
		if _, err := r.Apply(m.message("a")); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.SaveWidgets(); err != nil {
		t.Fatal(err)
	}
	want := `{"application/vnd.jupyter.widget-state+json":{"state":{"w":{"model_name":"M","model_module":"jupyter-js-widgets",` +
		`"model_module_version":null,"state":{"_model_module":"jupyter-js-widgets","_model_name":"M","value":2}}},"version_major":2,"version_minor":0}}`
	if got := string(nb.Metadata["widgets"]); got != want {
		t.Errorf("widgets = %s\nwant %s", got, want)
	}
}

func TestNoTiming(t *testing.T) {
	nb := codeCells(1)
	r := NewRecorder(nb)
	r.NoTiming = true
	r.Begin(nb.Cells[0], "a")
	if _, err := r.Apply(published{MsgType: "status", Content: []byte(`{"execution_state":"idle"}`)}.message("a")); err != nil {
		t.Fatal(err)
	}
	if got := nb.Cells[0].Metadata; len(got) != 0 {
		t.Errorf("metadata = %s, want none", got)
	}
}

func BenchmarkRecordStream(b *testing.B) {
	nb := codeCells(1)
	m := text("stdout", strings.Repeat("a line of text\n", 10)).message("a")
	r := NewRecorder(nb)
	r.Begin(nb.Cells[0], "a")
	for b.Loop() {
		if _, err := r.Apply(m); err != nil {
			b.Fatal(err)
		}
	}
}
