package tests

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// treeFiles returns the files of the checkout that are, or are about to be,
// tracked, relative to its root.
func treeFiles(t *testing.T) []string {
	t.Helper()
	cmd := exec.Command("git", "ls-files", "-co", "--exclude-standard", "-z")
	cmd.Dir = ".."
	out, err := cmd.Output()
	if err != nil {
		t.Skipf("this is no git checkout: %v", err)
	}
	return strings.FieldsFunc(string(out), func(r rune) bool { return r == 0 })
}

// readTree returns the content of a file of the checkout; ok is false when it
// is not there (deleted, not yet committed) or is no text.
func readTree(name string) (data []byte, ok bool) {
	data, err := os.ReadFile(filepath.Join("..", name))
	return data, err == nil && !bytes.Contains(data, []byte{0})
}

func TestFileLengths(t *testing.T) {
	for _, name := range treeFiles(t) {
		switch filepath.Ext(name) {
		case ".go", ".py", ".js", ".ts", ".sh":
		default:
			continue
		}
		data, ok := readTree(name)
		if n := bytes.Count(data, []byte("\n")); ok && n > 800 {
			t.Errorf("%s has %d lines, want at most 800: split it by subject", name, n)
		}
	}
}

// foreign matches what ties a file to one machine or to one package registry.
var foreign = regexp.MustCompile(`(^|[\s"'=(:` + "`" + `])/(ro{2}t|wor{1}k)/|[.]pyenv/versions/[0-9]|pypi[.]org|registry[.]npmjs|pro{1}xy[.]golang[.]org|files[.]pythonhosted`)

func TestNoMachinesInFiles(t *testing.T) {
	for _, name := range treeFiles(t) {
		data, ok := readTree(name)
		if !ok {
			continue
		}
		for i, line := range strings.Split(string(data), "\n") {
			if found := foreign.FindString(line); found != "" {
				t.Errorf("%s:%d names %q: files name no machine's paths and no registry's host", name, i+1, strings.TrimSpace(found))
			}
		}
	}
}

// inProgram reports whether the Go file name is part of the program, not of its
// tests.
func inProgram(name string) bool {
	return strings.HasSuffix(name, ".go") && !strings.HasSuffix(name, "_test.go") &&
		!strings.HasPrefix(name, "tests/") && !strings.HasSuffix(filepath.Dir(name), "test")
}

// TestHabits checks rules of CONTRIBUTING.md that a parser can see.
func TestHabits(t *testing.T) {
	for _, name := range treeFiles(t) {
		data, ok := readTree(name)
		if !ok || filepath.Ext(name) != ".go" {
			continue
		}
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, name, data, parser.ParseComments)
		if err != nil {
			t.Errorf("parsing %s: %v", name, err)
			continue
		}
		commented, imported := commentedLines(fset, file), importedNames(file)
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				if n.Recv == nil && n.Name.Name == "init" && inProgram(name) {
					t.Errorf("%s: has an init function", fset.Position(n.Pos()))
				}
			case *ast.CallExpr:
				called := calledName(n, imported)
				line := fset.Position(n.Pos()).Line
				switch {
				case !inProgram(name):
				case called == "os.Exit" || strings.HasPrefix(called, "log."):
					if !strings.HasPrefix(name, "cmd/") && !strings.HasPrefix(name, "examples/") {
						t.Errorf("%s:%d: calls %s: only programs' main packages end the process, and logs go to an injected logger", name, line, called)
					}
				}
				// In a synctest bubble time is not real, and sleeping is how it passes.
				_, bubble := imported["synctest"]
				if called == "time.Sleep" && !bubble && !commented[line] && !commented[line-1] {
					t.Errorf("%s:%d: sleeps without a comment that says why no event can be waited for", name, line)
				}
			}
			return true
		})
	}
}

// commentedLines returns the lines on which comments stand.
func commentedLines(fset *token.FileSet, file *ast.File) map[int]bool {
	lines := map[int]bool{}
	for _, group := range file.Comments {
		for l := fset.Position(group.Pos()).Line; l <= fset.Position(group.End()).Line; l++ {
			lines[l] = true
		}
	}
	return lines
}

// importedNames maps the names that file gives to packages to their paths.
func importedNames(file *ast.File) map[string]string {
	names := map[string]string{}
	for _, spec := range file.Imports {
		p := strings.Trim(spec.Path.Value, `"`)
		name := path.Base(p)
		if spec.Name != nil {
			name = spec.Name.Name
		}
		names[name] = p
	}
	return names
}

// calledName returns "package.Function" for a call of that form.
func calledName(call *ast.CallExpr, imported map[string]string) string {
	sel, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return ""
	}
	x, ok := sel.X.(*ast.Ident)
	if !ok || imported[x.Name] == "" {
		return ""
	}
	return imported[x.Name] + "." + sel.Sel.Name
}
