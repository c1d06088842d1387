package notebook

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestFormatIsNbformats compares with files that Python's nbformat has written.
func TestFormatIsNbformats(t *testing.T) {
	inputs, err := filepath.Glob("testdata/format/*.in")
	if err != nil || len(inputs) == 0 {
		t.Fatalf("inputs: %d, %v", len(inputs), err)
	}
	for _, in := range inputs {
		t.Run(filepath.Base(in), func(t *testing.T) {
			golden := strings.TrimSuffix(in, ".in") + ".ipynb"
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			for _, path := range []string{in, golden} { // texts as strings and as lists
				nb, err := ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				got, err := nb.Bytes()
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(string(want), string(got)); diff != "" {
					t.Errorf("%s: written differently from nbformat (-nbformat +ours):\n%s", path, diff)
				}
			}
		})
	}
}

// TestValidityIsNbformats compares verdicts with those of nbformat's schemas.
func TestValidityIsNbformats(t *testing.T) {
	data, err := os.ReadFile("testdata/validity.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []struct {
		Name     string
		Notebook json.RawMessage
		Valid    bool
	}
	if err := json.Unmarshal(data, &cases); err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			nb, err := Read(c.Notebook)
			if (err == nil) != c.Valid {
				t.Errorf("Read error = %v; nbformat finds it valid: %v", err, c.Valid)
			}
			if nb == nil {
				return
			}
			data, err := nb.Bytes()
			if err != nil {
				t.Fatalf("Bytes: %v", err)
			}
			again, err := Read(data)
			if again == nil {
				t.Fatalf("reading back what was written: %v", err)
			}
			twice, err := again.Bytes()
			if err != nil || string(twice) != string(data) {
				t.Errorf("written twice differs (%v):\n%s", err, cmp.Diff(string(data), string(twice)))
			}
		})
	}
}

func TestReadErrorsNameThePlace(t *testing.T) {
	const head, tail = `{"nbformat":4,"nbformat_minor":5,"metadata":{},"cells":[`, `]}`
	const out = head + `{"cell_type":"code","id":"a","metadata":{},"source":"","execution_count":null,"outputs":[`
	tests := []struct{ name, in, want string }{
		{"output type", out + `{"output_type":"strem"}]}` + tail,
			`cells[0].outputs[0]: output_type "strem" is not known; expected stream, display_data, execute_result or error`},
		{"cell type", head + `{"cell_type":"heading","id":"a","metadata":{},"source":""}` + tail,
			`cells[0]: cell_type "heading" is not known; expected code, markdown or raw`},
		{"source", head + `{"cell_type":"raw","id":"a","metadata":{},"source":5}` + tail,
			`cells[0].source: expected a string or a list of strings, but got a number`},
		{"missing", out + `{"output_type":"stream","text":""}]}` + tail, `cells[0].outputs[0]: name is missing`},
		{"mime", out + `{"output_type":"display_data","metadata":{},"data":{"text/plain":1}}]}` + tail,
			`cells[0].outputs[0].data.text/plain: expected a string or a list of strings, but got a number`},
		{"tags", head + `{"cell_type":"raw","id":"a","metadata":{"tags":"x"},"source":""}` + tail,
			`cells[0].metadata.tags: expected a list of different strings without commas, but got "x"`},
		{"same id", head + `{"cell_type":"raw","id":"a","metadata":{},"source":""},{"cell_type":"raw","id":"a","metadata":{},"source":""}` + tail,
			`cells[1]: id "a" is also that of cells[0]`},
		{"no id", head + `{"cell_type":"raw","metadata":{},"source":""}` + tail, `cells[0]: id is missing`},
		{"count", strings.Replace(out, "null", "-1", 1) + `]}` + tail,
			`cells[0].execution_count: expected a whole number from 0 or null, but got -1`},
		{"cell", head + `5` + tail, `cells[0]: expected an object, but got a number`},
		{"no cells", `{"nbformat":4,"nbformat_minor":5,"metadata":{}}`, `cells is missing`},
		{"cells", `{"nbformat":4,"nbformat_minor":5,"metadata":{},"cells":{}}`, `cells: expected a list, but got an object`},
		{"version 3", `{"nbformat":3,"nbformat_minor":0,"metadata":{},"worksheets":[]}`, `unsupported notebook format 3: gokernel reads version 4`},
		{"version 5", `{"nbformat":5,"nbformat_minor":0,"metadata":{},"cells":[]}`, `unsupported notebook format 5`},
		{"no version", `{"cells":[]}`, `nbformat is missing, so this is no notebook`},
		{"minor", `{"nbformat":4,"nbformat_minor":"5","cells":[]}`, `nbformat_minor: expected a whole number, but got "5"`},
		{"no minor", `{"nbformat":4,"cells":[]}`, `nbformat_minor is missing`},
		{"syntax", "{\n \"cells\": [}", `line 2, column 12: expected a value`},
		{"ends", "{\n \"cells\": [", `line 2, column 12: the text ends where a value is expected`},
		{"conflict markers", "<<<<<<< HEAD\n{}", `line 1, column 1: expected an object`},
		{"empty", "", `line 1, column 1: the text ends where an object is expected`},
		{"NaN", `{"nbformat":4,"nbformat_minor":5,"metadata":{"x":NaN},"cells":[]}`, `line 1, column 50: expected a value`},
		{"not UTF-8", "{\"a\": \"\xff\"}", `byte 7 is not UTF-8`},
		{"two values", `{"nbformat":4,"nbformat_minor":5,"metadata":{},"cells":[]} x`, `expected the end`},
		{"deep", `{"nbformat":4,"nbformat_minor":5,"cells":[],"metadata":{"x":` + strings.Repeat("[", 2000), `levels of nesting`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Read([]byte(tt.in))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Read error = %v, want one with %q", err, tt.want)
			}
		})
	}
}

func TestInvalidNotebookIsKept(t *testing.T) {
	in := `{"cells":[{"cell_type":"code","id":"a b","metadata":null,"mine":{"b":1,"a":[]},"outputs":[` +
		`{"output_type":"new","text":["x"],"z":1.0}],"source":"x","execution_count":"3"}],"nbformat":4,"nbformat_minor":5,"metadata":{}}`
	nb, err := Read([]byte(in))
	var invalid *InvalidError
	if !errors.As(err, &invalid) || nb == nil {
		t.Fatalf("Read = %v, %v, want a notebook and an InvalidError", nb, err)
	}
	got, err := nb.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	want := `{"cells":[{"cell_type":"code","execution_count":"3","id":"a b","metadata":null,"mine":{"b":1,"a":[]},"outputs":[` +
		`{"output_type":"new","text":["x"],"z":1.0}],"source":"x"}],"metadata":{},"nbformat":4,"nbformat_minor":5}`
	if string(got) != want {
		t.Errorf("MarshalJSON = %s\nwant %s", got, want)
	}
	if err := nb.Validate(); !errors.As(err, &invalid) {
		t.Errorf("Validate = %v, want an InvalidError", err)
	}
}

func TestWriteFile(t *testing.T) {
	dir := t.TempDir()
	path, link := filepath.Join(dir, "a.ipynb"), filepath.Join(dir, "link.ipynb")
	nb := New()
	nb.Cells = append(nb.Cells, nb.NewCell(Code, "1 < 2"))
	if err := WriteFile(path, nb); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(path, link); err != nil {
		t.Skipf("no symbolic links here: %v", err)
	}
	nb.Cells[0].Source = "3"
	if err := WriteFile(link, nb); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode().Perm(); got != 0o640 {
		t.Errorf("mode = %v, want 0640", got)
	}
	read, err := ReadFile(path)
	if err != nil || read.Cells[0].Source != "3" {
		t.Errorf("ReadFile = %+v, %v, want the second version", read, err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 2 {
		t.Errorf("directory has %v (%v), want the file and the link only", entries, err)
	}
	if err := WriteFile(filepath.Join(dir, "none", "a.ipynb"), nb); err == nil {
		t.Error("WriteFile into a missing directory: no error")
	}
	if err := WriteFile(dir, nb); err == nil {
		t.Error("WriteFile over a directory: no error")
	}
}

func TestInvalidRawIsRefusedByWriter(t *testing.T) {
	nb := New()
	nb.Metadata["x"] = json.RawMessage(`{"a":`)
	if _, err := nb.Bytes(); err == nil {
		t.Error("Bytes with invalid metadata: no error")
	}
	if _, err := nb.MarshalJSON(); err == nil {
		t.Error("MarshalJSON with invalid metadata: no error")
	}
}

func FuzzRead(f *testing.F) {
	for _, pattern := range []string{"testdata/format/*.in", "testdata/format/*.ipynb"} {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, path := range paths {
			data, err := os.ReadFile(path)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
		}
	}
	f.Add([]byte(`{"nbformat":4,"nbformat_minor":5,"cells":[{"id":5,"source":[1],"outputs":[{"a":"\ud800"}]}],"metadata":[]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		nb, _ := Read(data)
		if nb == nil {
			return
		}
		first, err := nb.Bytes()
		if err != nil {
			t.Fatalf("Bytes: %v", err)
		}
		again, err := Read(first)
		if again == nil {
			t.Fatalf("cannot read what was written: %v\n%s", err, first)
		}
		second, err := again.Bytes()
		if err != nil || string(first) != string(second) {
			t.Fatalf("written twice differs (%v):\n%s\n%s", err, first, second)
		}
		compact, err := nb.MarshalJSON()
		if err != nil || !json.Valid(compact) {
			t.Fatalf("MarshalJSON: %v, %s", err, compact)
		}
	})
}

// large returns a notebook of about 5 MB with text, tables and images.
func large(b *testing.B) []byte {
	b.Helper()
	nb := New()
	one := 1
	for range 500 {
		c := nb.NewCell(Code, strings.Repeat("x = frame.groupby('a').sum()  # a line\n", 10))
		c.ExecutionCount = &one
		out := &Output{Type: DisplayOutput, Data: map[string]json.RawMessage{}, Metadata: Object{}}
		out.Data["image/png"] = json.RawMessage(`"` + strings.Repeat("iVBORw0KGgo", 400) + `"`)
		out.Data["text/html"] = json.RawMessage(`"` + strings.Repeat(`<tr>\n<td class=\"x\">5</td></tr>\n`, 60) + `"`)
		c.Outputs = []*Output{out, {Type: StreamOutput, Name: "stdout", Text: strings.Repeat("line of text\n", 150)}}
		nb.Cells = append(nb.Cells, c)
	}
	data, err := nb.Bytes()
	if err != nil {
		b.Fatal(err)
	}
	return data
}

func BenchmarkRead(b *testing.B) {
	data := large(b)
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		if _, err := Read(data); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkWrite(b *testing.B) {
	data := large(b)
	nb, err := Read(data)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		if _, err := nb.Bytes(); err != nil {
			b.Fatal(err)
		}
	}
}
