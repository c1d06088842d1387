// Package tests holds what tests gokernel as a whole: its structure, its
// command line, and the binary with real Jupyter clients.
package tests

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path"
	"strings"
	"testing"
)

const module = "github.com/gokernel/gokernel"

// mayImport is the table of ARCHITECTURE.md: which packages of this module a
// package may import. "x/*" stands for the packages below x that have no line
// of their own. A package that is not in the table may import none.
var mayImport = map[string][]string{
	"protocol":         {},
	"kernelspec":       {},
	"sandbox":          {},
	"sandbox/*":        {"sandbox"},
	"session/wire":     {"protocol"},
	"session/runner":   {"protocol", "session/runner/*"},
	"session/runner/*": {"protocol"},
	"session":          {"protocol", "sandbox", "sandbox/local", "session/wire"},
	"session/agent":    {"protocol", "sandbox", "session/wire", "session/runner", "kernel/zmq", "session/agent/*"},
	"session/agent/*":  {"protocol", "session/wire"},
	"kernel":           {"protocol", "session", "session/wire"},
	"kernel/zmq":       {"protocol", "kernel"},
	"kernel/provision": {"kernel", "kernel/zmq", "kernelspec", "sandbox", "session", "session/wire"},
	"notebook":         {"protocol", "kernel"},
	"server":           {"protocol", "kernel", "kernel/provision", "kernelspec", "notebook", "session"},
	"examples/*":       {"session"},
	"cmd/gokernel":     {"internal/cli"},
	"internal/cli":     {"**"},
	"internal/cli/*":   {"**"},
	"tests":            {"**"},
}

// pureData says which modules the packages at the bottom may depend on.
var pureData = map[string][]string{
	"protocol":   {"github.com/google/uuid", "github.com/santhosh-tekuri/jsonschema/v5"},
	"kernelspec": {},
	"sandbox":    {},
}

type goPackage struct {
	ImportPath string
	Imports    []string
}

// listPackages returns the module's packages as goos sees them. What does not
// compile is for the compiler to tell.
func listPackages(t *testing.T, goos string) []goPackage {
	t.Helper()
	cmd := exec.Command("go", "list", "-e", "-json=ImportPath,Imports", "./...")
	cmd.Dir = ".."
	cmd.Env = append(os.Environ(), "GOOS="+goos, "CGO_ENABLED=0")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list for %s: %v\n%s", goos, err, &stderr)
	}
	var packages []goPackage
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p goPackage
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return packages
		} else if err != nil {
			t.Fatalf("reading the output of go list: %v", err)
		}
		packages = append(packages, p)
	}
}

// rule returns the line of the table for the package name, and whether there
// is one.
func rule(name string) ([]string, bool) {
	if allowed, ok := mayImport[name]; ok {
		return allowed, true
	}
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		if allowed, ok := mayImport[dir+"/*"]; ok {
			return append([]string{dir + "/*"}, allowed...), true
		}
	}
	return nil, false
}

// matches reports whether pattern, of the table, covers the package name.
func matches(pattern, name string) bool {
	if pattern == "**" || pattern == name {
		return true
	}
	dir, ok := strings.CutSuffix(pattern, "*")
	_, own := mayImport[name]
	return ok && !own && strings.HasPrefix(name, dir)
}

func TestImports(t *testing.T) {
	for _, goos := range []string{"linux", "darwin", "windows"} {
		t.Run(goos, func(t *testing.T) {
			packages := listPackages(t, goos)
			leaf := map[string]bool{} // packages under internal/ that import nothing of ours
			for _, p := range packages {
				name, _ := strings.CutPrefix(p.ImportPath, module+"/")
				leaf[name] = strings.HasPrefix(name, "internal/") && len(ours(p.Imports)) == 0
			}
			for _, p := range packages {
				name, _ := strings.CutPrefix(p.ImportPath, module+"/")
				if strings.HasSuffix(name, "test") || leaf[name] {
					continue
				}
				allowed, ok := rule(name)
				if !ok {
					t.Errorf("package %s is in no line of the import table", name)
					continue
				}
				for _, imported := range ours(p.Imports) {
					if !leaf[imported] && !anyMatches(allowed, imported) {
						t.Errorf("%s imports %s; it may import %v", name, imported, allowed)
					}
				}
				if modules, ok := pureData[name]; ok {
					for _, imported := range theirs(p.Imports) {
						if !anyPrefix(modules, imported) {
							t.Errorf("%s imports %s; beside the standard library it may import %v", name, imported, modules)
						}
					}
				}
			}
		})
	}
}

// ours returns which of imports are of this module, without its name.
func ours(imports []string) []string {
	var found []string
	for _, i := range imports {
		if name, ok := strings.CutPrefix(i, module+"/"); ok {
			found = append(found, name)
		}
	}
	return found
}

// theirs returns which of imports are of other modules.
func theirs(imports []string) []string {
	var found []string
	for _, i := range imports {
		first, _, _ := strings.Cut(i, "/")
		if strings.Contains(first, ".") && !strings.HasPrefix(i, module+"/") {
			found = append(found, i)
		}
	}
	return found
}

func anyMatches(patterns []string, name string) bool {
	for _, p := range patterns {
		if matches(p, name) {
			return true
		}
	}
	return false
}

func anyPrefix(modules []string, name string) bool {
	for _, m := range modules {
		if name == m || strings.HasPrefix(name, m+"/") {
			return true
		}
	}
	return false
}

func TestImportTable(t *testing.T) {
	tests := []struct {
		from, to string
		want     bool
	}{
		{"protocol", "kernel", false},
		{"kernel", "session", true},
		{"kernel", "session/agent", false},
		{"session/agent", "session/agent/journal", true},
		{"session/agent/journal", "session/wire", true},
		{"session/agent/journal", "session", false},
		{"session", "session/agent", false},
		{"sandbox/local", "sandbox", true},
		{"sandbox/linuxns", "session", false},
		{"server", "session/wire", false},
		{"internal/cli", "session/agent", true},
		{"cmd/gokernel", "kernel", false},
		{"examples/session/simple", "session", true},
		{"examples/session/simple", "session/wire", false},
	}
	for _, test := range tests {
		allowed, ok := rule(test.from)
		if got := ok && anyMatches(allowed, test.to); got != test.want {
			t.Errorf("may %s import %s = %v, want %v", test.from, test.to, got, test.want)
		}
	}
}
