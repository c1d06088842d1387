//go:build unix

package javascript_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gokernel/gokernel/session/runner"
	"github.com/gokernel/gokernel/session/runner/runnertest"
)

func write(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func start(t *testing.T) *runnertest.Runner {
	t.Helper()
	t.Parallel()
	return runnertest.Start(t, command(t))
}

// values runs cells and compares what they show.
func values(t *testing.T, r *runnertest.Runner, cells [][2]string) {
	t.Helper()
	for _, c := range cells {
		if got := r.Must(c[0]).Value(); got != c[1] {
			t.Errorf("%s: got %q, want %q", c[0], got, c[1])
		}
	}
}

func TestCellsDeclareAgain(t *testing.T) {
	r := start(t)
	values(t, r, [][2]string{
		{"const a = 1; let b = 2; class C {}; function f() { return 3 }", ""},
		{"const a = 10; let b = 20; class C { x = 1 }; function f() { return 30 }", ""},
		{"a + b + f() + new C().x", "61"},
		{"const {x, y: [z]} = await Promise.resolve({x: 1, y: [2]}); x + z", "3"},
		{"null", "null"}, {"undefined", ""}, {"'a'", "'a'"}, {"-0", "-0"}, {"10n ** 20n", "100000000000000000000n"}, {"Symbol('s')", "Symbol(s)"},
	})
	if got := r.Execute("let broken = null.x").Reply["ename"]; got != "TypeError" {
		t.Fatalf("got %v, want TypeError", got)
	}
	values(t, r, [][2]string{{"let broken = 5; broken", "5"}})
}

func TestErrorsShowFramesOfTheUserOnly(t *testing.T) {
	r := start(t)
	r.Must("function f() {\n  throw new RangeError('bad')\n}")
	for _, c := range []struct {
		code, ename string
		want        []string
	}{
		{"1\n\nf()", "RangeError", []string{"RangeError: bad", "    at f (cell[1]:2:9)", "    at cell[2]:3:1"}},
		{"let b = = 2", "SyntaxError", []string{"cell[3]:1", "let b = = 2", "        ^", "", "SyntaxError: Unexpected token '='"}},
		{"await null\nf()", "RangeError", []string{"RangeError: bad", "    at f (cell[1]:2:9)", "    at cell[4]:2:1"}},
		{"throw 5", "Uncaught", []string{"Uncaught 5"}},
		{"throw Object.defineProperty(new Error('x'), 'message', {get() { throw 1 }})", "Error", nil},
	} {
		got := r.Execute(c.code).Reply
		var lines []string
		list, _ := got["traceback"].([]any)
		for _, l := range list {
			lines = append(lines, fmt.Sprint(l))
		}
		if got["ename"] != c.ename || c.want != nil && !slices.Equal(lines, c.want) {
			t.Errorf("%s: got %v %q, want %s %q", c.code, got["ename"], lines, c.ename, c.want)
		}
		if text := strings.Join(lines, "\n"); strings.Contains(text, "src/") || strings.Contains(text, "node:internal") {
			t.Errorf("%s: got frames of the runner or of Node.js:\n%s", c.code, text)
		}
	}
}

func TestModulesOfTheSessionComeFirst(t *testing.T) {
	t.Parallel()
	packages := write(t, map[string]string{
		"node_modules/both/package.json": `{"name":"both","version":"2.0.0"}`,
		"node_modules/both/index.js":     `module.exports = "session"`,
		"node_modules/esm/package.json":  `{"name":"esm","version":"1.0.0","type":"module","exports":"./i.js"}`,
		"node_modules/esm/i.js":          `export default 5; export const b = 2`,
	})
	dir := write(t, map[string]string{
		"node_modules/both/package.json": `{"name":"both","version":"1.0.0"}`,
		"node_modules/both/index.js":     `module.exports = "project"`,
		"node_modules/own/index.js":      `module.exports = "own"`,
		"local.js":                       `exports.both = require("esm-less"); `,
		"near.mjs":                       `export const near = import.meta.url.endsWith("near.mjs")`,
		"data.json":                      `{"a": 1}`,
	})
	cmd := command(t)
	cmd.Dir, cmd.Init = dir, map[string]any{"packages": packages}
	r := runnertest.Start(t, cmd)
	values(t, r, [][2]string{
		{"require('both')", "'session'"}, {"(await import('both')).default", "'session'"},
		{"require('own')", "'own'"}, {"import own from 'own'; own", "'own'"},
		{"import five, {b as two} from 'esm'; five + two", "7"},
		{"import * as all from 'esm'; all.b", "2"},
		{"import {near} from './near.mjs'; near", "true"},
		{"require('./data.json').a", "1"},
		{"import {sep} from 'node:path'; sep", "'/'"},
		{"import.meta.dirname === process.cwd()", "true"},
		{"const s = `import x from 'y'`; s.length + /import a from/.source.length", "30"},
	})
	for code, want := range map[string]string{
		"import {nope} from 'esm'":  "does not provide an export named 'nope'",
		"require('not-there')":      "Cannot find module 'not-there'",
		"await import('not-there')": "Cannot find package 'not-there'",
	} {
		if got := fmt.Sprint(r.Execute(code).Reply["evalue"]); !strings.Contains(got, want) {
			t.Errorf("%s: got %q, want %q", code, got, want)
		}
	}
}

// Whether a specifier is satisfied is asked of what is installed, not of memory.
func TestPackagesThatAreMissing(t *testing.T) {
	t.Parallel()
	packages := write(t, map[string]string{
		"node_modules/a/package.json":    `{"name":"a","version":"1.2.3"}`,
		"node_modules/@s/b/package.json": `{"name":"@s/b","version":"2.0.0-rc.1"}`,
		"node_modules/bad/package.json":  `{"name":`,
		"node_modules/c/package.json":    `{"name":"other","version":"1.0.0"}`,
	})
	cmd := command(t)
	cmd.Init = map[string]any{"packages": packages}
	r := runnertest.Start(t, cmd)
	there := []string{"a", "a@1.2.3", "a@^1.0", "a@~1.2", "a@>=1 <2 || 5", "a@1.x", "a@latest", "a@1.0 - 1.2.3", "@s/b", "@s/b@2.0.0-rc.1", "c@npm:other@1", "a@*"}
	missing := []string{
		"d", "a@2", "a@^0.2", "a@~1.1", "a@<1.2.3", "a@next", "@s/b@2", "@s/b@>=2.0.0", "@s/d", "bad", "c", "c@1", "c@npm:else", "a@https://example.com/a.tgz",
		"../a", "", "@", "a@x.1", "a@1.2.3.4", "a@99999999999999999",
	}
	got := r.Ask("packages", map[string]any{"packages": slices.Concat(there, missing)}).Content["missing"]
	if want := fmt.Sprint(missing); fmt.Sprint(got) != want {
		t.Errorf("got missing %v, want %v", got, want)
	}
}

func TestRangesAreThoseOfNpm(t *testing.T) {
	t.Parallel()
	npm, err := exec.LookPath("npm")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("there is no npm to compare with")
		}
		t.Skip("there is no npm to compare with")
	}
	root, err := exec.Command(npm, "root", "-g").Output()
	if err != nil {
		t.Skipf("npm does not say where it is: %v", err)
	}
	theirs := filepath.Join(strings.TrimSpace(string(root)), "npm", "node_modules", "semver")
	if _, err := os.Stat(theirs); err != nil {
		t.Skipf("npm has no semver of its own: %v", err)
	}
	ours, err := filepath.Abs("src/semver.cjs")
	if err != nil {
		t.Fatal(err)
	}
	for seed := range 3 {
		out, err := exec.Command(node(t), "testdata/semver.cjs", ours, theirs, fmt.Sprint(seed+1)).CombinedOutput()
		if err != nil {
			t.Errorf("seed %d: %v\n%s", seed+1, err, out)
		}
	}
}

func TestInterruptsEverywhere(t *testing.T) {
	for name, code := range map[string]string{
		"after await":       "kept = 1; await null; console.log('go'); while (true);",
		"timer callback":    "kept = 1; setTimeout(() => { console.log('go'); while (true); }); await new Promise(() => {})",
		"immediate":         "kept = 1; setImmediate(() => { console.log('go'); while (true); }); await new Promise(() => {})",
		"file callback":     "kept = 1; require('fs').stat('/', () => { console.log('go'); while (true); }); await new Promise(() => {})",
		"next tick":         "kept = 1; process.nextTick(() => { console.log('go'); while (true); }); await new Promise(() => {})",
		"printing":          "kept = 1; console.log('go'); for (;;) console.log('more')",
		"waiting for child": "kept = 1; console.log('go'); require('child_process').spawnSync('sleep', ['60'])",
		"atomic wait":       "kept = 1; console.log('go'); Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0)",
		"prompt":            "kept = 1; console.log('go'); prompt('?')",
		"inspect":           "kept = 1; ({[Symbol.for('nodejs.util.inspect.custom')]() { console.log('go'); while (true); }})",
		"error":             "kept = 1; throw Object.assign(new Error('x'), {[Symbol.for('nodejs.util.inspect.custom')]() { console.log('go'); while (true); }})",
		"display":           "kept = 1; ({async [Symbol.for('Jupyter.display')]() { await null; console.log('go'); while (true); }})",
		"caught":            "kept = 1; console.log('go'); try { while (true); } catch { } finally { while (true); }",
	} {
		t.Run(name, func(t *testing.T) {
			r := start(t)
			for range 2 {
				id := r.BeginExecute(code, runnertest.Options{"allow_stdin": true})
				r.UntilText("go\n")
				r.Interrupt(id)
				if got := r.Finish(id); got.Reply["ename"] != "Interrupted" {
					t.Fatalf("got %v, want Interrupted", got.Reply)
				}
			}
			values(t, r, [][2]string{
				{"kept", "1"},
				{"await new Promise((done) => setTimeout(done, 1, 'timers'))", "'timers'"},
				{"await new Promise((done) => setImmediate(done, 'immediates'))", "'immediates'"},
				{"await new Promise((done) => process.nextTick(done, 'ticks'))", "'ticks'"},
				{"(await require('fs').promises.stat('/')).isDirectory()", "true"},
			})
		})
	}
}

// An interrupted cell's loop does not go on behind the user's back.
func TestInterruptEndsWhatTheCellHasStarted(t *testing.T) {
	r := start(t)
	id := r.BeginExecute("var n = 0, m = 0; setInterval(() => m++, 1); for (;;) { await new Promise((done) => setTimeout(done, 1)); n++; if (n === 3) console.log('go') }")
	r.UntilText("go\n")
	r.Interrupt(id)
	r.Finish(id)
	before := r.Must("`${n} ${m}`").Value()
	r.Must("await new Promise((done) => setTimeout(done, 50))")
	if after := r.Must("`${n} ${m}`").Value(); after != before {
		t.Errorf("got counts %s after %s, want the loop and the interval ended", after, before)
	}
}

func TestLateOutputIsItsCells(t *testing.T) {
	r := start(t)
	first := r.Must("setTimeout(() => { console.log('late'); null.x }, 100); Promise.reject(new Error('lost')); 7").ID
	second := r.Must("await new Promise((done) => setTimeout(done, 1)); console.log('mine'); await new Promise((done) => setTimeout(done, 200))")
	if got := second.Text("stdout"); got != "mine\n" {
		t.Errorf("got %q under the second cell, want its own", got)
	}
	// What came while the second ran.
	late := runnertest.Result{ID: first, Outputs: second.Outputs}
	if got := late.Text("stdout"); got != "late\n" {
		t.Errorf("got %q under the first cell, want late", got)
	}
	if got := late.Text("stderr"); !strings.Contains(got, "Uncaught TypeError") {
		t.Errorf("got %q, want the error of the timer", got)
	}
	values(t, r, [][2]string{{"1", "1"}})
}

func TestDisplays(t *testing.T) {
	r := start(t)
	for code, want := range map[string]string{
		"display.html('<b>x</b>')":             `map[text/html:<b>x</b> text/plain:<b>x</b>]`,
		"display.png(Buffer.from([1, 2, 3]))":  `map[image/png:AQID text/plain:<image/png>]`,
		"display({a: 1})":                      `map[text/plain:{ a: 1 }]`,
		"display({'a/b': 'x'}, {raw: true})":   `map[a/b:x]`,
		"await display({toHtml: () => '<i>'})": `map[text/html:<i> text/plain:{ toHtml: [Function: toHtml] }]`,
		"display.json({a: [1]})":               `map[application/json:map[a:[1]] text/plain:{ a: [ 1 ] }]`,
	} {
		if got := fmt.Sprint(r.Must(code).Find("display_data")["data"]); got != want {
			t.Errorf("%s: got %s, want %s", code, got, want)
		}
	}
	result := r.Must("({[Symbol.for('Jupyter.display')]: () => ({'text/markdown': '*x*'})})").Find("execute_result")
	if data, _ := result["data"].(map[string]any); data["text/markdown"] != "*x*" {
		t.Errorf("got %v, want markdown", result)
	}
	got := r.Must("const shown = display.text('a', {display_id: true}); shown.update('b'); undefined")
	transient, _ := got.Find("display_data")["transient"].(map[string]any)
	again, _ := got.Find("update_display_data")["transient"].(map[string]any)
	if id, _ := transient["display_id"].(string); id == "" || again["display_id"] != id {
		t.Errorf("got %v and %v, want an update with the same id", transient, again)
	}
}

func TestExits(t *testing.T) {
	t.Run("handlers run at a shutdown", func(t *testing.T) {
		r := start(t)
		id := r.Must("process.on('exit', () => console.log('bye'))").ID
		r.Shutdown()
		var text string
		for {
			m, ok := r.NextOrEnd()
			if !ok {
				break
			}
			if m.Type == "exit" {
				t.Errorf("got %v, want none: the user has not asked for it", m)
			}
			if m.ID == id {
				text += m.Text
			}
		}
		if text != "bye\n" {
			t.Errorf("got %q, want what the handler has written", text)
		}
	})
	t.Run("with a code and all its output", func(t *testing.T) {
		r := start(t)
		got := r.Must("for (let i = 0; i < 50000; i++) console.log(i); process.exit(7)").Text("stdout")
		if n := strings.Count(got, "\n"); n != 50000 {
			t.Errorf("got %d lines, want 50000", n)
		}
		if m := r.Next(); m.Type != "exit" || m.Code != 7 {
			t.Errorf("got %v, want exit with code 7", m)
		}
		if state := r.Exit(); state.ExitCode() != 7 {
			t.Errorf("got %v, want exit code 7", state)
		}
	})
}

func TestCompletionRunsNothing(t *testing.T) {
	r := start(t)
	r.Must("let ran = 0; const owner = {plain: {inner: 1}, get trap() { ran++; return {inside: 1} }, ü: {deep: 1}}")
	complete := func(code string) []any {
		list, _ := r.Request("complete_request", map[string]any{"code": code, "cursor_pos": len([]rune(code))}).Reply["matches"].([]any)
		return list
	}
	for code, want := range map[string]string{"owner.pl": "[plain]", "owner.plain.inn": "[inner]", "owner.trap.": "[]", "own": "[owner]", "'😀'; owner.ü.d": "[deep]", "// own": "[]", "`own": "[]"} {
		if got := fmt.Sprint(complete(code)); got != want {
			t.Errorf("%s: got %s, want %s", code, got, want)
		}
	}
	inspected := r.Request("inspect_request", map[string]any{"code": "owner", "cursor_pos": 3, "detail_level": 0}).Reply
	if inspected["found"] != true || !strings.Contains(fmt.Sprint(inspected["data"]), "[Getter]") {
		t.Errorf("got %v, want the object with its getter not run", inspected)
	}
	values(t, r, [][2]string{{"ran", "0"}})
}

// What the runner is made of lies in .cjs files, whatever package.json is above.
func TestInstalledBelowAModulePackage(t *testing.T) {
	t.Parallel()
	dir := write(t, map[string]string{"package.json": `{"type":"module"}`})
	program, err := runner.JavaScript().Install(dir)
	if err != nil {
		t.Fatal(err)
	}
	cmd := command(t)
	cmd.Argv = runner.JavaScript().Command(node(t), program)
	values(t, runnertest.Start(t, cmd), [][2]string{{"1", "1"}})
}
