package notebook_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/gokernel/gokernel/kernel/kerneltest"
	"github.com/gokernel/gokernel/notebook"
	"github.com/gokernel/gokernel/session/wire"
)

// What a run reports of its stages is one display, of which the last line stays.
func TestStagesLeaveOneLineInTheNotebook(t *testing.T) {
	conn := start(t, kerneltest.Config{Handler: func(r *kerneltest.Run) {
		percent := 40.0
		r.Progress(true, &wire.Progress{RunID: "r", Stage: wire.StageUploading})
		r.Progress(false, &wire.Progress{RunID: "r", Stage: wire.StageInstalling, Percent: &percent})
		language(r)
		r.Progress(false, &wire.Progress{RunID: "r", Stage: wire.StageCompleted, Message: "Installed 1 package in 2.0 s"})
	}})
	nb := cells(t, "print a", "print b")
	if err := run(t, conn, nb, &notebook.Options{}); err != nil {
		t.Fatal(err)
	}
	for i, text := range []string{"a\n", "b\n"} {
		outputs := nb.Cells[i].Outputs
		if len(outputs) != 2 || outputs[0].Type != notebook.DisplayOutput || outputs[1].Text != text {
			t.Fatalf("cell %d has outputs %v, want a display and what it printed", i, shown(nb))
		}
		var plain, markup string
		var object wire.Progress
		for mime, v := range map[string]any{"text/plain": &plain, "text/html": &markup, "application/vnd.gokernel.progress+json": &object} {
			if err := json.Unmarshal(outputs[0].Data[mime], v); err != nil {
				t.Fatalf("%s: %v", mime, err)
			}
		}
		if plain != "Installed 1 package in 2.0 s" || !strings.Contains(markup, ">"+plain+"<") || strings.Contains(markup, "<progress") {
			t.Errorf("cell %d keeps %q and %q, want the last line", i, plain, markup)
		}
		if object.Stage != wire.StageCompleted {
			t.Errorf("cell %d keeps the stage %q, want completed", i, object.Stage)
		}
	}
	data, err := nb.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(data), "40 %") || strings.Contains(string(data), "Uploading") {
		t.Errorf("the notebook keeps earlier reports:\n%s", data)
	}
}
