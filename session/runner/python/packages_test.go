//go:build unix

package python_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gokernel/gokernel/session/runner/runnertest"
)

// A metadata is what a package says of itself.
type metadata struct {
	info     string // name of the folder, or of the file
	version  string
	requires []string
	files    map[string]string
}

// put writes packages into a folder as an installer does.
func put(t *testing.T, folder string, list ...metadata) {
	t.Helper()
	for _, m := range list {
		name := strings.SplitN(m.info, "-", 2)[0]
		text := fmt.Sprintf("Metadata-Version: 2.1\nName: %s\nVersion: %s\n", name, m.version)
		for _, r := range m.requires {
			text += "Requires-Dist: " + r + "\n"
		}
		files := map[string]string{filepath.Join(m.info, "METADATA"): text + "\nVersion: of the description\n"}
		if strings.HasSuffix(m.info, ".egg-info") {
			files = map[string]string{m.info: text}
		}
		for name, content := range m.files {
			files[name] = content
		}
		for name, content := range files {
			path := filepath.Join(folder, name)
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// missing asks which of packages are missing.
func missing(t *testing.T, r *runnertest.Runner, packages ...string) string {
	t.Helper()
	got := r.Ask("packages", map[string]any{"packages": packages})
	if got.Error != "" || got.Content["missing"] == nil {
		t.Fatalf("got %v %s, want an answer", got, got.Error)
	}
	return fmt.Sprint(got.Content["missing"])
}

// TestWhatIsMissing: what is satisfied is asked of what is there, each time.
func TestWhatIsMissing(t *testing.T) {
	each(t, func(t *testing.T, s shell) {
		folder := t.TempDir()
		put(t, folder,
			metadata{info: "Gk_Top-1.5.dist-info", version: "1.5", requires: []string{
				"gk.middle (>=2,<3)", "gk-never; python_version < '3'", "gk-more>=1; extra == 'more'", "gk-absent; extra == 'Absent'",
			}},
			metadata{info: "gk_middle-2.0.dist-info", version: "2.0", requires: []string{"gk-top>=1"}}, // a circle
			metadata{info: "gk_more-1.0rc1.dist-info", version: "1.0rc1"},
			metadata{info: "gk_old-0.9-py3.9.egg-info", version: "0.9"},
			metadata{info: "gk_lost-1.0.dist-info", version: "1.0", requires: []string{"gk-absent"}},
			metadata{info: "gk_odd-1.0.dist-info", version: "1.0", requires: []string{"this is no requirement"}},
			metadata{info: "gk_twice-1.0.dist-info", version: "1.0"}, metadata{info: "gk_twice-2.0.dist-info", version: "2.0"},
			metadata{info: "gk_url-1.0.dist-info", version: "1.0", files: map[string]string{
				"gk_url-1.0.dist-info/direct_url.json": `{"url": "https://example.com/gk_url.whl", "archive_info": {"hash": "sha256=ab"}}`,
			}},
			metadata{info: "gk_git-1.0.dist-info", version: "1.0", files: map[string]string{
				"gk_git-1.0.dist-info/direct_url.json": `{"url": "https://example.com/r.git", "subdirectory": "p", "vcs_info": {"vcs": "git", "requested_revision": "v1", "commit_id": "abc"}}`,
			}},
		)
		if err := os.Mkdir(filepath.Join(folder, "gk_empty-1.0.dist-info"), 0o755); err != nil {
			t.Fatal(err)
		}
		cmd := s.cmd
		cmd.Init = map[string]any{"packages": folder}
		r := runnertest.Start(t, cmd)
		for _, test := range []struct {
			spec  string
			there bool
		}{
			{"gk-top", true}, {"GK.TOP>=1,<2", true}, {"gk_top ~= 1.4", true}, {"gk-top==1.*", true}, {"gk-top>1.5", false}, {"gk-top!=1.5", false},
			{"gk-top[more]", false}, // 1.0rc1 is before 1
			{"gk-top[absent]", false}, {"gk-top[unknown]", true}, {"gk-middle", true}, {"gk-more", true}, {"gk-more>=1.0a1", true},
			{"gk-old<1", true}, {"gk-lost", false}, {"gk-odd", false}, {"gk-twice", false}, {"gk-empty", false}, {"gk-absent", false},
			{"gk-absent; sys_platform == 'plan9'", true}, {"gk-absent; os_name == 'posix'", false}, {"gk-absent; nonsense", false}, {"not a name", false}, {"", false},
			{"gk-url @ https://example.com/gk_url.whl", true}, {"gk-url @ https://example.com/gk_url.whl#sha256=ab", true},
			{"gk-url @ https://example.com/gk_url.whl#sha256=cd", false}, {"gk-url @ https://example.com/other.whl", false}, {"gk-top @ https://example.com/x", false},
			{"gk-git @ git+https://example.com/r.git@v1#subdirectory=p", true}, {"gk-git@git+https://example.com/r.git@abc#subdirectory=p", true},
			{"gk-git @ git+https://example.com/r.git@v2#subdirectory=p", false}, {"gk-git @ git+https://example.com/r.git#subdirectory=p", false},
			{"gk-git @ git+https://example.com/r.git@v1", false},
		} {
			want := "[]"
			if !test.there {
				want = "[" + test.spec + "]"
			}
			if got := missing(t, r, test.spec); got != want {
				t.Errorf("%q: got missing %s, want %s", test.spec, got, want)
			}
		}
		// peers D2: nothing is remembered, however soon something changes.
		for i := range 5 {
			info := filepath.Join(folder, "gk_now-1.0.dist-info")
			put(t, folder, metadata{info: "gk_now-1.0.dist-info", version: "1.0"})
			if got := missing(t, r, "gk-now"); got != "[]" {
				t.Errorf("round %d: got missing %s of what is there", i, got)
			}
			put(t, folder, metadata{info: "gk_now-1.0.dist-info", version: "1.1"})
			if got := missing(t, r, "gk-now==1.1"); got != "[]" {
				t.Errorf("round %d: got missing %s after its metadata has changed", i, got)
			}
			if err := os.RemoveAll(info); err != nil {
				t.Fatal(err)
			}
			if got := missing(t, r, "gk-now"); got != "[gk-now]" {
				t.Errorf("round %d: got missing %s of what is gone", i, got)
			}
		}
		if got := r.Ask("weather", map[string]any{}); !strings.Contains(got.Error, "only packages can be asked for") {
			t.Errorf("got %v %q, want an error", got, got.Error)
		}
		if got := r.Ask("packages", []byte("[")); got.Error != "" || fmt.Sprint(got.Content["missing"]) != "[]" {
			t.Errorf("got %v %q for no object", got, got.Error)
		}
		r.Must("1")
	})
}

// TestAfterAnInstallation: what was installed just now can be imported, and what was
// imported before is named.
func TestAfterAnInstallation(t *testing.T) {
	each(t, func(t *testing.T, s shell) {
		folder := t.TempDir()
		module := func(name, version string) metadata {
			info := name + "-" + version + ".dist-info"
			return metadata{info: info, version: version, requires: []string{"gk-absent"}, files: map[string]string{
				name + "/__init__.py": "", name + "/part.py": "", info + "/RECORD": name + "/__init__.py,,\n\"" + name + "/part.py\",sha256=x,0\n" + info + "/RECORD,,\n",
			}}
		}
		put(t, folder, module("gk_used", "1.0"))
		cmd := s.cmd
		cmd.Init = map[string]any{"packages": folder}
		r := runnertest.Start(t, cmd)
		r.Must("import gk_used.part\ntry: import gk_fresh\nexcept ImportError: pass")
		put(t, folder, module("gk_fresh", "1.0"))
		got := r.Ask("packages", map[string]any{"packages": []string{"gk-fresh", "gk-none"}, "changed": []string{"gk-fresh", "gk-used"}})
		if fmt.Sprint(got.Content["missing"], got.Content["imported"]) != "[gk-none] [gk-used]" {
			t.Errorf("got %v %s, want gk-none missing and gk-used imported", got.Content, got.Error)
		}
		r.Must("import gk_fresh")
	})
}

// TestAskWhileCodeWaits: code that waits for the user keeps no question waiting.
func TestAskWhileCodeWaits(t *testing.T) {
	each(t, func(t *testing.T, s shell) {
		r := runnertest.Start(t, s.cmd)
		id := r.BeginExecute("input('?')", options{"allow_stdin": true})
		asked := r.Until(func(m runnertest.Message) bool { return m.Type == "input_request" })
		if got := missing(t, r, "gk-absent"); got != "[gk-absent]" {
			t.Errorf("got %s", got)
		}
		r.Answer(asked[len(asked)-1], "x")
		if got := r.Finish(id).Value(); got != "'x'" {
			t.Errorf("got %s, want the answer", got)
		}
	})
}

// compare is code that compares with the package packaging, where pip has it, how
// versions compare and which markers hold.
const compare = `
def differences():
    try:
        from pip._vendor.packaging.requirements import Requirement as Theirs
    except ImportError:
        return 'no packaging'
    from gokernel_runner.requirement import Requirement as Ours
    numbers = ['1.0', '1.0.0', '1.1', '1.0.1', '1!0.5']
    ends = ['', 'a1', 'rc1', '.post1', '.dev1', 'a1.dev2', '.post1.dev3', 'rc1.post2']
    # Old releases of packaging do not fill up 1a1 to compare it with 1.0.*.
    versions = ['0', '1', '2', *(n + e for n in numbers for e in ends)]
    found = []
    for wanted in versions + ['1.*', '1.0.*', '1!0.*', '1.0+local', '1.0+local.2']:
        for op in ('==', '!=', '<', '<=', '>', '>=', '~=', '==='):
            if '*' in wanted or '+' in wanted:
                if op not in ('==', '!='): continue
            if op == '~=' and ('.' not in wanted.split('!')[-1].split('.post')[0].split('.dev')[0]): continue
            theirs, ours = Theirs('x' + op + wanted).specifier, Ours('x' + op + wanted)
            for version in versions + ['1.0+local', '1.0+local.2', '1.0+3']:
                if theirs.contains(version, prereleases=True) != ours.allows(version):
                    found.append((version, op, wanted))
    for marker in (
        "python_version >= '3.9'", "python_version < '3.10'", "python_full_version >= '3.10.0'", "os_name == 'nt' or sys_platform == 'linux'",
        "os_name == 'nt' and sys_platform == 'linux' or platform_machine != ''", "os_name == 'nt' and (sys_platform == 'linux' or platform_machine != '')",
        "'linux' in sys_platform", "sys_platform not in 'linux darwin'", "implementation_name == 'cpython'", "platform_python_implementation != 'PyPy'",
        "extra == 'a'", "extra == 'b' or extra == 'a'", "implementation_version >= '3.9'", "platform_system == 'Linux'", "'3.11' <= python_version",
    ):
        for extra in ('', 'a'):
            if Theirs('x;' + marker).marker.evaluate({'extra': extra}) != Ours('x;' + marker).applies(extra):
                found.append((marker, extra))
    return found
differences()`

func TestVersionsCompareAsInPackaging(t *testing.T) {
	compared := false
	for _, s := range shells(t) {
		if !s.plain {
			continue
		}
		t.Run(s.name, func(t *testing.T) {
			got := runnertest.Start(t, s.cmd).Must(compare).Value()
			switch got {
			case "[]":
				compared = true
			case "'no packaging'":
				t.Skip("pip is not installed")
			default:
				t.Errorf("got differences %s", got)
			}
		})
	}
	if !compared && !t.Failed() {
		if os.Getenv("CI") == "true" {
			t.Fatal("no Python here has pip")
		}
		t.Skip("no Python here has pip")
	}
}
