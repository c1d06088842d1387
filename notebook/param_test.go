package notebook

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestParameters(t *testing.T) {
	tests := []struct{ in, want string }{ // want is the line, or an error's part after "!"
		{"n=3", "n = 3"},
		{"n=-3", "n = -3"},
		{"n=123456789012345678901234567890", "n = 123456789012345678901234567890"},
		{"f=1.50", "f = 1.50"},
		{"f=1e-3", "f = 1e-3"},
		{"octal=007", `octal = "007"`},
		{"b=true", "b = True"},
		{"b=True", "b = True"},
		{"b=false", "b = False"},
		{"b=False", "b = False"},
		{"b=null", "b = None"},
		{"b=None", "b = None"},
		{"s=a=b", `s = "a=b"`},
		{"s=", `s = ""`},
		{`s="3"`, `s = "3"`},
		{"s=2024-05-01", `s = "2024-05-01"`},
		{"s=nan", `s = "nan"`},
		{`s=x"); import os; os.system("x`, `s = "x\"); import os; os.system(\"x"`},
		{"s=a\\\nb\r\t\x00\u2028\U000e0001é😀", `s = "a\\\nb\r\t\u0000\u2028\U000e0001é😀"`},
		{`l=[1, "a", null, [true]]`, `l = [1, "a", None, [True]]`},
		{`d={"b": 1.0, "a": {"x\ny": []}}`, `d = {"a": {"x\ny": []}, "b": 1.0}`},
		{"größe=1", "größe = 1"},
		{"_x1=1", "_x1 = 1"},
		{"x", "!expected name=value"},
		{"=1", "!not a name"},
		{"1x=1", "!not a name"},
		{"a.b=1", "!not a name"},
		{"a b=1", "!not a name"},
		{"x\nimport os=1", "!not a name"},
		{"class=1", "!not a name"},
		{"True=1", "!not a name"},
		{"x=\xff", "!not UTF-8"},
		{"x\xff=1", "!not a name"},
	}
	for _, tt := range tests {
		t.Run(tt.in, func(t *testing.T) {
			nb := New()
			p, err := ParseParameter(tt.in)
			if err == nil {
				err = Inject(nb, "python", []Parameter{p})
			}
			if part, wrong := strings.CutPrefix(tt.want, "!"); wrong {
				if err == nil || !strings.Contains(err.Error(), part) {
					t.Errorf("error = %v, want one with %q", err, part)
				}
				if len(nb.Cells) != 0 {
					t.Errorf("the notebook has changed: %+v", nb.Cells)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got, want := nb.Cells[0].Source, "# Parameters\n"+tt.want; got != want {
				t.Errorf("source = %q, want %q", got, want)
			}
		})
	}
}

func TestInjectTakesGoValues(t *testing.T) {
	nb := New()
	params := []Parameter{{"a", 1}, {"b", 1.5}, {"c", uint8(3)}, {"d", json.Number("7")}}
	if err := Inject(nb, "python", params); err != nil {
		t.Fatal(err)
	}
	if got, want := nb.Cells[0].Source, "# Parameters\na = 1\nb = 1.5\nc = 3\nd = 7"; got != want {
		t.Errorf("source = %q, want %q", got, want)
	}
	for _, v := range []any{struct{}{}, json.Number("x"), json.Number("1; import os"), func() {}} {
		if err := Inject(New(), "python", []Parameter{{"a", v}}); err == nil {
			t.Errorf("Inject of %T %v: no error", v, v)
		}
	}
}

func TestInjectPlace(t *testing.T) {
	params := []Parameter{{"x", 1}}
	nb := New()
	for _, tags := range [][]string{nil, {TagParameters}, nil} {
		c := nb.NewCell(Code, "old")
		if err := c.Metadata.Set("tags", tags); err != nil {
			t.Fatal(err)
		}
		nb.Cells = append(nb.Cells, c)
	}
	for range 2 { // the second time it is replaced
		if err := Inject(nb, "python", params); err != nil {
			t.Fatal(err)
		}
		if len(nb.Cells) != 4 || !nb.Cells[2].HasTag(TagInjected) {
			t.Fatalf("%d cells, tags of the third %v; want it injected", len(nb.Cells), nb.Cells[2].Tags())
		}
	}
	old := New()
	old.Minor = 4
	if err := Inject(old, "python", params); err != nil {
		t.Fatal(err)
	}
	if err := old.Validate(); err != nil {
		t.Errorf("a notebook without ids, injected: %v", err)
	}
	if err := Inject(New(), "r", params); err == nil {
		t.Error("Inject into a notebook in R: no error")
	}
}
