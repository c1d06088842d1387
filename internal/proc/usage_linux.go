package proc

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A Gauge reads again and again what one process uses, in a few microseconds and
// more finely than [Read]. It never speaks of another process that has got the
// same id. Its methods are safe for concurrent use; after Close they fail.
type Gauge struct {
	pid                   int
	stat, children, marks *os.File // the last two may be nil

	mu  sync.Mutex // held while buf is used
	buf [1024]byte
}

// OpenGauge returns a gauge for a process. The caller closes it.
func OpenGauge(pid int) (*Gauge, error) {
	dir := "/proc/" + strconv.Itoa(pid)
	g := &Gauge{pid: pid}
	var err error
	if g.stat, err = os.Open(dir + "/stat"); err != nil {
		return nil, fmt.Errorf("watch process %d: %w", pid, err)
	}
	if g.children, err = os.Open(dir + "/task/" + strconv.Itoa(pid) + "/children"); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, errors.Join(fmt.Errorf("watch process %d: %w", pid, err), g.stat.Close())
	}
	g.marks, _ = os.OpenFile(dir+"/clear_refs", os.O_WRONLY, 0) // its user may have made it unreadable
	return g, nil
}

// Close closes the gauge.
func (g *Gauge) Close() error {
	err := g.stat.Close()
	for _, f := range []*os.File{g.children, g.marks} {
		if f != nil {
			err = errors.Join(err, f.Close())
		}
	}
	return err
}

// Read returns what the system knows of the process now.
func (g *Gauge) Read() (Info, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	n, err := g.stat.ReadAt(g.buf[:], 0)
	if n == 0 {
		return Info{}, fmt.Errorf("look at process %d: %w", g.pid, err)
	}
	p, err := parseStat(g.buf[:n])
	if err != nil {
		return Info{}, err
	}
	return p.refine(), nil
}

// Children returns the children that the main thread of the process has started
// or taken over: of most programs all.
func (g *Gauge) Children() []int {
	if g.children == nil {
		return nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	n, _ := g.children.ReadAt(g.buf[:], 0) // a process that has ended has none
	if n == len(g.buf) {
		return MainChildren(g.pid)
	}
	return appendPIDs(nil, g.buf[:n])
}

// ResetPeak makes [Peak] of the process begin anew. It reports whether it could.
func (g *Gauge) ResetPeak() bool {
	if g.marks == nil {
		return false
	}
	_, err := g.marks.WriteAt([]byte("5"), 0)
	return err == nil
}

// ReadUsage is [Read] with a finer processor time.
func ReadUsage(pid int) (Info, error) {
	p, err := Read(pid)
	if err != nil {
		return Info{}, err
	}
	return p.refine(), nil
}

// refine replaces the processor time of the process itself, which /proc has in
// hundredths of a second, by what the scheduler says.
func (i Info) refine() Info {
	const sched = 2 // CPUCLOCK_SCHED, of all threads
	clock := uintptr(^i.PID<<3 | sched)
	var ts unix.Timespec
	_, _, errno := unix.Syscall(unix.SYS_CLOCK_GETTIME, clock, uintptr(unsafe.Pointer(&ts)), 0)
	if own := time.Duration(ts.Nano()); errno == 0 && own+i.ChildCPU > i.CPU {
		i.CPU = own + i.ChildCPU
	}
	return i
}

// ResetPeak makes [Peak] of a process begin anew. It reports whether it could.
func ResetPeak(pid int) bool {
	f, err := os.OpenFile("/proc/"+strconv.Itoa(pid)+"/clear_refs", os.O_WRONLY, 0)
	if err != nil {
		return false
	}
	_, err = f.WriteString("5")
	return f.Close() == nil && err == nil
}

// Peak returns the most memory in bytes that a process has had resident since it
// began to execute its program or since [ResetPeak]. A process that has ended
// has none.
func Peak(pid int) (uint64, error) {
	status, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return 0, fmt.Errorf("look at process %d: %w", pid, err)
	}
	return parsePeak(status)
}

// parsePeak reads the contents of /proc/PID/status.
func parsePeak(status []byte) (uint64, error) {
	for line := range bytes.Lines(status) {
		rest, ok := bytes.CutPrefix(line, []byte("VmHWM:"))
		if !ok {
			continue
		}
		kib, err := strconv.ParseUint(string(bytes.TrimSuffix(bytes.TrimSpace(rest), []byte(" kB"))), 10, 54)
		if err != nil {
			return 0, fmt.Errorf("process status %.80q: %w", line, err)
		}
		return kib << 10, nil
	}
	return 0, nil // it has ended
}

// BootTime returns the time since the machine has started in the unit of
// [Info.Start].
func BootTime() uint64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return 0 // every process has started later
	}
	return uint64(ts.Nano()) / uint64(time.Second/userHZ)
}

func appendPIDs(pids []int, list []byte) []int {
	for field := range bytes.FieldsSeq(list) {
		if pid, err := strconv.Atoi(string(field)); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// MainChildren returns the children of the main thread of a process; see
// [Gauge.Children].
func MainChildren(pid int) []int {
	list, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/task/" + strconv.Itoa(pid) + "/children")
	if err != nil {
		return nil
	}
	return appendPIDs(nil, list)
}
