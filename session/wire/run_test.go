package wire

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestTimingJSON(t *testing.T) {
	in := Timing{
		Total:  2500 * time.Microsecond,
		Stages: map[Stage]time.Duration{StageConnecting: 500 * time.Microsecond, StageExecuting: 2 * time.Millisecond},
		Failed: StageExecuting,
	}
	b, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"total_ms":2.5,"stages":{"connecting":0.5,"executing":2},"share":{"connecting":0.2,"executing":0.8},"failed_stage":"executing"}`
	if string(b) != want {
		t.Errorf("got %s, want %s", b, want)
	}
	var out Timing
	if err := json.Unmarshal(b, &out); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(in, out); diff != "" {
		t.Error("the timing changed on its way (-in +out):\n" + diff)
	}
}

func TestInlineJSON(t *testing.T) {
	for _, c := range []struct{ json, want string }{
		{`"a\nb"`, "a\nb"}, {`{"base64":"AP8="}`, "\x00\xff"}, {`""`, ""},
	} {
		var got Inline
		if err := json.Unmarshal([]byte(c.json), &got); err != nil || string(got) != c.want {
			t.Errorf("%s: got %q and %v, want %q", c.json, got, err, c.want)
		}
		b, err := json.Marshal(got)
		if err != nil || string(b) != c.json {
			t.Errorf("got %s and %v, want %s", b, err, c.json)
		}
	}
	for _, bad := range []string{`1`, `{"path":"/etc/passwd"}`, `{"base64":"?"}`, `{}`, `null`, `["x"]`} {
		var got Inline
		if err := json.Unmarshal([]byte(bad), &got); err == nil {
			t.Errorf("%s: got %q, want an error", bad, got)
		}
	}
}
