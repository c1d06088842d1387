//go:build unix

package runnertest

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// Code is code of a language, for the cases that are the same in all of them.
type Code struct {
	// One has the value that ValueOfOne shows.
	One, ValueOfOne string
	// Print writes "out\n" to standard output, PrintErr "err\n" to standard error.
	Print, PrintErr string
	// Fail raises Error.
	Fail, Error string
	// Set makes a variable x, Get has its value, ValueOfX as shown.
	Set, Get, ValueOfX string
	// Loop prints "loop\n" and then never ends by itself, without waiting.
	Loop string
	// Sleep prints "sleep\n" and waits for a long time.
	Sleep string
	// Child runs a child process that writes "child\n" to its standard output,
	// between two prints: "before\n" and "after\n".
	Child string
	// Input asks "name?" and prints the answer.
	Input string
	// Interrupted is the name of the error of an interrupt.
	Interrupted string
	// Exit ends the language as a user does.
	Exit string
	// Lines prints the numbers from 0 to 199,999.
	Lines string
	// Cwd prints the working directory and a newline, Chdir changes it to its
	// parent.
	Cwd, Chdir string
	// Getenv prints the variable GOKERNEL_TEST, or "none", and a newline, Setenv
	// sets it to "changed".
	Getenv, Setenv string
}

// Test runs the cases that every program has to pass.
func Test(t *testing.T, cmd Command) {
	for _, c := range []struct {
		name string
		run  func(*testing.T, Command)
	}{
		{"ready", ready},
		{"execute", execute},
		{"error", fails},
		{"silent", silent},
		{"streams", streams},
		{"child output in order", child},
		{"interrupt", interrupt},
		{"late interrupt", lateInterrupt},
		{"input", input},
		{"no input", noInput},
		{"all lines", lines},
		{"exit", exit},
		{"shutdown", shutdown},
		{"hangup", hangup},
		{"unknown request", unknown},
		{"working directory", workingDirectory},
		{"environment", environment},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.run(t, cmd)
		})
	}
}

func ready(t *testing.T, cmd Command) {
	r := Start(t, cmd)
	info, _ := r.Info["language_info"].(map[string]any)
	for _, key := range []string{"name", "version", "mimetype", "file_extension"} {
		if s, _ := info[key].(string); s == "" {
			t.Errorf("language_info has no %s: %v", key, info)
		}
	}
	for _, key := range []string{"banner", "implementation", "implementation_version", "executable"} {
		if s, _ := r.Info[key].(string); s == "" {
			t.Errorf("ready has no %s: %v", key, r.Info)
		}
	}
	if pid, _ := r.Info["pid"].(float64); int(pid) != r.PID {
		t.Errorf("got pid %v, want %d", r.Info["pid"], r.PID)
	}
}

func execute(t *testing.T, cmd Command) {
	r := Start(t, cmd)
	before := time.Now().Add(-time.Second)
	got := r.Must(cmd.Code.One)
	if got.Value() != cmd.Code.ValueOfOne {
		t.Errorf("got value %q, want %q", got.Value(), cmd.Code.ValueOfOne)
	}
	if want := []string{"execute_input", "execute_result"}; !slices.Equal(got.Kinds(), want) {
		t.Errorf("got outputs %q, want %q", got.Kinds(), want)
	}
	if n := got.Find("execute_input")["execution_count"]; n != 1.0 {
		t.Errorf("got execution_count %v, want 1", n)
	}
	if n := got.Reply["execution_count"]; n != 1.0 {
		t.Errorf("got execution_count %v in the reply, want 1", n)
	}
	text, _ := got.Metadata["started"].(string)
	if at, err := time.Parse(time.RFC3339Nano, text); err != nil || at.Before(before) || at.After(time.Now().Add(time.Second)) {
		t.Errorf("got started %q (%v), want the time of the request", text, err)
	}
	r.Must(cmd.Code.Set)
	if got := r.Must(cmd.Code.Get).Value(); got != cmd.Code.ValueOfX {
		t.Errorf("got variable %q, want %q", got, cmd.Code.ValueOfX)
	}
	got = r.Must("")
	if n := got.Reply["execution_count"]; n != 3.0 {
		t.Errorf("got execution_count %v after empty code, want 3", n)
	}
}

func fails(t *testing.T, cmd Command) {
	r := Start(t, cmd)
	got := r.Execute(cmd.Code.Fail)
	shown := got.Find("error")
	for where, content := range map[string]map[string]any{"output": shown, "reply": got.Reply} {
		if content["ename"] != cmd.Code.Error {
			t.Errorf("%s: got ename %v, want %q", where, content["ename"], cmd.Code.Error)
		}
		if lines, _ := content["traceback"].([]any); len(lines) == 0 {
			t.Errorf("%s: there is no traceback: %v", where, content)
		}
	}
	if got.Status() != "error" {
		t.Errorf("got status %q, want error", got.Status())
	}
	if again := r.Must(cmd.Code.One).Reply["execution_count"]; again != 2.0 {
		t.Errorf("got execution_count %v after an error, want 2", again)
	}
}

func silent(t *testing.T, cmd Command) {
	r := Start(t, cmd)
	got := r.Must(cmd.Code.One, Options{"silent": true})
	if len(got.Outputs) != 0 {
		t.Errorf("got outputs %v of a silent cell, want none", got.Outputs)
	}
	got = r.Must(cmd.Code.One, Options{"store_history": false})
	if got.Find("execute_input")["execution_count"] != 1.0 {
		t.Errorf("got count %v, want 1: a silent cell does not count", got.Find("execute_input"))
	}
	if n := r.Must(cmd.Code.One).Reply["execution_count"]; n != 1.0 {
		t.Errorf("got count %v, want 1: a cell without history does not count", n)
	}
}

func streams(t *testing.T, cmd Command) {
	r := Start(t, cmd)
	got := r.Must(cmd.Code.Print + "\n" + cmd.Code.PrintErr + "\n" + cmd.Code.Print)
	if want := []string{"execute_input", "stdout", "stderr", "stdout"}; !slices.Equal(got.Kinds(), want) {
		t.Errorf("got outputs %q, want %q", got.Kinds(), want)
	}
	if got.Text("stdout") != "out\nout\n" || got.Text("stderr") != "err\n" {
		t.Errorf("got %q and %q", got.Text("stdout"), got.Text("stderr"))
	}
}

func child(t *testing.T, cmd Command) {
	r := Start(t, cmd)
	for range 5 {
		if got := r.Must(cmd.Code.Child).Text("stdout"); got != "before\nchild\nafter\n" {
			t.Fatalf("got %q, want what the child wrote between the prints", got)
		}
	}
}

func interrupt(t *testing.T, cmd Command) {
	// Soon after an interrupt of the agent's a signal without an id counts as its
	// echo, so that each kind has a program of its own.
	for _, foreign := range []bool{false, true} {
		r := Start(t, cmd)
		for _, c := range []struct{ code, text string }{{cmd.Code.Loop, "loop"}, {cmd.Code.Sleep, "sleep"}} {
			id := r.BeginExecute(c.code)
			r.UntilText(c.text)
			if foreign {
				r.Signal()
			} else {
				r.Interrupt(id)
			}
			got := r.Finish(id)
			if got.Reply["ename"] != cmd.Code.Interrupted || got.Find("error") == nil {
				t.Errorf("%s (foreign %v): got reply %v, want %s", c.text, foreign, got.Reply, cmd.Code.Interrupted)
			}
		}
		r.Must(cmd.Code.One)
	}
}

// lateInterrupt: an interrupt meant for a request that is done does nothing.
func lateInterrupt(t *testing.T, cmd Command) {
	r := Start(t, cmd)
	done := r.Must(cmd.Code.One).ID
	r.Interrupt(done)
	for range 20 {
		r.Interrupt(done)
		r.Must(cmd.Code.One)
	}
	id := r.BeginExecute(cmd.Code.Sleep)
	r.UntilText("sleep\n")
	r.Interrupt(done)
	r.Interrupt("nobody")
	select {
	case m := <-r.messages:
		t.Errorf("got %v after an interrupt of another request, want nothing", m)
	case <-time.After(300 * time.Millisecond):
	}
	r.Interrupt(id)
	if got := r.Finish(id); got.Reply["ename"] != cmd.Code.Interrupted {
		t.Errorf("got %v, want %s", got.Reply, cmd.Code.Interrupted)
	}
}

func input(t *testing.T, cmd Command) {
	r := Start(t, cmd)
	id := r.BeginExecute(cmd.Code.Input, Options{"allow_stdin": true})
	asked := r.Until(func(m Message) bool { return m.Type == "input_request" })
	m := asked[len(asked)-1]
	if m.Content["prompt"] != "name?" || m.Content["password"] != false || m.ID != id {
		t.Errorf("got %v", m)
	}
	// An answer to another prompt is not ours.
	r.Answer(Message{ID: id, Prompt: m.Prompt + 7}, "nobody")
	r.Answer(m, "Zoë")
	if got := r.Finish(id).Text("stdout"); got != "Zoë\n" {
		t.Errorf("got %q, want the answer", got)
	}
	id = r.BeginExecute(cmd.Code.Input, Options{"allow_stdin": true})
	asked = r.Until(func(m Message) bool { return m.Type == "input_request" })
	r.Interrupt(id)
	if got := r.Finish(id); got.Reply["ename"] != cmd.Code.Interrupted {
		t.Errorf("got %v, want %s", got.Reply, cmd.Code.Interrupted)
	}
	// What comes too late is dropped.
	r.Answer(asked[len(asked)-1], "late")
	r.Must(cmd.Code.One)
}

func noInput(t *testing.T, cmd Command) {
	r := Start(t, cmd)
	got := r.Execute(cmd.Code.Input)
	if got.Status() != "error" || !strings.Contains(got.Reply["evalue"].(string), "does not support input") {
		t.Errorf("got %v, want an error that says why", got.Reply)
	}
}

func lines(t *testing.T, cmd Command) {
	r := Start(t, cmd)
	got := r.Must(cmd.Code.Lines)
	all := strings.Split(strings.TrimSuffix(got.Text("stdout"), "\n"), "\n")
	if len(all) != 200000 || all[0] != "0" || all[199999] != "199999" {
		t.Errorf("got %d lines, want 200000", len(all))
	}
	if n := len(got.Outputs); n > 2000 {
		t.Errorf("got %d packets, want few", n)
	}
}

func exit(t *testing.T, cmd Command) {
	r := Start(t, cmd)
	r.Must(cmd.Code.Exit)
	if m := r.Next(); m.Type != "exit" || m.Code != 0 {
		t.Errorf("got %v, want exit with code 0", m)
	}
	if state := r.Exit(); state.ExitCode() != 0 {
		t.Errorf("got %v, want exit code 0", state)
	}
}

func shutdown(t *testing.T, cmd Command) {
	r := Start(t, cmd)
	r.Must(cmd.Code.One)
	r.Shutdown()
	if state := r.Exit(); state.ExitCode() != 0 {
		t.Errorf("got %v, want exit code 0", state)
	}
}

func hangup(t *testing.T, cmd Command) {
	idle := Start(t, cmd)
	busy := Start(t, cmd)
	busy.BeginExecute(cmd.Code.Loop)
	busy.UntilText("loop")
	idle.Hangup()
	busy.Hangup()
	idle.Exit()
	busy.Exit()
}

func unknown(t *testing.T, cmd Command) {
	r := Start(t, cmd)
	if got := r.Request("new_request", map[string]any{}); got.Reply != nil || len(got.Outputs) != 0 {
		t.Errorf("got %v, want done alone", got)
	}
	for _, bad := range []any{[]byte("{"), []byte("[]"), map[string]any{"code": 1, "user_expressions": 5}} {
		if got := r.Request("execute_request", bad); got.Reply == nil {
			t.Errorf("no reply to the content %s", bad)
		}
	}
	r.Must(cmd.Code.One)
}

// workingDirectory: a request may ask for one, which lasts as long as it does.
func workingDirectory(t *testing.T, cmd Command) {
	r := Start(t, cmd)
	home := r.Must(cmd.Code.Cwd).Text("stdout")
	parent, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(parent, "a \"name\" ü")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	there := r.In(dir, nil)
	if got := there.Must(cmd.Code.Cwd).Text("stdout"); got != dir+"\n" {
		t.Errorf("got %q, want %q", got, dir)
	}
	if got := there.Execute(cmd.Code.Fail).Status(); got != "error" {
		t.Errorf("got status %q, want error", got)
	}
	if got := r.Must(cmd.Code.Cwd).Text("stdout"); got != home {
		t.Errorf("got %q after it, want what was before: %q", got, home)
	}
	there.Must(cmd.Code.Chdir)
	if got := r.Must(cmd.Code.Cwd).Text("stdout"); got != parent+"\n" {
		t.Errorf("got %q after the code has changed it, want %q", got, parent)
	}

	gone := filepath.Join(parent, "gone")
	got := r.In(gone, map[string]string{"GOKERNEL_TEST": "set"}).Execute(cmd.Code.One)
	if got.Status() != "error" || !strings.Contains(fmt.Sprint(got.Reply["evalue"]), gone) || got.Find("error") == nil {
		t.Errorf("got %v and %v, want an error that names the directory", got.Outputs, got.Reply)
	}
	if got.Value() != "" {
		t.Errorf("got value %q, want the code not run", got.Value())
	}
	if got := r.Must(cmd.Code.Cwd).Text("stdout") + r.Must(cmd.Code.Getenv).Text("stdout"); got != parent+"\nnone\n" {
		t.Errorf("got %q after that, want nothing changed", got)
	}
}

// environment: a request may ask for variables, which last as long as it does.
func environment(t *testing.T, cmd Command) {
	cmd.Env = append(cmd.Env[:len(cmd.Env):len(cmd.Env)], "GOKERNEL_TEST=old")
	r := Start(t, cmd)
	get := func(r *Runner, want string) {
		t.Helper()
		if got := r.Must(cmd.Code.Getenv).Text("stdout"); got != want+"\n" {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	with := r.In("", map[string]string{"GOKERNEL_TEST": "a\n\"ü\"", "GOKERNEL_OTHER": ""})
	get(with, "a\n\"ü\"")
	get(r, "old")
	id := with.BeginExecute(cmd.Code.Sleep)
	r.UntilText("sleep")
	r.Interrupt(id)
	if got := r.Finish(id); got.Reply["ename"] != cmd.Code.Interrupted {
		t.Errorf("got %v, want %s", got.Reply, cmd.Code.Interrupted)
	}
	get(r, "old")
	with.Must(cmd.Code.Setenv)
	get(r, "changed") // by the code itself
	get(with, "a\n\"ü\"")
	get(r, "changed")
}
