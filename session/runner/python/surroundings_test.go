//go:build unix

package python_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gokernel/gokernel/session/runner/runnertest"
)

// TestSurroundings: a request's working directory and variables hold as long as it
// runs, however it ends, and what its code has changed stays.
func TestSurroundings(t *testing.T) {
	each(t, func(t *testing.T, s shell) {
		root, err := filepath.EvalSymlinks(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		home, dir := filepath.Join(root, "home"), filepath.Join(root, "run")
		for _, d := range []string{home, dir} {
			if err := os.Mkdir(d, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		cmd := s.cmd
		cmd.Dir = home
		r := runnertest.Start(t, cmd)
		in := r.In(dir, map[string]string{"KEY": "set", "OTHER": "set"})
		r.Must("import os, asyncio, sys\ndef here(): print(os.path.basename(os.getcwd()), os.environ.get('KEY'), os.environ.get('OTHER'))")
		here := func(r *runnertest.Runner, what, code, want string, o ...options) {
			t.Helper()
			if got := r.Execute(code, o...).Text("stdout"); got != want {
				t.Errorf("%s: got %q, want %q", what, got, want)
			}
		}
		const before = "home None None\n"
		here(in, "cell", "here()", "run set set\n")
		here(r, "after it", "here()", before)
		here(in, "a cell that awaits", "here(); await asyncio.sleep(0.01); here()", "run set set\nrun set set\n")
		here(r, "after it", "here()", before)
		here(in, "a cell that raises after it has awaited", "await asyncio.sleep(0); here(); 1/0", "run set set\n")
		here(r, "after it", "here()", before)
		id := in.BeginExecute("print('go'); await asyncio.sleep(60)")
		r.UntilText("go")
		r.Interrupt(id)
		r.Finish(id)
		here(r, "after a cell that was interrupted while it awaited", "here()", before)
		here(in, "an expression", "pass", "run set set\n", options{"user_expressions": map[string]any{"a": "here()"}})
		here(r, "after it", "here()", before)
		here(in, "silent", "here()", "run set set\n", options{"silent": true})
		here(r, "after it", "here()", before)

		here(in, "a variable is deleted and one set", "del os.environ['KEY']; os.environ['OTHER'] = 'mine'; here()", "run None mine\n")
		here(r, "after it", "here()", "home None mine\n")
		here(in, "where one was set", "here()", "run set set\n")
		here(r, "after it", "here(); del os.environ['OTHER']", "home None mine\n")
		here(in, "the directory is changed and back", "os.chdir('/'); os.chdir("+quote(dir)+"); here()", "run set set\n")
		here(r, "after it", "here()", before)
		here(in, "a module of the directory", "open('ofrun.py', 'w').write('x = 5'); import ofrun; print(ofrun.x)", "5\n")
		here(in, "the directory is removed", "os.remove('ofrun.py'); import shutil; shutil.rmtree("+quote(dir)+"); print('gone')", "gone\n")
		here(r, "after it", "here()", before)

		for name, bad := range map[string]*runnertest.Runner{
			dir:               in,
			home + "/x/y":     r.In(home+"/x/y", nil),
			"a\x00b":          r.In("a\x00b", nil),
			"A=B":             r.In("", map[string]string{"KEY": "set", "A=B": "c"}),
			cmd.Argv[2]:       r.In(cmd.Argv[2], nil), // a file
			"/proc/1/nowhere": r.In("/proc/1/nowhere", nil),
		} {
			got := bad.Execute("print('run')")
			if got.Reply["ename"] != "SetupError" || got.Find("error")["ename"] != "SetupError" || got.Text("stdout") != "" {
				t.Errorf("%q: got %v and %v, want SetupError and nothing run", name, got.Reply, got.Outputs)
			}
			if text, _ := got.Reply["evalue"].(string); !strings.Contains(text, name) && !strings.Contains(text, "null") {
				t.Errorf("%q: got %q, want what it is about", name, text)
			}
			here(r, "after "+name, "here()", before)
		}
		got := r.In(home, nil).Must("'ok'")
		if got.Value() != "'ok'" {
			t.Errorf("got %q, want the next cell run", got.Value())
		}
	})
}

func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `\'`) + "'" }
