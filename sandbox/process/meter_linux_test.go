package process_test

import (
	"bufio"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gokernel/gokernel/internal/proc"
	"github.com/gokernel/gokernel/sandbox"
)

// A dialogue is a command that answers lines with lines.
type dialogue struct {
	t   *testing.T
	in  *os.File
	out *bufio.Reader
}

// talk starts a command that first writes a number, which it returns too.
func talk(t *testing.T, box sandbox.Sandbox, cmd sandbox.Command) (*dialogue, int) {
	t.Helper()
	inR, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	out, outW, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close(); out.Close() })
	cmd.Stdin, cmd.Stdout = inR, outW
	cmd.Env = append(cmd.Env, "PATH=/usr/bin:/bin")
	_, err = box.Start(t.Context(), cmd)
	inR.Close()
	outW.Close()
	if err != nil {
		t.Fatal(err)
	}
	if err := out.SetReadDeadline(time.Now().Add(3 * limit)); err != nil {
		t.Fatal(err)
	}
	d := &dialogue{t: t, in: in, out: bufio.NewReader(out)}
	number, err := strconv.Atoi(d.line())
	if err != nil {
		t.Fatal(err)
	}
	return d, number
}

func (d *dialogue) line() string {
	d.t.Helper()
	line, err := d.out.ReadString('\n')
	if err != nil {
		d.t.Fatal(err)
	}
	return strings.TrimSpace(line)
}

// say sends a line and waits for the answer.
func (d *dialogue) say(line string) {
	d.t.Helper()
	if _, err := d.in.WriteString(line + "\n"); err != nil {
		d.t.Fatal(err)
	}
	d.line()
}

func meter(t *testing.T, box sandbox.Sandbox) sandbox.Meter {
	t.Helper()
	m, err := box.(sandbox.Meterer).Meter()
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func end(t *testing.T, m sandbox.Meter) sandbox.Used {
	t.Helper()
	used, err := m.End()
	if err != nil {
		t.Fatal(err)
	}
	return used
}

func cpu(t *testing.T, box sandbox.Sandbox) time.Duration {
	t.Helper()
	stats, err := box.Stats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return stats.CPU
}

// peers D15: memory that was filled and given back between two looks is seen, and
// only in the measurement that it belongs to.
func TestMeterSeesShortPeak(t *testing.T) {
	box := open(t, "peak")
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	d, _ := talk(t, box, sandbox.Command{Argv: []string{exe}, Env: []string{blobVariable + "=1"}})
	for i, want := range []bool{false, true, false, true} {
		m := meter(t, box)
		line := ""
		if want {
			line = "fill"
		}
		d.say(line)
		if used := end(t, m); used.Peak >= blobSize != want || used.Peak == 0 {
			t.Errorf("measurement %d: peak %d MiB, want at least %d: %v", i, used.Peak>>20, blobSize>>20, want)
		}
	}
	m := meter(t, box)
	d.say("fill")
	if err := m.Look(); err != nil {
		t.Fatal(err)
	}
	d.say("")
	if used := end(t, m); used.Peak < blobSize || used.Peak > 2*blobSize {
		t.Errorf("peak before a look: %d MiB, want about %d", used.Peak>>20, blobSize>>20)
	}
}

// What processes have used is counted whether they run on, have ended, or have
// been waited for by their parents, and nothing of what was before.
func TestMeterCountsProcessorTime(t *testing.T) {
	const burn = "i=0; while [ $i -lt 150000 ]; do i=$((i+1)); done"
	for name, script := range map[string]string{
		"the command itself": "echo 1; while read x; do [ -z $x ] || { " + burn + "; }; echo done; done",
		"its child":          "echo 1; while read x; do [ -z $x ] || ( " + burn + " ); echo done; done",
		"an orphan":          "echo 1; while read x; do [ -z $x ] || { sh -c '( " + burn + "; echo >&3 ) & exit'; read y <&4; }; echo done; done",
	} {
		t.Run(name, func(t *testing.T) {
			box := open(t, "time")
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			defer w.Close()
			d, _ := talk(t, box, sandbox.Command{Argv: []string{"sh", "-c", script}, Files: []*os.File{w, r}})
			before := cpu(t, box)
			d.say("burn")
			spent := cpu(t, box) - before
			if spent < 20*time.Millisecond {
				t.Fatalf("the command has used %v, want a burn", spent)
			}
			m := meter(t, box)
			d.say("")
			if used := end(t, m); used.CPU >= spent/2 {
				t.Errorf("while nothing burnt: %v, want little beside %v", used.CPU, spent)
			}
			m = meter(t, box)
			d.say("burn")
			if used := end(t, m); used.CPU < spent/4 {
				t.Errorf("while something burnt: %v, want about %v", used.CPU, spent)
			}
		})
	}
}

// A child that has burnt for long in the background and is waited for meanwhile
// has not used that meanwhile.
func TestMeterLeavesOutWhatWasBefore(t *testing.T) {
	box := open(t, "before")
	d, child := talk(t, box, sandbox.Command{Argv: []string{"sh", "-c",
		"( while :; do :; done ) & echo $!; read x; kill -9 $!; wait; echo done; read y"}})
	const burnt = time.Second
	for deadline := time.Now().Add(3 * limit); ; {
		p, err := proc.Read(child)
		if err != nil {
			t.Fatal(err)
		}
		if p.CPU >= burnt {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the child has used %v only", p.CPU)
		}
	}
	m := meter(t, box)
	began := time.Now()
	d.say("go")
	used := end(t, m)
	if most := 2*time.Since(began) + 50*time.Millisecond; used.CPU > most {
		t.Errorf("used %v in %v by one child, want no more than that", used.CPU, time.Since(began))
	}
}

// Processor time of a sandbox never goes back, also not when processes end; and
// peers D15: nothing is lost with them.
func TestStatsNeverGoBack(t *testing.T) {
	box := open(t, "monotone")
	d, _ := talk(t, box, sandbox.Command{Argv: []string{"sh", "-c",
		"echo 1; read x; for n in 1 2 3 4 5 6 7 8 9 10; do sh -c 'i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done'; done; " +
			"setsid sh -c 'i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done' & echo done; read y; times; echo; exec sleep 1000"}})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		d.in.WriteString("go\n")
		d.line()
	}()
	var last time.Duration
	look := func() {
		t.Helper()
		now := cpu(t, box)
		if now < last {
			t.Fatalf("processor time went from %v to %v", last, now)
		}
		last = now
	}
	for running := true; running; look() {
		select {
		case <-ended:
			running = false
		default:
		}
	}
	p, err := box.Start(t.Context(), sandbox.Command{Argv: []string{"/bin/sh", "-c", "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done"}})
	if err != nil {
		t.Fatal(err)
	}
	look()
	before := last
	if _, err := p.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	look()
	if err := box.Close(); err != nil {
		t.Fatal(err)
	}
	if last < before+10*time.Millisecond {
		t.Errorf("a command that has ended raised processor time from %v to %v, want what it has used", before, last)
	}
}

// A run of a millisecond must not pay for being measured.
func BenchmarkMeter(b *testing.B) {
	box := open(b, "bench")
	for range 2 { // as for two languages
		if _, err := box.Start(b.Context(), sandbox.Command{Argv: []string{"/bin/sleep", "1000"}}); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		m, err := box.(sandbox.Meterer).Meter()
		if err != nil {
			b.Fatal(err)
		}
		if _, err := m.End(); err != nil {
			b.Fatal(err)
		}
	}
}
