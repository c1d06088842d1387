package protocol

import (
	"bytes"
	"strings"
	"testing"
)

var uncleanTexts = []struct{ raw, want string }{
	{`NaN`, `null`},
	{`[NaN,Infinity,-Infinity,-1]`, `[null,null,null,-1]`},
	{`{"NaN":NaN, "a\"Infinity":[ -Infinity ]}`, `{"NaN":null, "a\"Infinity":[ null ]}`},
	{`{"x":"-Infinity NaN"}`, `{"x":"-Infinity NaN"}`},
	{`[-NaN]`, ``},
	{`[NaNNaN]`, ``},
	{`[1NaN]`, ``},
	{`[1-Infinity]`, ``},
	{`[nan]`, ``},
	{`["NaN`, ``},
	{`{NaN:1}`, ``},
	{`[NaN`, ``},
	{``, ``},
}

func TestCleanJSON(t *testing.T) {
	for _, tt := range uncleanTexts {
		got, err := CleanJSON([]byte(tt.raw))
		if tt.want == "" {
			if err == nil {
				t.Errorf("CleanJSON(%s) = %s, want an error", tt.raw, got)
			}
			continue
		}
		if err != nil || string(got) != tt.want {
			t.Errorf("CleanJSON(%s) = %s, %v, want %s", tt.raw, got, err, tt.want)
		}
	}
}

func TestCleanJSONDoesNotCopy(t *testing.T) {
	raw := []byte(`{"x":"` + strings.Repeat("y", 1000) + `"}`)
	got, err := CleanJSON(raw)
	if err != nil {
		t.Fatal(err)
	}
	if &got[0] != &raw[0] || len(got) != len(raw) {
		t.Error("valid JSON was copied, want it as it is")
	}
	if allocs := testing.AllocsPerRun(10, func() { _, _ = CleanJSON(raw) }); allocs != 0 {
		t.Errorf("%v allocations for valid JSON, want 0", allocs)
	}
}

func BenchmarkCleanJSON(b *testing.B) {
	valid := bytes.Join([][]byte{[]byte("["), bytes.Repeat([]byte("123.456,"), 1<<17), []byte("0]")}, nil)
	unclean := bytes.ReplaceAll(valid, []byte("123.456"), []byte("    NaN"))
	for name, raw := range map[string][]byte{"valid": valid, "NaN": unclean} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(raw)))
			for b.Loop() {
				if _, err := CleanJSON(raw); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
