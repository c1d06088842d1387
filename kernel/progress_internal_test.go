package kernel

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode"

	"github.com/gokernel/gokernel/session/wire"
)

func TestProgressText(t *testing.T) {
	tests := []struct {
		progress string
		want     string
	}{
		{`{"stage":"installing","done":3,"total":5,"unit":"packages","percent":60,"remaining_ms":4100}`, "Installing packages: 3 of 5 (60 %), about 4 s left"},
		{`{"stage":"installing","message":"Downloading numpy","done":3,"total":5,"unit":"packages","percent":60}`, "Downloading numpy: 3 of 5 packages (60 %)"},
		{`{"stage":"installing","message":"fetching numpy (3.1 MB of 12 MB)","done":2,"total":5,"unit":"packages","percent":40}`, "Fetching numpy (3.1 MB of 12 MB): 2 of 5 packages (40 %)"},
		{`{"stage":"installing","message":"resolving, 3 packages so far","done":3,"unit":"packages","elapsed_ms":2000}`, "Resolving, 3 packages so far"},
		{`{"stage":"installing","message":"installing 3 packages","done":3,"total":3,"unit":"packages","percent":100}`, "Installing 3 packages"},
		{`{"stage":"uploading","message":"ähnlich","done":3,"total":3,"unit":"bytes","percent":100}`, "Ähnlich: 3 of 3 bytes (100 %)"},
		{`{"stage":"installing","message":"Resolving","elapsed_ms":2400}`, "Resolving, 2 s so far"},
		{`{"stage":"installing","done":3,"unit":"packages"}`, "Installing packages: 3 so far"},
		{`{"stage":"uploading","done":3100000,"total":12345678,"unit":"bytes","percent":25.1,"remaining_ms":200}`, "Uploading files: 3.1 of 12.3 MB (25 %), about 1 s left"},
		{`{"stage":"uploading","message":"Uploading data.csv","done":10,"total":999,"unit":"bytes","percent":1}`, "Uploading data.csv: 10 of 999 bytes (1 %)"},
		{`{"stage":"downloading","done":1500,"unit":"bytes"}`, "Downloading files: 1.5 kB so far"},
		{`{"stage":"downloading","percent":99.9,"remaining_ms":7200000}`, "Downloading files: 99 %, about 2 h left"},
		{`{"stage":"connecting","elapsed_ms":300}`, "Waiting for the session"},
		{`{"stage":"initializing","elapsed_ms":100000}`, "Starting the session, 2 min so far"},
		{`{"stage":"executing"}`, "Running"},
		{`{"stage":"something new"}`, "Working"},
		{`{"stage":"completed","elapsed_ms":320}`, "Done in 320 ms"},
		{`{"stage":"failed","elapsed_ms":4100}`, "Failed after 4 s"},
		{`{"stage":"completed","message":"Installed 3 packages in 4.1 s\n"}`, "Installed 3 packages in 4.1 s"},
		{`{"stage":"installing","done":-3,"total":-5,"unit":"packages","percent":-7}`, "Installing packages: 0 of 0 (0 %)"},
	}
	for _, test := range tests {
		var p wire.Progress
		if err := json.Unmarshal([]byte(test.progress), &p); err != nil {
			t.Fatal(err)
		}
		if got := progressText(&p); got != test.want {
			t.Errorf("text of %s = %q, want %q", test.progress, got, test.want)
		}
	}
}

func FuzzDisplay(f *testing.F) {
	f.Add(wire.MsgProgress, []byte(`{"stage":"installing","done":3,"total":5,"unit":"packages","percent":60,"remaining_ms":4100}`))
	f.Add(wire.MsgProgressFirst, []byte(`{"stage":"failed","message":"<b>\u202e"}`))
	f.Add(wire.MsgProgress, []byte(`null`))
	f.Add("?", []byte(`[`))
	f.Fuzz(func(t *testing.T, msgType string, content []byte) {
		frame := &wire.Frame{Kind: wire.KindProgress, Request: "r", MsgType: msgType, Content: content}
		m, err := display(frame)
		if err != nil {
			return
		}
		if m == frame || frame.Kind != wire.KindProgress {
			t.Fatal("the frame was changed")
		}
		var shown struct {
			Data map[string]json.RawMessage `json:"data"`
		}
		if err := json.Unmarshal(m.Content, &shown); err != nil {
			t.Fatalf("content %q: %v", m.Content, err)
		}
		var plain, markup string
		if json.Unmarshal(shown.Data["text/plain"], &plain) != nil || json.Unmarshal(shown.Data["text/html"], &markup) != nil {
			t.Fatalf("data of %q: no text", content)
		}
		if strings.IndexFunc(plain, func(r rune) bool { return !unicode.IsPrint(r) }) >= 0 || plain == "" {
			t.Errorf("text of %q = %q, want one line that can be printed", content, plain)
		}
		if n := strings.Count(markup, "<"); n > 6 || strings.Count(markup, ">") != n {
			t.Errorf("HTML of %q = %q, want our own tags only", content, markup)
		}
		if shown.Data[progressMIME][0] != '{' {
			t.Errorf("object for programs of %q = %s", content, shown.Data[progressMIME])
		}
	})
}
