package kernelspec

import (
	"encoding/json"
	"os"
	"os/exec"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// jupyterPython returns a Python that has Jupyter's kernelspec command.
func jupyterPython(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"python3", "/usr/bin/python3"} {
		if exec.Command(name, "-m", "jupyter_client.kernelspecapp", "--version").Run() == nil {
			return name
		}
	}
	if os.Getenv("CI") != "" {
		t.Fatal("no Python with jupyter_client: the test set-up installs one")
	}
	t.Skip("no Python with jupyter_client")
	return ""
}

func TestJupyterSeesOurSpec(t *testing.T) {
	python := jupyterPython(t)
	isolate(t)
	dir, err := Install(testOptions(t))
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), python, "-m", "jupyter_client.kernelspecapp", "list", "--json").Output()
	if err != nil {
		t.Fatalf("list: %v", err)
	}
	var list struct {
		Kernelspecs map[string]struct {
			ResourceDir string `json:"resource_dir"`
			Spec        Spec   `json:"spec"`
		} `json:"kernelspecs"`
	}
	if err := json.Unmarshal(out, &list); err != nil {
		t.Fatalf("list said %q: %v", out, err)
	}
	theirs, ok := list.Kernelspecs[DefaultName]
	if !ok {
		t.Fatalf("Jupyter does not see our spec: got %s", out)
	}
	ours, err := Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	if theirs.ResourceDir != dir {
		t.Errorf("directory: got %q, want %q", theirs.ResourceDir, dir)
	}
	if diff := cmp.Diff(theirs.Spec.Argv, ours.Argv); diff != "" {
		t.Errorf("argv as Jupyter reads it (-got +want):\n%s", diff)
	}
	if got := theirs.Spec; got.InterruptMode != ours.InterruptMode || got.DisplayName != ours.DisplayName || string(got.Metadata["debugger"]) != "false" {
		t.Errorf("as Jupyter reads it: got %+v, want %+v", got, ours)
	}

	// The rest of what Jupyter finds, we find too.
	var prefix string
	text, err := exec.CommandContext(t.Context(), python, "-c", "import sys, json; print(json.dumps(sys.prefix))").Output()
	if err == nil {
		err = json.Unmarshal(text, &prefix)
	}
	if err != nil {
		t.Fatal(err)
	}
	for name, their := range list.Kernelspecs {
		found, err := Find(name, &Options{Prefixes: []string{prefix}})
		if err != nil {
			if their.Spec.Argv != nil && their.ResourceDir != "" && isInside(t, their.ResourceDir) {
				t.Errorf("%s: Jupyter finds it in %s, we do not: %v", name, their.ResourceDir, err)
			}
			continue
		}
		if found.Spec.DisplayName != their.Spec.DisplayName {
			t.Errorf("%s: got %q, want %q", name, found.Spec.DisplayName, their.Spec.DisplayName)
		}
	}
}

// isInside says whether dir is a directory of kernel specs: Jupyter makes one
// up for its own Python, with resources in the package.
func isInside(t *testing.T, dir string) bool {
	t.Helper()
	_, err := os.Stat(dir + "/kernel.json")
	return err == nil
}
