package install

import (
	"fmt"
	"strings"
	"testing"
)

// read gives text to a reader as it would come from a pipe, cut anywhere.
func read(r reader, text string, at int) (reports []string, tail string) {
	out := newOutput(r, func(message string, done, total int64, unit string) {
		reports = append(reports, fmt.Sprintf("%s %d/%d %s", message, done, total, unit))
	})
	for len(text) > 0 {
		n := min(at, len(text))
		out.write([]byte(text[:n]))
		text = text[n:]
	}
	out.end()
	return reports, out.text()
}

func TestReaders(t *testing.T) {
	for _, test := range []struct {
		name   string
		reader func() reader
		text   string
		want   []string
		kept   string // in the tail
		gone   string // not in the tail
	}{
		{
			name: "pip resolves", reader: func() reader { return &pipReader{} },
			text: "Looking in indexes: http://user:secret@127.0.0.1:1/simple/\nCollecting gk-top>=1\n  Downloading http://127.0.0.1:1/files/gk_top-1.0-py3-none-any.whl (1.2 kB)\n" +
				"Requirement already satisfied: numpy in /usr/lib/python3 (from gk-top>=1)\nCollecting gk.bottom (from gk-top>=1)\n  Using cached gk_bottom-3.0-py3-none-any.whl.metadata (456 bytes)\nWould install gk-bottom-3.0 gk-top-1.0\n",
			want: []string{
				"resolving gk-top 1/0 packages", "resolving gk-top (1.2 kB) 1/0 packages",
				"resolving gk.bottom 2/0 packages", "resolving gk.bottom (456 bytes) 2/0 packages",
			},
			kept: "Looking in indexes: http://***@127.0.0.1", gone: "secret",
		},
		{
			name: "pip fetches", reader: func() reader { return &pipReader{total: 2} },
			text: "Collecting gk-a==1.0\n  Downloading http://127.0.0.1:1/files/gk_a-1.0-py3-none-any.whl (2.0 MB)\nProgress 0 of 2000000\nProgress 1500000 of 2000000\r\nProgress 2000000 of 2000000\n" +
				"Collecting gk-b==2.0\n  Building wheel for gk-b (pyproject.toml): started\nInstalling collected packages: gk-b, gk-a\nSuccessfully installed gk-a-1.0 gk-b-2.0\n",
			want: []string{
				"fetching gk-a 0/2 packages", "fetching gk-a (2.0 MB) 0/2 packages", "fetching gk-a (0 B of 2.0 MB) 0/2 packages",
				"fetching gk-a (1.5 MB of 2.0 MB) 0/2 packages", "fetching gk-a (2.0 MB of 2.0 MB) 0/2 packages",
				"fetching gk-b 1/2 packages", "building gk-b 1/2 packages",
				"installing 2 packages 2/2 packages", "installed 2 packages 2/2 packages",
			},
			kept: "Successfully installed", gone: "Progress",
		},
		{
			// As in uv's documentation, and with the lines for large files.
			name: "uv", reader: func() reader { return &uvReader{} },
			text: "Using CPython 3.12.1 interpreter at: /usr/bin/python3\nResolved 3 packages in 112ms\nDownloading numpy (15.8MiB)\n Downloaded numpy\nDownloading gk-b (2.0MiB)\n   Building gk-c @ https://example.com/c\n" +
				"Prepared 2 packages in 1.50s\nInstalled 3 packages in 14ms\n + gk-b==1.0\n + gk-c==1.0 (from https://example.com/c)\n + numpy==2.1.0\n",
			want: []string{
				"resolved 3 packages 0/3 packages", "fetching numpy (15.8MiB) 0/3 packages", "fetched numpy 1/3 packages",
				"fetching gk-b (2.0MiB) 1/3 packages", "building gk-c 1/3 packages",
				"installing 3 packages 3/3 packages", "installed 3 packages 3/3 packages",
			},
			kept: "+ numpy==2.1.0",
		},
		{
			name: "uv finds no version", reader: func() reader { return &uvReader{} },
			text: "\x1b[31m  × \x1b[0mNo solution found when resolving dependencies:\n  ╰─▶ Because gk-a was not found in the package registry and you require gk-a, we can conclude that your requirements are unsatisfiable.\n",
			kept: "  × No solution found", gone: "\x1b",
		},
		{
			name: "npm", reader: func() reader { return &npmReader{} },
			text: "npm http fetch GET 200 http://127.0.0.1:1/@gk%2fscoped 34ms (cache miss)\nnpm http fetch GET 200 http://127.0.0.1:1/gk-leaf 5ms (cache miss)\nnpm http fetch GET 200 http://127.0.0.1:1/gk-leaf/-/gk-leaf-1.1.0.tgz 5ms (cache miss)\n" +
				"npm http fetch GET 404 http://127.0.0.1:1/x 5ms\n\nadded 2 packages, changed 1 package in 501ms\n",
			want: []string{
				"resolving, 1 package so far 1/0 packages", "resolving, 2 packages so far 2/0 packages",
				"fetched 1 package 2/0 packages", "installed 3 packages 3/3 packages",
			},
			kept: "GET 404", gone: "GET 200",
		},
		{name: "one word without an end", reader: func() reader { return &pipReader{} }, text: "Collecting", want: []string{"resolving a package 1/0 packages"}, kept: "Collecting"},
		{name: "a total that shrinks", reader: func() reader { return &uvReader{} }, text: "Resolved 2 packages in 1s\n Downloaded a\nResolved 9 packages in 1s\n", want: []string{
			"resolved 2 packages 0/2 packages", "fetched a 1/2 packages", "resolved 9 packages 1/2 packages",
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, at := range []int{1, 7, 1 << 20} {
				reports, tail := read(test.reader(), test.text, at)
				if strings.Join(reports, "\n") != strings.Join(test.want, "\n") {
					t.Errorf("in pieces of %d: got reports\n%s\nwant\n%s", at, strings.Join(reports, "\n"), strings.Join(test.want, "\n"))
				}
				if !strings.Contains(tail, test.kept) || test.gone != "" && strings.Contains(tail, test.gone) {
					t.Errorf("in pieces of %d: got tail %q, want %q in it and not %q", at, tail, test.kept, test.gone)
				}
			}
		})
	}
}

func TestTailIsBounded(t *testing.T) {
	_, tail := read(&pipReader{}, strings.Repeat("x", 100<<10)+"\n"+strings.Repeat("a line of an error\n", 10_000)+"the end\n", 1<<10)
	if len(tail) > maxTail+maxLine+10 || !strings.HasSuffix(tail, "the end") || !strings.HasPrefix(tail, "...\n") {
		t.Errorf("got %d bytes that end with %q, want the last %d", len(tail), tail[len(tail)-20:], maxTail)
	}
}

// FuzzReaders: whatever an installer writes, reports do not go back, parts are not
// more than the whole, and what is kept is bounded text.
func FuzzReaders(f *testing.F) {
	f.Add("Collecting x\nProgress 1 of 2\nSuccessfully installed x-1\n", 3)
	f.Add("Resolved 3 packages in 1s\n Downloaded x\nInstalled 1 package in 1s\n", 100)
	f.Add("npm http fetch GET 200 http://x/y.tgz 1ms\nadded 999999999 packages in 1s\n", 1)
	f.Add("\x1b]0;title\x07\x00\xff//a:b@c", 2)
	f.Fuzz(func(t *testing.T, text string, at int) {
		if at < 1 || at > 1<<20 {
			return
		}
		for _, r := range []reader{&pipReader{}, &pipReader{total: 3}, &uvReader{}, &npmReader{}} {
			part := 0.0
			out := newOutput(r, func(message string, done, total int64, unit string) {
				if done < 0 || total < 0 || total > 0 && (done > total || float64(done)/float64(total) < part-1e-9) || len(message) > maxLine {
					t.Errorf("%s: got %q %d/%d after %f", r.tool(), message, done, total, part)
				}
				if total > 0 {
					part = float64(done) / float64(total)
				}
			})
			for rest := text; len(rest) > 0; {
				n := min(at, len(rest))
				out.write([]byte(rest[:n]))
				rest = rest[n:]
			}
			out.end()
			if tail := out.text(); strings.ContainsAny(tail, "\x00\x1b\x07") || len(tail) > maxTail+4*maxLine {
				t.Errorf("%s: got tail %q", r.tool(), tail)
			}
		}
	})
}

// FuzzRecorded: a list of files never names anything but clean relative paths that
// a root takes or refuses.
func FuzzRecorded(f *testing.F) {
	f.Add("a/b.py,sha256=x,1\n../../bin/x,,\n\"a,b.py\",,\n")
	f.Fuzz(func(t *testing.T, record string) {
		for _, name := range recorded(record) {
			if name == "" {
				t.Errorf("%q has an empty name", record)
			}
		}
	})
}

func TestPins(t *testing.T) {
	w := &work{Job: &Job{Packages: []string{"Gk.Direct[x] @ https://example.com/d.whl", "gk-a>1"}}}
	got, err := w.pins([]byte(`{"install": [
		{"is_direct": false, "metadata": {"name": "gk-a", "version": "1.0+cpu"}},
		{"is_direct": true, "metadata": {"name": "gk_direct", "version": "2"}},
		{"is_direct": true, "metadata": {"name": "gk-dep", "version": "2"}, "download_info": {"url": "https://example.com/dep.git", "subdirectory": "s", "vcs_info": {"vcs": "git", "commit_id": "abc"}}}
	]}`))
	want := "gk-a==1.0+cpu|Gk.Direct[x] @ https://example.com/d.whl|gk-dep @ git+https://example.com/dep.git@abc#subdirectory=s"
	if err != nil || strings.Join(got, "|") != want {
		t.Errorf("got %q, %v, want %s", got, err, want)
	}
	for _, bad := range []string{
		`{`, `{"install": [{"metadata": {"name": "-x", "version": "1"}}]}`, `{"install": [{"metadata": {"name": "x", "version": "1 --y"}}]}`,
		`{"install": [{"is_direct": true, "metadata": {"name": "x", "version": "1"}, "download_info": {"url": "file:///etc"}}]}`,
	} {
		if got, err := w.pins([]byte(bad)); err == nil {
			t.Errorf("%s: got %q, want an error", bad, got)
		}
	}
}
