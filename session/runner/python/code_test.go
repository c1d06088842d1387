//go:build unix

package python_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/gokernel/gokernel/session/runner/runnertest"
)

// interrupted checks that an interrupt ends code once it has printed "go".
func interrupted(name, code string) behavior {
	return behavior{name: "interrupt " + name, run: func(t *testing.T, r *runnertest.Runner) {
		id := r.BeginExecute(code, options{"allow_stdin": true})
		r.UntilText("go")
		r.Interrupt(id)
		got := r.Finish(id)
		if got.Reply["ename"] != "KeyboardInterrupt" || got.Find("error")["ename"] != "KeyboardInterrupt" {
			t.Errorf("got reply %v, want KeyboardInterrupt", got.Reply)
		}
		if got := r.Must("1").Value(); got != "1" {
			t.Errorf("got %q from the next cell, want 1", got)
		}
	}}
}

// fails checks the error that a cell ends with.
func fails(name, code, ename string, lines ...string) behavior {
	return behavior{name: name, run: func(t *testing.T, r *runnertest.Runner) {
		got := r.Execute(code)
		if got.Reply["ename"] != ename {
			t.Fatalf("got reply %v, want %s", got.Reply, ename)
		}
		trace := fmt.Sprint(got.Find("error")["traceback"])
		for _, line := range lines {
			if !strings.Contains(plainText(trace), line) {
				t.Errorf("got traceback %s, want %q in it", plainText(trace), line)
			}
		}
		if strings.Contains(trace, "gokernel_runner") {
			t.Errorf("the traceback shows frames of the runner: %s", trace)
		}
	}}
}

// plainText takes colours out of a traceback.
func plainText(s string) string {
	var b strings.Builder
	for i, part := range strings.Split(s, "\x1b[") {
		if i > 0 {
			_, part, _ = strings.Cut(part, "m")
		}
		b.WriteString(part)
	}
	return b.String()
}

var codeBehavior = []behavior{
	value("await", "import asyncio\nawait asyncio.sleep(0)\nawait asyncio.sleep(0, 'slept')", "'slept'"),
	value("async for", "async def gen():\n    yield 1\n    yield 2\n[x async for x in gen()]", "[1, 2]"),
	text("context variables", "import contextvars\nv = contextvars.ContextVar('v'); token = v.set(5)", ""),
	value("context variables stay", "v.get()", "5"),
	value("underscore", "5", "5"),
	value("underscore again", "_ + 1", "6"),
	value("semicolon", "5;", ""),
	value("main", "import sys, __main__; (__name__, __main__.v is v, sys.path[0])", "('__main__', True, '')"),
	value("pickle", "import pickle\nclass P: pass\ntype(pickle.loads(pickle.dumps(P()))) is P", "True"),
	value("source", "def shown(): return 5\nimport inspect; inspect.getsource(shown).strip()", "'def shown(): return 5'"),
	value("environment", "import os; [os.environ[k] for k in ('TERM', 'CLICOLOR', 'FORCE_COLOR', 'CLICOLOR_FORCE', 'PAGER', 'GIT_PAGER')]", "['xterm-color', '1', '1', '1', 'cat', 'cat']"),
	fails("traceback", "def inner():\n    return 1 / 0\ninner()", "ZeroDivisionError", "1 / 0", "inner()", "Traceback (most recent call last)"),
	fails("syntax error", "def f(:\n  pass", "SyntaxError", "def f(:", "invalid syntax"),
	fails("indentation error", "if 1:\nx", "IndentationError"),
	fails("system exit", "import sys; sys.exit(3)", "SystemExit"),
	fails("await fails", "import asyncio\nawait asyncio.sleep(0)\nraise KeyError('k')", "KeyError", "raise KeyError"),
	fails("error without text", "class Odd(Exception):\n    def __str__(self): raise ValueError\nraise Odd", "Odd"),
	interrupted("await", "print('go'); await asyncio.sleep(60)"),
	interrupted("awaiting loop", "await asyncio.sleep(0)\nprint('go')\nwhile True: pass"),
	interrupted("lock", "import threading\nlock = threading.Lock(); lock.acquire()\nprint('go')\nlock.acquire()"),
	interrupted("select", "import select\nprint('go')\nselect.select([], [], [])"),
	interrupted("subprocess", "import subprocess\nprint('go')\nsubprocess.run(['sleep', '60'])"),
	interrupted("printing loop", "while True: print('go')"),
	interrupted("join", "t = threading.Thread(target=lambda: lock.acquire(timeout=5)); t.start()\nprint('go')\nt.join()"),
	value("the child of an interrupt is gone", "import subprocess\nsubprocess.run(['sh', '-c', 'ps -o args= -g %d 2>/dev/null | grep -c \"^[s]leep\"' % os.getpgrp()], capture_output=True, text=True).stdout.strip()", "'0'"),
	{name: "a handler of SIGINT does not stay", run: func(t *testing.T, r *runnertest.Runner) {
		r.Must("import signal; old = signal.signal(signal.SIGINT, lambda *a: print('mine'))")
		id := r.BeginExecute("print('go')\nwhile True: pass")
		r.UntilText("go")
		r.Interrupt(id)
		if got := r.Finish(id); got.Reply["ename"] != "KeyboardInterrupt" {
			t.Errorf("got %v, want KeyboardInterrupt", got.Reply)
		}
	}},
	{name: "input of a thread", run: func(t *testing.T, r *runnertest.Runner) {
		id := r.BeginExecute("def ask(): print(input('q?'))\nt = threading.Thread(target=ask); t.start(); t.join()", options{"allow_stdin": true})
		asked := r.Until(func(m runnertest.Message) bool { return m.Type == "input_request" })
		r.Answer(asked[len(asked)-1], "answer")
		if got := r.Finish(id).Text("stdout"); got != "answer\n" {
			t.Errorf("got %q, want the answer", got)
		}
	}},
	{name: "input of a thread between cells", run: func(t *testing.T, r *runnertest.Runner) {
		got := r.Must("t = threading.Thread(target=ask); t.start()", options{"allow_stdin": true})
		asked := got.Outputs
		if asked[len(asked)-1].Type != "input_request" {
			asked = r.Until(func(m runnertest.Message) bool { return m.Type == "input_request" })
		}
		r.Answer(asked[len(asked)-1], "later")
		var text strings.Builder
		for _, m := range r.UntilText("\n") {
			text.WriteString(m.Text)
		}
		if text.String() != "later\n" {
			t.Errorf("got %q, want the answer", text.String())
		}
	}},
	{name: "getpass", run: func(t *testing.T, r *runnertest.Runner) {
		id := r.BeginExecute("from getpass import getpass; getpass('secret: ')", options{"allow_stdin": true})
		asked := r.Until(func(m runnertest.Message) bool { return m.Type == "input_request" })
		m := asked[len(asked)-1]
		if m.Content["password"] != true || m.Content["prompt"] != "secret: " {
			t.Errorf("got %v", m)
		}
		r.Answer(m, "s3")
		if got := r.Finish(id).Value(); got != "'s3'" {
			t.Errorf("got %q", got)
		}
	}},
	{name: "pdb", run: func(t *testing.T, r *runnertest.Runner) {
		id := r.BeginExecute("import pdb\ny = 5\npdb.set_trace()\nz = 6", options{"allow_stdin": true})
		var all []runnertest.Message
		for _, line := range []string{"p y + 1", "c"} {
			asked := r.Until(func(m runnertest.Message) bool { return m.Type == "input_request" })
			r.Answer(asked[len(asked)-1], line)
			all = append(all, asked...)
		}
		got := r.Finish(id)
		got.Outputs = append(all, got.Outputs...)
		if !strings.Contains(got.Text("stdout"), "6\n") || got.Status() != "ok" {
			t.Errorf("got %q, %v", got.Text("stdout"), got.Reply)
		}
	}},
	{name: "user_expressions", run: func(t *testing.T, r *runnertest.Runner) {
		got := r.Must("x = 4", options{"user_expressions": map[string]any{"good": "x * 2", "bad": "1/0"}})
		all, _ := got.Reply["user_expressions"].(map[string]any)
		good, _ := all["good"].(map[string]any)
		bad, _ := all["bad"].(map[string]any)
		if good["status"] != "ok" || bad["status"] != "error" || bad["ename"] != "ZeroDivisionError" {
			t.Errorf("got %v", all)
		}
		if data, _ := good["data"].(map[string]any); data["text/plain"] != "8" {
			t.Errorf("got %v, want 8", good)
		}
	}},
	{name: "restart", run: func(t *testing.T, r *runnertest.Runner) {
		r.Must("%session restart")
		if m := r.Next(); m.Type != "restart" {
			t.Errorf("got %v, want restart", m)
		}
	}},
	text("shell command", "!echo shell; exit 3", "shell\n"),
	value("exit code", "_exit_code", "3"),
	{name: "unknown magic", run: func(t *testing.T, r *runnertest.Runner) {
		if got := r.Execute("%nosuchmagic 5"); got.Status() != "error" || !strings.Contains(fmt.Sprint(got.Reply["evalue"]), "nosuchmagic") {
			t.Errorf("got %v, want an error that names the magic", got.Reply)
		}
	}},
}
