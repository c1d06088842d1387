//go:build unix

package install

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gokernel/gokernel/session/agent/install/installtest"
)

type module = installtest.Module

// node returns node, or ends the test where there is no npm.
func node(t *testing.T) string {
	t.Helper()
	if _, err := exec.LookPath("npm"); err != nil {
		missing(t, "npm is not installed")
	}
	path, err := exec.LookPath("node")
	if err != nil {
		missing(t, "node is not installed")
	}
	return path
}

// version returns the version of a module in the folder, "" if there is none.
func (b *bench) version(name string) string {
	raw, err := os.ReadFile(filepath.Join(b.job.Folder, modules, name, manifest))
	if errors.Is(err, os.ErrNotExist) {
		return ""
	}
	var m struct{ Version string }
	if err = errors.Join(err, json.Unmarshal(raw, &m)); err != nil {
		b.t.Fatal(err)
	}
	return m.Version
}

func TestNpm(t *testing.T) {
	x := installtest.NewRegistry(t,
		module{Name: "gk-leaf", Version: "1.0.0"},
		module{Name: "gk-leaf", Version: "1.1.0"},
		module{Name: "@gk/scoped", Version: "2.0.0", Dependencies: map[string]string{"gk-leaf": "^1.0.0"}},
		module{Name: "gk-broken", Version: "1.0.0", Broken: true},
		module{Name: "gk-half", Version: "1.0.0", Dependencies: map[string]string{"gk-broken": "*", "gk-leaf": "*"}},
	)
	b := newBench(t, "javascript", node(t), x.Env())
	if got := b.must("@gk/scoped@^2"); !slices.Equal(got, []string{"@gk/scoped"}) {
		t.Errorf("got %q changed", got)
	}
	if got := b.version("gk-leaf"); got != "1.1.0" {
		t.Errorf("got version %q of the dependency, want 1.1.0", got)
	}
	if last := b.reports[len(b.reports)-1]; last.done != 2 || last.total != 2 {
		t.Errorf("got last report %v, want 2 of 2 packages", last)
	}
	if n := len(b.reports); n < 3 {
		t.Errorf("got %d reports, want some for what is resolved and fetched", n)
	}
	// Another version, and what was there stays.
	b.must("gk-leaf@1.0.0")
	if leaf, scoped := b.version("gk-leaf"), b.version("@gk/scoped"); leaf != "1.0.0" || scoped != "2.0.0" {
		t.Errorf("got gk-leaf %s and @gk/scoped %s, want 1.0.0 and 2.0.0", leaf, scoped)
	}
	// peers D2, D3: npm it is, and what fails changes nothing.
	b.fails("gk-nowhere", "gk-nowhere")
	b.fails("npm did not install gk-leaf@9", "gk-leaf@9")
	b.fails("npm did not install gk-half", "gk-half")
	if got := b.version("gk-leaf"); got != "1.0.0" {
		t.Errorf("got version %q after failures, want 1.0.0", got)
	}
	x.Add(module{Name: "gk-broken", Version: "1.0.1"})
	b.must("gk-half")
	if got := b.version("gk-broken"); got != "1.0.1" {
		t.Errorf("got version %q, want the repaired one", got)
	}
}

func TestNpmThatHangsIsEnded(t *testing.T) {
	x := installtest.NewRegistry(t, module{Name: "gk-leaf", Version: "1.0.0"})
	x.Hang("gk-slow")
	b := newBench(t, "javascript", node(t), x.Env())
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	hangs := x.Waits("/gk-slow")
	go func() {
		<-hangs
		cancel()
	}()
	if _, err := b.installIn(ctx, "gk-leaf", "gk-slow"); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
	b.must("gk-leaf")
}

func TestNpmIsMissing(t *testing.T) {
	b := newBench(t, "javascript", "node", map[string]string{"PATH": t.TempDir()})
	b.fails("npm is not on the PATH", "gk-leaf")
}

// What was cut short between the renames is put right by the next installation.
func TestNpmCutShort(t *testing.T) {
	x := installtest.NewRegistry(t, module{Name: "gk-a", Version: "1.0.0"}, module{Name: "gk-b", Version: "1.0.0"})
	b := newBench(t, "javascript", node(t), x.Env())
	b.must("gk-a")
	staging := filepath.Join(filepath.Dir(b.job.Folder), ".javascript-staging")
	if err := errors.Join(os.Mkdir(staging, 0o700), os.Rename(filepath.Join(b.job.Folder, modules), filepath.Join(staging, "old"))); err != nil {
		t.Fatal(err)
	}
	b.must("gk-b")
	if a, bb := b.version("gk-a"), b.version("gk-b"); a != "1.0.0" || bb != "1.0.0" {
		t.Errorf("got versions %q and %q, want both packages", a, bb)
	}
	if got := b.tree(); slices.ContainsFunc(got, func(n string) bool { return strings.Contains(n, "staging") }) {
		t.Errorf("got %q", got)
	}
}
