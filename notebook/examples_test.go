package notebook

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestExamples checks the notebooks that the project shows: valid, in the form
// that gokernel writes, and stored without what running them leaves.
func TestExamples(t *testing.T) {
	paths, err := filepath.Glob("../examples/*.ipynb")
	if err != nil || len(paths) < 5 {
		t.Fatalf("%d examples (%v), want at least 5", len(paths), err)
	}
	for _, path := range paths {
		t.Run(filepath.Base(path), func(t *testing.T) {
			nb, err := ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if nb.Minor != Minor || nb.KernelName() != "python3" {
				t.Errorf("format 4.%d, kernel %q; want 4.%d, python3", nb.Minor, nb.KernelName(), Minor)
			}
			for i, c := range nb.Cells {
				if len(c.Outputs) > 0 || c.ExecutionCount != nil || c.Metadata["execution"] != nil {
					t.Errorf("cells[%d] has traces of a run", i)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			got, err := nb.Bytes()
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(got)); diff != "" {
				t.Errorf("not in the form that is written (-file +written):\n%s", diff)
			}
		})
	}
}
