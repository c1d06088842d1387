//go:build unix

package agent

import (
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/gokernel/gokernel/session/wire"
)

// peers D8, D15: what a session is said to be is measured, and another agent of
// the same session knows what it was.
func TestInfoSurvivesAgent(t *testing.T) {
	dir := t.TempDir()
	began := time.Now()
	first := hold(t, dir, nil)
	p := first.attach("a", wire.KernelOwner, wire.Cursor{})
	p.execute("r1", "print one")
	p.execute("r2", "print two")
	p.request("c1", "complete_request", map[string]any{"code": "x"})
	p.until("c1 status idle")
	write(t, dir, "packages/script/six-1.16.0.dist-info/METADATA", "Name: six\nVersion: 1.16.0\n")
	before := first.info()
	if before.Executed != 2 || !slices.Equal(before.Packages, []string{"six==1.16.0"}) || !slices.Equal(before.Languages, []string{"script"}) {
		t.Errorf("executed %d, packages %q, languages %q; want 2, six, script", before.Executed, before.Packages, before.Languages)
	}
	if before.Created.Before(began.Add(-time.Second)) || before.Created.After(time.Now()) {
		t.Errorf("created %v, want a moment since %v", before.Created, began)
	}
	first.stop()

	h := hold(t, dir, nil)
	q := h.attach("a", wire.KernelOwner, wire.Cursor{})
	q.execute("r3", "print three")
	q.until("r3 status idle")
	after := h.info()
	if !after.Created.Equal(before.Created) || after.Executed != 3 || after.Epoch != 2 {
		t.Errorf("created %v, executed %d, epoch %d; want %v, 3, 2", after.Created, after.Executed, after.Epoch, before.Created)
	}
}

// The processor time of a session counts what has ended: it never goes back.
func TestInfoCountsWhatHasEnded(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("processes are not measured here")
	}
	h := hold(t, t.TempDir(), nil)
	k := h.attach("a", wire.KernelOwner, wire.Cursor{})
	k.until("- status starting")
	p := h.attach("b", "run", wire.Cursor{})
	var last float64
	look := func(what string) {
		t.Helper()
		info := h.info()
		if info.CPU <= 0 || info.CPU < last {
			t.Errorf("%s: processor time %v s, was %v s before", what, info.CPU, last)
		}
		last = info.CPU
	}
	p.run("o1", other(), "print up")
	p.until("o1 status idle")
	look("two languages")
	p.run("o2", other(), "kill")
	p.until("o2 status idle")
	look("one has ended")
	if got := h.info().Languages; !slices.Equal(got, []string{"script"}) {
		t.Errorf("languages %q, want only the one that has a process", got)
	}
	k.execute("r1", "kill")
	k.until("- status starting")
	look("both have ended")
	k.execute("r2", "print up")
	k.until("r2 status idle")
	look("one is back")
	if info := h.info(); info.Memory == 0 {
		t.Error("no memory is used by a process that is there")
	}
}

// peers D15: what a run has used is that of the run, its processes' and its
// own peak.
func TestRunIsMeasured(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("processes are not measured here")
	}
	h := hold(t, t.TempDir(), nil)
	p := h.attach("b", "run", wire.Cursor{})
	used := func(id string, lines ...string) wire.Resources {
		t.Helper()
		p.run(id, wire.Run{}, lines...)
		p.until(id + " status idle")
		result := p.result(id + " execute_reply ok")
		if result.Resources == nil {
			t.Fatal("no resources are told")
		}
		return *result.Resources
	}
	used("o0", "print up")
	idle := used("o1", "print idle")
	busy := used("o2", "fill 200", "burn 100")
	after := used("o3", "print idle")
	const filled = 200 << 20
	if busy.PeakMemory < filled || idle.PeakMemory >= filled || after.PeakMemory >= filled || after.PeakMemory == 0 {
		t.Errorf("peaks %d, %d, %d MiB; want 200 MiB in the second only", idle.PeakMemory>>20, busy.PeakMemory>>20, after.PeakMemory>>20)
	}
	if busy.CPU < 0.1 || after.CPU >= busy.CPU {
		t.Errorf("processor time %v, %v s; want at least 0.1 s in the first, which was to burn that, and less in the other", busy.CPU, after.CPU)
	}
}
