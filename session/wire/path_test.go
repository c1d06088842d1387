package wire

import (
	"io/fs"
	"path"
	"strings"
	"testing"
)

func TestCleanPath(t *testing.T) {
	long := strings.Repeat("n", MaxName)
	tests := []struct {
		name string
		want string // "" when it is refused
		says string // part of why
	}{
		{"data.csv", "data.csv", ""},
		{"a/b/c.txt", "a/b/c.txt", ""},
		{"./a//b/./c", "a/b/c", ""},
		{"späße/🙂.txt", "späße/🙂.txt", ""},
		{"..data/x..", "..data/x..", ""},
		{"...", "...", ""},
		{`a\b`, `a\b`, ""},
		{long + "/" + long, long + "/" + long, ""},
		{"", "", "empty"},
		{".", "", "working directory itself"},
		{"./.", "", "working directory itself"},
		{"..", "", `".."`},
		{"../x", "", `".."`},
		{"a/../b", "", `".."`},
		{"a/..", "", `".."`},
		{"/etc/passwd", "", "absolute"},
		{"//x", "", "absolute"},
		{"dir/", "", "slash"},
		{"a\x00b", "", "NUL"},
		{"a\xffb", "", "UTF-8"},
		{long + "n", "", "255 bytes"},
		{strings.Repeat("a/", 2100) + "a", "", "4096 bytes"},
	}
	for _, test := range tests {
		got, err := CleanPath(test.name)
		switch {
		case test.want != "" && err != nil:
			t.Errorf("CleanPath(%.40q) = %v, want %.40q", test.name, err, test.want)
		case got != test.want:
			t.Errorf("CleanPath(%.40q) = %.40q, want %.40q", test.name, got, test.want)
		case test.want == "" && (err == nil || !strings.Contains(err.Error(), test.says)):
			t.Errorf("CleanPath(%.40q) = error %v, want one that says %q", test.name, err, test.says)
		}
	}
}

// What is accepted is a path that the io/fs package accepts, stays what it is
// and is what path.Clean makes of it.
func FuzzCleanPath(f *testing.F) {
	for _, seed := range []string{"a", "./a//b", "../x", "/", "a/", "a\x00", "\xff", "..", "a/../b", ".../x"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, name string) {
		got, err := CleanPath(name)
		if err != nil {
			if got != "" {
				t.Errorf("CleanPath(%q) = %q with error %v, want no path", name, got, err)
			}
			return
		}
		if !fs.ValidPath(got) || got == "." || got != path.Clean(name) {
			t.Errorf("CleanPath(%q) = %q, want a valid path", name, got)
		}
		if again, err := CleanPath(got); again != got || err != nil {
			t.Errorf("CleanPath(%q) = %q, %v, want it unchanged", got, again, err)
		}
	})
}
