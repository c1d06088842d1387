//go:build unix

package agent

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/gokernel/gokernel/session/agent/files"
	"github.com/gokernel/gokernel/session/wire"
)

// announce returns what a run says of a file.
func announce(path, content string) wire.Manifest {
	sum := files.SumBytes([]byte(content))
	return wire.Manifest{Path: path, Size: sum.Size, SHA256: sum.SHA256}
}

// need waits until a run asks for files and returns which.
func (p *peer) need(run string) []int {
	p.t.Helper()
	p.until(run + " need")
	var n wire.Need
	p.content(&n)
	return n.Files
}

// offer waits until a run offers its downloads and returns them.
func (p *peer) offer(run string) []wire.Offered {
	p.t.Helper()
	p.until(run + " offer")
	var o wire.Offer
	p.content(&o)
	return o.Files
}

// content decodes the content of the frame that until has come to.
func (p *peer) content(v any) {
	p.t.Helper()
	f := p.seen[p.next-1]
	if err := json.Unmarshal(f.Content, v); err != nil || f.Kind != wire.KindTransfer || f.Owner != p.owner {
		p.t.Fatalf("got a frame of kind %s for %s: %v", f.Kind, f.Owner, err)
	}
}

// fails waits until a run has ended with an error of this name and returns what
// that says.
func (p *peer) fails(run, ename string) string {
	p.t.Helper()
	p.until(run + " status idle")
	f := p.frame(run + " execute_reply error " + ename)
	var c struct {
		EValue string `json:"evalue"`
	}
	if err := json.Unmarshal(f.Content, &c); err != nil {
		p.t.Fatal(err)
	}
	return c.EValue
}

// sent runs a run with one file and returns whether it was asked for that.
func (p *peer) sent(run string, c *carrier, spec wire.Run, content string) bool {
	p.t.Helper()
	p.run(run, spec, "print done")
	asked := false
	for _, l := range p.until2(run+" need", run+" status idle") {
		asked = asked || l == run+" need"
	}
	if asked {
		wantEnd(p.t, "put for "+run, c.put(wire.Transfer{Run: run}, content), content)
		p.until(run + " status idle")
	}
	p.frame(run + " execute_reply ok")
	return asked
}

// until2 is until for the first of two lines.
func (p *peer) until2(one, other string) []string {
	p.t.Helper()
	for i := p.next; ; i++ {
		for i >= len(p.log) {
			if err := p.read(); err != nil {
				p.t.Fatalf("waiting for %q or %q: %v", one, other, err)
			}
		}
		if p.log[i] == one || p.log[i] == other {
			return p.until(p.log[i])
		}
	}
}

// peers D1: content that the session has is not sent again, changed content
// always is, also when the code has changed it, and the same name in another
// working directory is another file.
func TestUploadGoesByContent(t *testing.T) {
	dir := t.TempDir()
	h := hold(t, t.TempDir(), in(dir))
	c := h.carry()
	for i, step := range []struct {
		what    string
		cwd     string
		content string
		change  func()
		asked   bool
		file    string
	}{
		{"the first time", "", "one", nil, true, "data.csv"},
		{"the same again", "", "one", nil, false, "data.csv"},
		{"changed, as long", "", "two", nil, true, "data.csv"},
		{"back again", "", "one", nil, true, "data.csv"},
		{"in another directory", "sub", "one", nil, true, "sub/data.csv"},
		{"there again", "sub", "one", nil, false, "sub/data.csv"},
		{"there again, by its absolute path", dir + "/sub", "one", nil, false, "sub/data.csv"},
		{"changed by the code", "", "one", func() { _ = os.WriteFile(dir+"/data.csv", []byte("bad"), 0o644) }, true, "data.csv"},
		{"removed by the code", "", "one", func() { _ = os.Remove(dir + "/data.csv") }, true, "data.csv"},
		{"empty", "", "", nil, true, "data.csv"},
		{"empty again", "", "", nil, false, "data.csv"},
	} {
		if step.change != nil {
			step.change()
		}
		run := fmt.Sprintf("run-%d", i)
		p := h.attach(run, run, wire.Cursor{})
		spec := wire.Run{Manifest: []wire.Manifest{announce("data.csv", step.content)}, Cwd: step.cwd}
		if asked := p.sent(run, c, spec, step.content); asked != step.asked {
			t.Errorf("%s: asked for the file %v, want %v", step.what, asked, step.asked)
		}
		if got := text(t, dir+"/"+step.file); got != step.content {
			t.Errorf("%s: the file has %q, want %q", step.what, got, step.content)
		}
	}
}

// Only what is lacking is asked for, once; the bytes of that, and no others, are
// counted (peers D21: bytes, not characters); the code runs when all is there.
func TestUploadCountsWhatIsSent(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/there", []byte("there already"), 0o600); err != nil {
		t.Fatal(err)
	}
	h := hold(t, t.TempDir(), in(dir))
	p := h.attach("f", "run-1", wire.Cursor{})
	large := strings.Repeat("ü🙂", 500_000) // 3 MB
	there := announce("there", "there already")
	there.Mode = 0o755
	small := announce("deep/er/small", "ü")
	small.Mode = 0o400
	p.run("run-1", wire.Run{
		Files: map[string]wire.Inline{"inline": wire.Inline("über"), "./there": wire.Inline("there already")},
		Manifest: []wire.Manifest{
			there, announce("large", large), small, announce("./large", large), announce("inline", "über"),
		},
	}, "wait "+dir+"/deep/er/small", "print done")
	need := p.need("run-1")
	if got := fmt.Sprint(need); got != "[1 2 4]" && got != "[1 2]" {
		t.Fatalf("asked for %v, want what is lacking, each once", got)
	}
	one, two := h.carry(), h.carry()
	one.say(wire.Transfer{Type: wire.TypePut, Run: "run-1", Index: 1})
	one.data(large[:1000])
	wantEnd(t, "put of the small one", two.put(wire.Transfer{Run: "run-1", Index: 2}, "ü"), "ü")
	for _, i := range need[2:] {
		wantEnd(t, "put of the inline one", two.put(wire.Transfer{Run: "run-1", Index: i}, "über"), "über")
	}
	if _, err := os.Stat(dir + "/large"); err == nil {
		t.Error("the large file is there before it has come")
	}
	_ = one.conn.Close() // broken: it comes again, from its beginning
	wantEnd(t, "put of the large one", two.put(wire.Transfer{Run: "run-1", Index: 1}, large), large)
	p.until("run-1 status idle")
	p.frame("run-1 execute_reply ok")
	for name, want := range map[string]string{"large": large, "deep/er/small": "ü", "inline": "über", "there": "there already"} {
		if got := text(t, dir+"/"+name); got != want {
			t.Errorf("%s has %d bytes, want %d", name, len(got), len(want))
		}
	}
	for name, want := range map[string]os.FileMode{"there": 0o755, "deep/er/small": 0o400, "large": 0o644} {
		if info, err := os.Stat(dir + "/" + name); err != nil || info.Mode() != want {
			t.Errorf("%s has mode %v, %v, want %v", name, info.Mode(), err, want)
		}
	}
	total := int64(len(large) + len("ü") + len("über")*(len(need)-1))
	for last := int64(0); len(p.reports) > 0; p.reports = p.reports[1:] {
		var r wire.Progress
		if err := json.Unmarshal(p.reports[0].Content, &r); err != nil {
			t.Fatal(err)
		}
		if r.Stage != wire.StageUploading || r.Total == nil {
			continue
		}
		if r.Unit != "bytes" || *r.Total != total || *r.Done < last || *r.Done > total {
			t.Errorf("reported %s, want bytes of %d and never less than before, %d", p.reports[0].Content, total, last)
		}
		last = *r.Done
	}
	if stage := p.result("run-1 execute_reply ok").Timing.Stages[wire.StageUploading]; stage <= 0 {
		t.Errorf("uploading took %v, want some time", stage)
	}

	// An answer that is lost makes its front send a file again.
	wantEnd(t, "put once more", two.put(wire.Transfer{Run: "run-1", Index: 2}, "ü"), "ü")
	wantError(t, "put of something else", two.put(wire.Transfer{Run: "run-1", Index: 2}, "x"), wire.CodeFailed, "not what was announced")
	if got := text(t, dir+"/deep/er/small"); got != "ü" {
		t.Errorf("the small file has %q afterwards, want it as it was", got)
	}
}

// What goes wrong with a file fails the run in the stage uploading, before its
// code runs, and says which file and why.
func TestUploadFails(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(dir+"/dir", 0o755); err != nil {
		t.Fatal(err)
	}
	h := hold(t, t.TempDir(), in(dir))
	put := func(content string) func(*peer, *carrier, string) {
		return func(p *peer, c *carrier, run string) {
			p.need(run)
			if end := c.put(wire.Transfer{Run: run}, content); end.Error == "" {
				t.Errorf("%s: the put has worked, want it refused", run)
			}
		}
	}
	for what, test := range map[string]struct {
		spec wire.Run
		do   func(*peer, *carrier, string)
		says []string
	}{
		"changed meanwhile": {
			wire.Run{Manifest: []wire.Manifest{announce("a", "old")}}, put("new"), []string{"writing a", "not what was announced"},
		},
		"shorter meanwhile": {
			wire.Run{Manifest: []wire.Manifest{announce("a", "old content")}}, put("old"), []string{"writing a", "not what was announced"},
		},
		"longer meanwhile": {
			wire.Run{Manifest: []wire.Manifest{announce("a", "old")}}, put("old content"), []string{"writing a", "larger than 3 bytes"},
		},
		"not readable there": {
			wire.Run{Manifest: []wire.Manifest{announce("a", "old")}},
			func(p *peer, c *carrier, run string) {
				p.need(run)
				c.say(wire.Transfer{Type: wire.TypePut, Run: run})
				c.data("o")
				c.say(wire.End{Type: wire.TypeEnd, Error: "input/output error"})
				c.ended("an error of the front")
			},
			[]string{"input/output error"},
		},
		"a directory is there": {
			wire.Run{Manifest: []wire.Manifest{announce("dir", "old")}}, put("old"), []string{"writing dir", "directory"},
		},
		"a file is in the way": {
			wire.Run{Files: map[string]wire.Inline{"f": nil, "f/g": nil}}, nil, []string{"writing f/g", "no directory"},
		},
		"outside":       {wire.Run{Files: map[string]wire.Inline{"../x": nil}}, nil, []string{`"../x"`, `".."`}},
		"outside, sent": {wire.Run{Manifest: []wire.Manifest{announce("/x", "")}}, nil, []string{`"/x"`, "absolute"}},
		"twice, differently": {
			wire.Run{Files: map[string]wire.Inline{"b": nil}, Manifest: []wire.Manifest{announce("./b", "x")}}, nil, []string{`"b"`, "named twice"},
		},
		"no size": {wire.Run{Manifest: []wire.Manifest{{Path: "b", Size: -1, SHA256: strings.Repeat("a", 64)}}}, nil, []string{`"b"`, "size"}},
		"no hash": {wire.Run{Manifest: []wire.Manifest{{Path: "b", SHA256: strings.Repeat("A", 64)}}}, nil, []string{`"b"`, "SHA-256"}},
	} {
		run := "run " + what
		p := h.attach(run, run, wire.Cursor{})
		c := h.carry()
		p.run(run, test.spec, "touch "+dir+"/ran")
		if test.do != nil {
			test.do(p, c, run)
		}
		got := p.fails(run, "UploadError")
		for _, says := range test.says {
			if !strings.Contains(got, says) {
				t.Errorf("%s: got %q, want that it says %q", what, got, says)
			}
		}
		if failed := p.result(run + " execute_reply error UploadError").Timing.Failed; failed != wire.StageUploading {
			t.Errorf("%s: the run has failed in stage %q, want uploading", what, failed)
		}
	}
	if got := names(t, dir); got != "dir f" {
		t.Errorf("there is %s, want no file that has not come and no trace of the code", got)
	}
}

// A caller that is gone does not keep the others waiting.
func TestUploadWithoutCaller(t *testing.T) {
	h := hold(t, t.TempDir(), nil)
	k := h.attach("k", wire.KernelOwner, wire.Cursor{})
	p := h.attach("f", "run-1", wire.Cursor{})
	p.run("run-1", wire.Run{Manifest: []wire.Manifest{announce("a", "x")}}, "print 1")
	p.need("run-1")
	p.drop()
	k.execute("r2", "print 2")
	k.until("r2 execute_reply ok")
	again := h.attach("f", "run-1", p.last)
	if got := again.fails("run-1", "UploadError"); !strings.Contains(got, "is gone") {
		t.Errorf("got %q, want that its caller is gone", got)
	}
}

// An interrupt ends the stage, with what is just being put.
func TestInterruptUpload(t *testing.T) {
	dir := t.TempDir()
	h := hold(t, t.TempDir(), in(dir))
	p := h.attach("f", "run-1", wire.Cursor{})
	p.run("run-1", wire.Run{Manifest: []wire.Manifest{announce("a", "content")}}, "touch "+dir+"/ran")
	p.need("run-1")
	c := h.carry()
	c.say(wire.Transfer{Type: wire.TypePut, Run: "run-1"})
	c.data("con")
	eventually(t, "the part", func() bool { return strings.Contains(names(t, dir), ".part") })
	if _, err := h.call("f", "run-1", wire.CallInterrupt, wire.InterruptArgs{Owner: "run-1"}); err != nil {
		t.Fatal(err)
	}
	p.until("run-1 execute_reply error KeyboardInterrupt")
	if got := names(t, dir); got != "" {
		t.Errorf("there is %s, want nothing", got)
	}
	c.ended("the stage's end")
	wantError(t, "put after it", h.carry().put(wire.Transfer{Run: "run-1"}, "content"), wire.CodeBad, "any more")
}

// peers D18: a file that cannot be had does not spoil the others.
func TestDownload(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(dir+"/dir", 0o755); err != nil {
		t.Fatal(err)
	}
	large := strings.Repeat("ü🙂", 500_000)
	for name, text := range map[string]string{"large": large, "empty": "", "goes": "x"} {
		if err := os.WriteFile(dir+"/"+name, []byte(text), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	wanted := []string{"large", "no/such", "dir", "empty", "../x", "large", "goes"}
	h := hold(t, t.TempDir(), in(dir))
	p := h.attach("f", "run-1", wire.Cursor{})
	next := h.attach("g", "run-2", wire.Cursor{})
	p.run("run-1", wire.Run{Downloads: wanted, Pull: true}, "fail ScriptError")
	offers := p.offer("run-1")
	if len(offers) != len(wanted) {
		t.Fatalf("offered %v, want all of %v", offers, wanted)
	}
	next.execute("after", "print mine") // it waits until the files have been fetched
	c := h.carry()
	for i, says := range []string{"", "file does not exist", "it is a directory", "", `".."`, "", ""} {
		o := offers[i]
		if o.Path != wanted[i] || says == "" && (o.Error != "" || o.Mode != 0o640) || !strings.Contains(o.Error, says) {
			t.Errorf("offered %+v, want %s and an error that says %q", o, wanted[i], says)
		}
		got, end := c.get(wire.Transfer{Run: "run-1", Index: i})
		if says != "" {
			wantError(t, "get of "+wanted[i], end, wire.CodeBad, "does not offer")
			continue
		}
		wantEnd(t, "get of "+wanted[i], end, text(t, dir+"/"+wanted[i]))
		if int64(len(got)) != o.Size {
			t.Errorf("got %d bytes of %s, want the %d that were offered", len(got), wanted[i], o.Size)
		}
	}
	if offers[1].Code != wire.CodeNotExist {
		t.Errorf("what is not there has code %q, want %q", offers[1].Code, wire.CodeNotExist)
	}
	if err := os.Remove(dir + "/goes"); err != nil {
		t.Fatal(err)
	}
	_, end := c.get(wire.Transfer{Run: "run-1", Index: 6})
	wantError(t, "get of what has gone meanwhile", end, wire.CodeNotExist, "reading goes")
	for _, i := range []int{-1, len(wanted)} {
		_, end := c.get(wire.Transfer{Run: "run-1", Index: i})
		wantError(t, "get of what was not asked for", end, wire.CodeBad, "does not offer")
	}
	if _, err := h.call("", "", wire.CallFetched, wire.FetchedArgs{Run: "other"}); err == nil {
		t.Error("another run's files have been fetched, want an error")
	}
	for _, l := range next.log {
		if strings.HasPrefix(l, "after") {
			t.Errorf("got %q before the files have been fetched", l)
		}
	}
	if _, err := h.call("", "", wire.CallFetched, wire.FetchedArgs{Run: "run-1"}); err != nil {
		t.Fatal(err)
	}
	p.until("run-1 status idle")
	result := p.result("run-1 execute_reply error ScriptError")
	if result.Timing.Failed != wire.StageExecuting && result.Timing.Stages[wire.StageDownloading] <= 0 {
		t.Errorf("got %+v, want time for downloading though the code has raised", result.Timing)
	}
	next.until("after execute_reply ok")
	_, end = c.get(wire.Transfer{Run: "run-1"})
	wantError(t, "get after it", end, wire.CodeBad, "have been fetched")
	if _, err := h.call("", "", wire.CallFetched, wire.FetchedArgs{Run: "nobody"}); err == nil {
		t.Error("fetched of no run = nil, want an error")
	}
}

// A caller that is gone does not keep the others waiting.
func TestDownloadWithoutCaller(t *testing.T) {
	dir := t.TempDir()
	touch(t, dir+"/a")
	h := hold(t, t.TempDir(), in(dir))
	p := h.attach("f", "run-1", wire.Cursor{})
	p.run("run-1", wire.Run{Downloads: []string{"a"}, Pull: true}, "print 1")
	p.offer("run-1")
	p.drop()
	next := h.attach("k", wire.KernelOwner, wire.Cursor{})
	next.execute("r2", "print 2")
	next.until("r2 execute_reply ok")
	again := h.attach("f2", "run-1", p.last)
	again.until("run-1 execute_reply ok")
}

// A cell's files come and go within its messages.
func TestCellFiles(t *testing.T) {
	dir := t.TempDir()
	h := hold(t, t.TempDir(), in(dir))
	k := h.attach("k", wire.KernelOwner, wire.Cursor{})
	k.until("- status starting")
	binary := "\xff\x00\xfe"
	k.run("r1", wire.Run{
		Files:     map[string]wire.Inline{"in/text": wire.Inline("süß"), "in/binary": wire.Inline(binary)},
		Downloads: []string{"in/text", "in/binary", "no", "./in/text", "in/text"},
	}, "print 1")
	k.until("r1 status idle")
	got := k.result("r1 execute_reply ok").Files
	if len(got) != 4 {
		t.Errorf("got %d files, want 4: %v", len(got), got)
	}
	for name, want := range map[string]string{"in/text": "süß", "./in/text": "süß", "in/binary": binary} {
		if d := got[name]; string(d.Data) != want || d.Size != int64(len(want)) || d.Error != "" || d.SHA256 != files.SumBytes([]byte(want)).SHA256 {
			t.Errorf("%s: got %+v, want %q", name, d, want)
		}
	}
	if d := got["no"]; d.Code != wire.CodeNotExist || d.Error == "" {
		t.Errorf("got %+v, want an error", d)
	}
	k.run("r0", wire.Run{Downloads: []string{"../x"}}, "print never")
	k.until("r0 execute_reply error InvalidRequest")
	before, err := os.Stat(dir + "/in/text")
	if err != nil {
		t.Fatal(err)
	}
	k.run("r2", wire.Run{Files: map[string]wire.Inline{"in/text": wire.Inline("süß")}}, "print 1")
	k.until("r2 status idle")
	if after, err := os.Stat(dir + "/in/text"); err != nil || !os.SameFile(before, after) || after.ModTime() != before.ModTime() {
		t.Error("a file with the same content was written again (peers D1)")
	}
}

// The files of a reply are bounded; each past that says so.
func TestDeliverIsBounded(t *testing.T) {
	dir := t.TempDir()
	for name, size := range map[string]int64{"a": 20 << 20, "b": 20 << 20, "c": 12 << 20, "d": 1, "huge": 1 << 40} {
		f, err := os.Create(dir + "/" + name)
		if err == nil {
			err = f.Truncate(size) // sparse
		}
		if err != nil {
			t.Fatal(err)
		}
		_ = f.Close()
	}
	space, err := files.Open(dir, new(files.Sweeper))
	if err != nil {
		t.Fatal(err)
	}
	defer space.Close()
	r := &request{run: &wire.Run{Downloads: []string{"huge", "a", "b", "c", "d"}}}
	got, err := deliver(t.Context(), r, space, func(string, int64, int64, string) {})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]int64{"a": 20 << 20, "c": 12 << 20} {
		if d := got[name]; d.Error != "" || d.Size != want || int64(len(d.Data)) != want {
			t.Errorf("%s: got %d bytes and error %q, want %d", name, len(d.Data), d.Error, want)
		}
	}
	for _, name := range []string{"huge", "b", "d"} {
		if d := got[name]; len(d.Data) != 0 || !strings.Contains(d.Error, "33554432 together") {
			t.Errorf("%s: got %d bytes and error %q, want that there is no room", name, len(d.Data), d.Error)
		}
	}
}

// peers D10: the working directory of a run is what the call says, for its files
// and for its code.
func TestWorkdir(t *testing.T) {
	dir, elsewhere := t.TempDir(), t.TempDir()
	touch(t, dir+"/file")
	if err := os.Symlink(elsewhere, dir+"/out"); err != nil {
		t.Fatal(err)
	}
	h := hold(t, t.TempDir(), in(dir))
	for cwd, want := range map[string]string{
		"": dir, ".": dir, "./": dir, "a/b": dir + "/a/b", "a/b/": dir + "/a/b", "./c": dir + "/c", elsewhere: elsewhere,
		elsewhere + "/": elsewhere,
	} {
		run := "run in " + cwd
		p := h.attach(run, run, wire.Cursor{})
		p.run(run, wire.Run{Cwd: cwd, Files: map[string]wire.Inline{"here": wire.Inline(cwd)}}, "dir")
		p.until(run + " status idle")
		p.frame(run + " stream " + real(t, want))
		if got := text(t, want+"/here"); got != cwd {
			t.Errorf("cwd %q: the file in %s is of %q", cwd, want, got)
		}
	}
	for cwd, says := range map[string]string{
		"..": `".."`, "a/../..": `".."`, "out": "leads out", "out/x": "leads out", "file": "file", "file/x": "file",
		elsewhere + "/no": "no such file", dir + "/file": "no directory", "a\x00b": "NUL",
	} {
		run := "run in " + cwd
		p := h.attach(run, run, wire.Cursor{})
		p.run(run, wire.Run{Cwd: cwd, Files: map[string]wire.Inline{"here": nil}}, "touch "+dir+"/ran")
		p.until(run + " status idle")
		var failed string
		for i, l := range p.log {
			if strings.HasPrefix(l, run+" execute_reply error") {
				failed = string(p.seen[i].Content)
			}
		}
		if !strings.Contains(strings.ReplaceAll(failed, `\"`, `"`), says) {
			t.Errorf("cwd %q: got %s, want an error that says %q", cwd, failed, says)
		}
	}
	if _, err := os.Stat(dir + "/ran"); err == nil {
		t.Error("code has run in a directory that there is not")
	}
}
