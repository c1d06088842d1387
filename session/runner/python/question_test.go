//go:build unix

package python_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/gokernel/gokernel/session/runner/runnertest"
)

// completes checks that a completion has a match, and what it replaces.
func completes(name, code, want, replaced string) behavior {
	return behavior{name: "complete " + name, run: func(t *testing.T, r *runnertest.Runner) {
		runes := []rune(code)
		got := r.Request("complete_request", map[string]any{"code": code, "cursor_pos": len(runes)}).Reply
		matches, _ := got["matches"].([]any)
		if !slices.Contains(matches, any(want)) {
			t.Fatalf("got matches %v, want %q", matches, want)
		}
		start, end := int(got["cursor_start"].(float64)), int(got["cursor_end"].(float64))
		if end != len(runes) || string(runes[start:end]) != replaced {
			t.Errorf("got %d to %d, want %q replaced", start, end, replaced)
		}
		metadata, _ := got["metadata"].(map[string]any)
		list, _ := metadata["_jupyter_types_experimental"].([]any)
		for _, item := range list {
			m, _ := item.(map[string]any)
			if m["text"] == want && m["type"] != "" && m["start"] == got["cursor_start"] {
				return
			}
		}
		t.Errorf("got no type of %q in %v", want, list)
	}}
}

// complete checks an is_complete_reply.
func complete(code, status, indent string) behavior {
	return behavior{name: "is complete " + code, run: func(t *testing.T, r *runnertest.Runner) {
		got := r.Request("is_complete_request", map[string]any{"code": code}).Reply
		if got["status"] != status || status == "incomplete" && got["indent"] != indent {
			t.Errorf("got %v, want %s with indent %q", got, status, indent)
		}
	}}
}

var questionBehavior = []behavior{
	text("names to complete", "é = 'ü'; import os; alphabet = 1\nclass K:\n    attribute = 1\nk = K()", ""),
	completes("attribute", "é = 1; k.attr", "attribute", "attr"),
	completes("module", "os.path.isd", "isdir", "isd"),
	completes("name", "alphab", "alphabet", "alphab"),
	completes("import", "import colle", "collections", "colle"),
	completes("keyword", "whil", "while", "whil"),
	completes("name after an operator", "beta = alphab", "alphabet", "alphab"),
	completes("builtin", "isinst", "isinstance", "isinst"),
	complete("x = 1", "complete", ""),
	complete("for i in range(3):", "incomplete", "    "),
	complete("print(1", "incomplete", ""),
	complete("a = = 1", "invalid", ""),
	{name: "inspect", run: func(t *testing.T, r *runnertest.Runner) {
		r.Must("def documented(a, b=2):\n    'what it does'\n    return a")
		for level, want := range []string{"what it does", "return a"} {
			got := r.Request("inspect_request", map[string]any{"code": "x = documented(1", "cursor_pos": 8, "detail_level": level}).Reply
			shown := plainText(fmt.Sprint(got["data"]))
			if got["found"] != true || !strings.Contains(shown, want) || !strings.Contains(shown, "b=2") && level == 0 {
				t.Errorf("level %d: got %v, want %q", level, got, want)
			}
		}
		got := r.Request("inspect_request", map[string]any{"code": "nowhere", "cursor_pos": 3}).Reply
		if got["found"] != false || got["status"] != "ok" {
			t.Errorf("got %v, want found false", got)
		}
	}},
	{name: "pager", run: func(t *testing.T, r *runnertest.Runner) {
		payload, _ := r.Must("documented?").Reply["payload"].([]any)
		if len(payload) != 1 || !strings.Contains(fmt.Sprint(payload), "what it does") || !strings.Contains(fmt.Sprint(payload), "page") {
			t.Errorf("got payload %v, want a page", payload)
		}
		if again, _ := r.Must("1").Reply["payload"].([]any); len(again) != 0 {
			t.Errorf("got payload %v, want none", again)
		}
	}},
	{name: "history", run: func(t *testing.T, r *runnertest.Runner) {
		r.Must("mark = 'first'")
		r.Must("mark = 'second'")
		r.Must("mark = 'second'")
		history := func(content map[string]any) []string {
			content["raw"] = true
			var code []string
			list, _ := r.Request("history_request", content).Reply["history"].([]any)
			for _, entry := range list {
				e, _ := entry.([]any)
				if len(e) != 3 {
					t.Fatalf("got entry %v, want three fields", entry)
				}
				text, _ := e[2].(string)
				code = append(code, text)
			}
			return code
		}
		first, second := "mark = 'first'", "mark = 'second'"
		if got := history(map[string]any{"hist_access_type": "tail", "n": 3, "output": false}); !slices.Equal(got, []string{first, second, second}) {
			t.Errorf("tail: got %q", got)
		}
		if got := history(map[string]any{"hist_access_type": "range", "session": 0, "start": 1, "stop": 3}); len(got) != 2 {
			t.Errorf("range: got %q, want two", got)
		}
	}},
	{name: "number of the session in the history", run: func(t *testing.T, r *runnertest.Runner) {
		r.Must("mark = 'first'")
		first := func(content map[string]any) []any {
			list, _ := r.Request("history_request", content).Reply["history"].([]any)
			if len(list) != 1 {
				t.Fatalf("%v: got %v, want one entry", content, list)
			}
			entry, _ := list[0].([]any)
			return entry
		}
		tail := first(map[string]any{"hist_access_type": "tail", "n": 1, "raw": true})
		for _, session := range []any{0, tail[0]} {
			got := first(map[string]any{"hist_access_type": "range", "session": session, "start": tail[1], "stop": tail[1].(float64) + 1, "raw": true})
			if !slices.Equal(got, tail) || got[0] == float64(0) {
				t.Errorf("range of session %v: got %v, want %v as in the tail, not 0", session, got, tail)
			}
		}
	}},
	{name: "comm package", run: func(t *testing.T, r *runnertest.Runner) {
		r.Must(`from comm import create_comm, get_comm_manager
from comm.base_comm import BaseComm, CommManager
def opened(comm, message):
    comm.on_msg(lambda m: comm.send({"got": m["content"]["data"]}))
    comm.send({"opened": message["content"]["data"]})
get_comm_manager().register_target("echo", opened)`)
		data := func(got map[string]any) string { return fmt.Sprint(got["comm_id"], got["data"]) }
		got := r.Request("comm_open", map[string]any{"comm_id": "c3", "target_name": "echo", "data": map[string]any{"x": 1}})
		if got, want := data(got.Find("comm_msg")), "c3map[opened:map[x:1]]"; got != want {
			t.Errorf("opened by the client: got %s, want %s", got, want)
		}
		got = r.Request("comm_msg", map[string]any{"comm_id": "c3", "data": map[string]any{"y": 2}})
		if got, want := data(got.Find("comm_msg")), "c3map[got:map[y:2]]"; got != want {
			t.Errorf("message of the client: got %s, want %s", got, want)
		}
		r.Request("comm_close", map[string]any{"comm_id": "c3", "data": map[string]any{}})
		got = r.Must("mine = create_comm(target_name='there', data={'z': 3})")
		if open := got.Find("comm_open"); open["target_name"] != "there" || fmt.Sprint(open["data"]) != "map[z:3]" {
			t.Errorf("got %v, want a comm_open", got.Outputs)
		}
		if open := r.Must("list(get_comm_manager().comms) == [mine.comm_id]").Value(); open != "True" {
			t.Errorf("got %s, want the comm among those that are open", open)
		}
		r.Must("mine.close()")
	}},
	{name: "unknown target of a comm", run: func(t *testing.T, r *runnertest.Runner) {
		got := r.Request("comm_open", map[string]any{"comm_id": "c1", "target_name": "nowhere", "data": map[string]any{}})
		if c := got.Find("comm_close"); c["comm_id"] != "c1" {
			t.Errorf("got %v, want comm_close", got.Outputs)
		}
		if got := r.Request("comm_msg", map[string]any{"comm_id": "c2", "data": map[string]any{}}); len(got.Outputs) != 0 {
			t.Errorf("got %v for an unknown comm, want nothing", got.Outputs)
		}
	}},
}

func TestWidgets(t *testing.T) {
	each(t, func(t *testing.T, s shell) {
		r := runnertest.Start(t, s.cmd)
		if s.plain || r.Execute("import ipywidgets").Status() != "ok" {
			t.Skip("no ipywidgets here")
		}
		made := r.Must("import ipywidgets as w\nslider = w.IntSlider()\ndef changed(c): print('now', c['new'])\nslider.observe(changed, 'value')\ndisplay(slider)\nprint(slider.model_id)")
		id := strings.TrimSpace(made.Text("stdout"))
		opened := 0
		for _, m := range made.Outputs {
			if m.MsgType == "comm_open" && m.Content["target_name"] == "jupyter.widget" {
				opened++
			}
		}
		if opened < 3 {
			t.Errorf("got %d comm_open, want one for each part of the slider", opened)
		}
		data, _ := made.Find("display_data")["data"].(map[string]any)
		view, _ := data["application/vnd.jupyter.widget-view+json"].(map[string]any)
		if view["model_id"] != id {
			t.Errorf("got display %v, want model %s", data, id)
		}
		// "backbone" is the method of ipywidgets before 7, "update" that of later ones.
		update := map[string]any{"method": "backbone", "sync_data": map[string]any{"value": 42}}
		if r.Must("w.__version__ >= '7'").Value() == "True" {
			update = map[string]any{"method": "update", "state": map[string]any{"value": 42}, "buffer_paths": []any{}}
		}
		moved := r.Request("comm_msg", map[string]any{"comm_id": id, "data": update})
		if got := moved.Text("stdout"); got != "now 42\n" {
			t.Errorf("got %q from the observer, want it under the comm_msg", got)
		}
		if got := r.Must("slider.value").Value(); got != "42" {
			t.Errorf("got value %s, want 42", got)
		}
		comms, _ := r.Request("comm_info_request", map[string]any{"target_name": "jupyter.widget"}).Reply["comms"].(map[string]any)
		if comms[id] == nil {
			t.Errorf("got comms %v, want %s", comms, id)
		}
		r.Request("comm_close", map[string]any{"comm_id": id, "data": map[string]any{}})
		r.Must("from ipykernel.comm import Comm\nc = Comm(target_name='t', data={'a': 1}, buffers=[b'bytes'])")
		sent := r.Must("c.send({'b': 2}, buffers=[memoryview(b'more')])")
		for _, m := range sent.Outputs {
			if m.MsgType == "comm_msg" && (len(m.Buffers) != 1 || string(m.Buffers[0]) != "more") {
				t.Errorf("got buffers %q, want more", m.Buffers)
			}
		}
	})
}

// TestLogOfTheApplication: what a library logs through traitlets is for the log of a
// kernel, not for a cell; what code logs itself is for the cell.
func TestLogOfTheApplication(t *testing.T) {
	each(t, func(t *testing.T, s shell) {
		if s.plain {
			t.Skip("there are no traitlets behind the plain shell")
		}
		r := runnertest.Start(t, s.cmd)
		got := r.Must("import logging, traitlets.log\ntraitlets.log.get_logger().warning('apart')\nlogging.getLogger('mine').warning('shown')")
		if text := got.Text("stderr"); text != "shown\n" {
			t.Errorf("got stderr %q, want what the cell has logged only", text)
		}
	})
}

func TestFigures(t *testing.T) {
	each(t, func(t *testing.T, s shell) {
		r := runnertest.Start(t, s.cmd)
		if r.Execute("import matplotlib.pyplot as plt").Status() != "ok" {
			t.Skip("no matplotlib here")
		}
		got := r.Must("lines = plt.plot([1, 2]); print('text')")
		data, _ := got.Find("display_data")["data"].(map[string]any)
		if png, _ := data["image/png"].(string); !strings.HasPrefix(png, "iVBOR") || data["text/plain"] != "<Figure size 640x480 with 1 Axes>" {
			t.Errorf("got %v, want the figure", got.Kinds())
		}
		if got := r.Must("1").Find("display_data"); got != nil {
			t.Errorf("got the figure again")
		}
	})
}

// TestAnyHome: a home that is missing or may not be written must not kill a kernel.
func TestAnyHome(t *testing.T) {
	each(t, func(t *testing.T, s shell) {
		for _, home := range []string{"HOME=/proc/nowhere", "HOME="} {
			cmd := s.cmd
			cmd.Env = append(slices.Clone(cmd.Env), home, "IPYTHONDIR=", "MPLCONFIGDIR=")
			cmd.Init = map[string]any{"history": "/proc/nowhere/history", "packages": "/proc/nowhere"}
			r := runnertest.Start(t, cmd)
			if got := r.Must("1 + 1").Value(); got != "2" {
				t.Errorf("%s: got %q, want 2", home, got)
			}
			r.Request("history_request", map[string]any{"hist_access_type": "tail", "n": 3})
		}
	})
}

// TestPlainNamesAreJedis: plain names are found without jedi, so they must be those
// that jedi finds; what jedi knows better is left to it.
func TestPlainNamesAreJedis(t *testing.T) {
	each(t, func(t *testing.T, s shell) {
		if s.plain {
			t.Skip("there is no jedi behind the plain shell")
		}
		r := runnertest.Start(t, s.cmd)
		got := r.Must(`
from IPython.core.completer import provisionalcompleter
completer = get_ipython().Completer
name_one = name_two = ours = theirs = fast = plain = codes = 1
def complete(code):
    with provisionalcompleter():
        return {c.text for c in completer.completions(code, len(code))}
codes = ["name_", "nam", "pri", "o", "N", "x = na", "return na", "alpha = 3\nal", "import os\no",
         "def f(zeta):\n    return 1\nf", "for i in range(3):\n    pr", "print(na", "'na", "a = [1,\nna", "import o"]
ours = [complete(c) for c in codes]
fast = completer.__dict__.pop("_jedi_matches")
theirs = [complete(c) for c in codes]
print([(c, a ^ b) for c, a, b in zip(codes, ours, theirs) if a != b])
from gokernel_runner.ipython_names import plain
print([c for c in ("os.pa", "f(na", "import o", "'na", "f(\n  na", "def f():\n  x") if plain(c, {}) is not None])
`).Text("stdout")
		if want := "[]\n[]\n"; got != want {
			t.Errorf("got %q, want no difference, and nothing that is jedi's", got)
		}
	})
}
