//go:build unix

package python_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gokernel/gokernel/session/runner/runnertest"
)

type options = runnertest.Options

// A behavior is one thing that Python code relies on. Those of a shell run one
// after another in one runner.
type behavior struct {
	name string
	// ipython and plain limit it to one shell.
	ipython, plain bool
	run            func(t *testing.T, r *runnertest.Runner)
}

func TestBehavior(t *testing.T) {
	list := slices.Concat(outputBehavior, codeBehavior, questionBehavior)
	each(t, func(t *testing.T, s shell) {
		r := runnertest.Start(t, s.cmd)
		for _, b := range list {
			if b.ipython && s.plain || b.plain && !s.plain {
				continue
			}
			t.Run(b.name, func(t *testing.T) { b.run(t, r.For(t)) })
		}
	})
}

// text checks what a cell writes to standard output.
func text(name, code, want string) behavior {
	return behavior{name: name, run: func(t *testing.T, r *runnertest.Runner) {
		if got := r.Must(code).Text("stdout"); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}}
}

// value checks the value of a cell.
func value(name, code, want string) behavior {
	return behavior{name: name, run: func(t *testing.T, r *runnertest.Runner) {
		if got := r.Must(code).Value(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}}
}

var outputBehavior = []behavior{
	text("surrogates and lone bytes", "import sys; print('a\\ud800b'); sys.stdout.buffer.write(b'\\xff\\xc3'); sys.stdout.buffer.write(b'\\xbc\\n');", "a\ufffdb\n\ufffdü\n"),
	text("lone bytes of a child", "import os; os.system(r\"printf '\\303'; sleep .05; printf '\\274\\377\\n'\");", "ü\ufffd\n"),
	text("descriptor", "import os; print('a'); os.write(1, b'b\\n'); print('c')", "a\nb\nc\n"),
	text("subprocess", "import subprocess, sys\nfor i in range(3):\n    print(i); subprocess.run(['echo', 'sub'])", "0\nsub\n1\nsub\n2\nsub\n"),
	text("fork", "import os\nprint('parent', end=' ')\npid = os.fork()\nif not pid:\n    print('child'); os._exit(0)\nstatus = os.waitpid(pid, 0)\nprint('after')", "parent child\nafter\n"),
	text("a forked child at the end of its cell", "import os, time\nif not os.fork(): raise SystemExit\nos.wait(); print('parent')", "parent\n"),
	text("multiprocessing", "import multiprocessing as m\ndef square(x): return x * x\nwith m.get_context('fork').Pool(2) as p: print(p.map(square, [1, 2, 3]))", "[1, 4, 9]\n"),
	text("c code", "import ctypes\nn = ctypes.CDLL(None).printf(b'from c\\n')", "from c\n"),
	text("carriage returns", "for i in range(3): print(i, end='\\r')\nprint('x\\r\\ny')", "0\r1\r2\rx\r\ny\n"),
	text("the first stdout", "import sys; print('there', file=sys.__stdout__)", "there\n"),
	value("stream attributes", "import sys, io; (sys.stdout.encoding, sys.stdout.isatty(), sys.stdout.fileno(), sys.stderr.fileno(), sys.stdout.writable(), isinstance(sys.stdout, io.TextIOBase), sys.stdout.write(''))", "('utf-8', False, 1, 2, True, True, 0)"),
	value("write wants text", "try: sys.stdout.write(b'x')\nexcept TypeError as err: e = str(err)\ne", "'write() argument must be str, not bytes'"),
	{name: "a large write comes in pieces", run: func(t *testing.T, r *runnertest.Runner) {
		got := r.Must("print('é\\r\\n' * 3_000_000, end='')")
		if s := got.Text("stdout"); len(s) != 12_000_000 || strings.Trim(s, "é\r\n") != "" {
			t.Errorf("got %d bytes, want 12000000", len(s))
		}
		for _, m := range got.Outputs {
			if len(m.Text) > 1<<20 || strings.HasSuffix(m.Text, "\r") || strings.Contains(m.Text, "\ufffd") {
				t.Errorf("got a piece of %d bytes that ends with %q", len(m.Text), m.Text[len(m.Text)-2:])
			}
		}
	}},
	{name: "text is timely while code keeps the interpreter", run: func(t *testing.T, r *runnertest.Runner) {
		id := r.BeginExecute("import time\nfor c in 'abc':\n    print(time.time())\nend = time.time() + .4\nwhile time.time() < end: pass\nprint('end')")
		var last time.Duration
		for range 3 {
			var at float64
			for _, m := range r.Until(func(m runnertest.Message) bool { return m.Type == "stream" }) {
				if m.Type == "stream" {
					lines := strings.Fields(m.Text)
					fmt.Sscan(lines[len(lines)-1], &at)
				}
			}
			last = time.Since(time.UnixMicro(int64(at * 1e6)))
			if last > 300*time.Millisecond {
				t.Errorf("got a line %v after it was printed", last)
			}
			if at == 0 || last > 0 {
				break
			}
		}
		r.Finish(id)
	}},
	{name: "a thread's late output", run: func(t *testing.T, r *runnertest.Runner) {
		first := r.Must("import threading\ngo = threading.Event()\ndef late(): go.wait(); print('late')\nthread = threading.Thread(target=late); thread.start()").ID
		second := r.Must("print('mine'); go.set(); thread.join(); print('mine too')")
		if got := second.Text("stdout"); got != "mine\nmine too\n" {
			t.Errorf("got %q under the second cell", got)
		}
		second.ID = first
		if got := second.Text("stdout"); got != "late\n" {
			t.Errorf("got %q under the first cell, want late", got)
		}
	}},
	{name: "a task's late output", run: func(t *testing.T, r *runnertest.Runner) {
		first := r.Must("import asyncio\nasync def late():\n    await asyncio.sleep(.01); print('task')\ntask = asyncio.get_event_loop().create_task(late())").ID
		second := r.Must("await task; print('mine')")
		if got := second.Text("stdout"); got != "mine\n" {
			t.Errorf("got %q under the second cell", got)
		}
		var all strings.Builder
		second.ID = first
		all.WriteString(second.Text("stdout"))
		if all.Len() > 0 && all.String() != "task\n" {
			t.Errorf("got %q under the first cell", all.String())
		}
	}},
	{name: "tasks go on between cells", run: func(t *testing.T, r *runnertest.Runner) {
		id := r.Must("async def later():\n    await asyncio.sleep(.05); print('between')\ntask = asyncio.create_task(later())").ID
		got := runnertest.Result{ID: id, Outputs: r.UntilText("\n")}
		if got := got.Text("stdout"); got != "between\n" {
			t.Errorf("got %q under the cell, want the task's output", got)
		}
	}},
	{name: "displays in order", run: func(t *testing.T, r *runnertest.Runner) {
		got := r.Must("print(1); display(2); print(3); h = display(4, display_id='d'); os.system('echo 5'); h.update(6)\n7")
		want := []string{"execute_input", "stdout", "display_data", "stdout", "display_data", "stdout", "update_display_data", "execute_result"}
		if !slices.Equal(got.Kinds(), want) {
			t.Errorf("got %q, want %q", got.Kinds(), want)
		}
		for _, m := range got.Outputs {
			if _, ok := m.Content["metadata"].(map[string]any); !ok && strings.Contains(m.MsgType, "display") {
				t.Errorf("%v has no metadata", m)
			}
		}
		transient, _ := got.Find("update_display_data")["transient"].(map[string]any)
		if transient["display_id"] != "d" {
			t.Errorf("got transient %v, want display_id d", transient)
		}
	}},
	{name: "clear_output", ipython: true, run: func(t *testing.T, r *runnertest.Runner) {
		got := r.Must("from IPython.display import clear_output\nclear_output(wait=True)")
		if content := got.Find("clear_output"); content["wait"] != true {
			t.Errorf("got %v, want clear_output that waits", got.Outputs)
		}
	}},
	{name: "clear_output is a builtin", plain: true, run: func(t *testing.T, r *runnertest.Runner) {
		if got := r.Must("clear_output()").Find("clear_output"); got["wait"] != false {
			t.Errorf("got %v, want clear_output that does not wait", got)
		}
	}},
	{name: "rich values", run: func(t *testing.T, r *runnertest.Runner) {
		got := r.Must("class Rich:\n    def _repr_html_(self): return '<b>'\n    def _repr_png_(self): return b'png'\n    def _repr_json_(self): return {'x': float('nan')}\nRich()")
		data, _ := got.Find("execute_result")["data"].(map[string]any)
		if data["text/html"] != "<b>" || strings.TrimSpace(fmt.Sprint(data["image/png"])) != "cG5n" || data["text/plain"] == nil {
			t.Errorf("got %v", data)
		}
		if _, there := data["application/json"].(map[string]any); !there {
			t.Errorf("got %v, want application/json", data)
		}
	}},
}
