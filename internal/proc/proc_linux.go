package proc

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// userHZ is the unit of times in /proc/PID/stat: part of Linux's interface on
// all architectures that Go has.
const userHZ = 100

// All returns all processes that can be seen, in no order.
func All() ([]Info, error) {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	defer dir.Close()
	entries, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	all := make([]Info, 0, len(entries))
	for _, name := range entries {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		if p, err := Read(pid); err == nil {
			all = append(all, p)
		}
	}
	if len(all) == 0 {
		return nil, errors.New("list processes: /proc shows none")
	}
	return all, nil
}

// Read returns what the system knows of a process. The error wraps
// [os.ErrNotExist] when there is no such process.
func Read(pid int) (Info, error) {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if errors.Is(err, unix.ESRCH) {
		err = os.ErrNotExist
	}
	if err != nil {
		return Info{}, fmt.Errorf("look at process %d: %w", pid, err)
	}
	return parseStat(stat)
}

// Places of the fields of /proc/PID/stat behind the name; see proc(5), which
// counts from 1 and the name as 2.
const (
	fieldState = iota
	fieldPPID
	fieldPGID
	fieldSID
	fieldUserTime   = 14 - 3
	fieldSystemTime = 15 - 3
	fieldChildUser  = 16 - 3
	fieldChildSys   = 17 - 3
	fieldThreads    = 20 - 3
	fieldStart      = 22 - 3
	fieldRSS        = 24 - 3
)

// parseStat reads the contents of /proc/PID/stat. The name in it is whatever
// the process says, blanks and parentheses too.
func parseStat(stat []byte) (Info, error) {
	open, end := bytes.IndexByte(stat, '('), bytes.LastIndexByte(stat, ')')
	if open < 0 || end < open {
		return Info{}, fmt.Errorf("process status %.80q has no name", stat)
	}
	var fields [fieldRSS + 1][]byte
	n := 0
	for field := range bytes.FieldsSeq(stat[end+1:]) {
		if fields[n] = field; n == fieldRSS {
			break
		}
		n++
	}
	if n < fieldRSS {
		return Info{}, fmt.Errorf("process status %.80q has %d fields behind the name", stat, n)
	}
	r := reader{fields: &fields}
	p := Info{
		PID:    int(r.parse(bytes.TrimSpace(stat[:open]))),
		PPID:   int(r.field(fieldPPID)),
		PGID:   int(r.field(fieldPGID)),
		SID:    int(r.field(fieldSID)),
		Zombie: (string(fields[fieldState]) == "Z" || string(fields[fieldState]) == "X") && r.field(fieldThreads) <= 1,
		Start:  uint64(r.field(fieldStart)),
		Memory: uint64(max(r.field(fieldRSS), 0)) * uint64(os.Getpagesize()),
		Name:   string(stat[open+1 : end]),
	}
	p.ChildCPU = time.Duration(r.field(fieldChildUser)+r.field(fieldChildSys)) * (time.Second / userHZ)
	p.CPU = p.ChildCPU + time.Duration(r.field(fieldUserTime)+r.field(fieldSystemTime))*(time.Second/userHZ)
	if r.err != nil {
		return Info{}, fmt.Errorf("process status %.80q: %w", stat, r.err)
	}
	return p, nil
}

// A reader reads numbers and keeps the first error.
type reader struct {
	fields *[fieldRSS + 1][]byte
	err    error
}

func (r *reader) field(i int) int64 { return r.parse(r.fields[i]) }

func (r *reader) parse(s []byte) int64 {
	n, err := strconv.ParseInt(string(s), 10, 64)
	if r.err == nil {
		r.err = err
	}
	return n
}

// StartTime returns when a process has started, in clock ticks since the
// machine has.
func StartTime(pid int) (uint64, error) {
	p, err := Read(pid)
	return p.Start, err
}

// Alive says whether the process exists and has not ended.
func Alive(id Ident) bool {
	p, err := Read(id.PID)
	return err == nil && p.Start == id.Start && !p.Zombie
}

// Getenv returns a variable of the environment that a process was started with.
// A process that may not be looked at has none.
func Getenv(pid int, name string) (value string, ok bool) {
	env, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/environ")
	if err != nil {
		return "", false
	}
	for v := range bytes.SplitSeq(env, []byte{0}) {
		if rest, ok := bytes.CutPrefix(v, []byte(name+"=")); ok {
			return string(rest), true
		}
	}
	return "", false
}

// Kill ends a process by SIGKILL, and never another one that has got its id.
// A process that is gone is no error.
func Kill(id Ident) error { return Signal(id, unix.SIGKILL) }

// Signal sends a signal to a process, and never to another one that has got its
// id. A process that is gone is no error.
func Signal(id Ident, sig unix.Signal) error {
	fd, err := unix.PidfdOpen(id.PID, 0)
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EPERM) {
		fd, err = -1, nil // before Linux 5.3, or filtered in a container
	}
	if err != nil {
		return ignoreGone(err)
	}
	if fd >= 0 {
		defer unix.Close(fd)
	}
	if start, err := StartTime(id.PID); err != nil || start != id.Start {
		return nil
	}
	if fd >= 0 {
		return ignoreGone(unix.PidfdSendSignal(fd, sig, nil, 0))
	}
	return ignoreGone(unix.Kill(id.PID, sig))
}

func ignoreGone(err error) error {
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	return err
}

// Children returns the children of this process.
func Children() ([]int, error) { return ChildrenOf(os.Getpid()) }

// ChildrenOf returns the children of a process; one that is gone has none.
func ChildrenOf(pid int) ([]int, error) {
	dir := "/proc/" + strconv.Itoa(pid) + "/task/"
	tasks, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list children: %w", err)
	}
	var children []int
	for _, task := range tasks {
		list, err := os.ReadFile(dir + task.Name() + "/children")
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH) {
			if _, err := os.Stat(dir + task.Name()); err != nil {
				continue // the thread has ended
			}
			return childrenOf(pid) // a kernel without this file
		}
		if err != nil {
			return nil, fmt.Errorf("list children: %w", err)
		}
		children = appendPIDs(children, list)
	}
	return children, nil
}

func childrenOf(parent int) ([]int, error) {
	all, err := All()
	if err != nil {
		return nil, err
	}
	var children []int
	for _, p := range all {
		if p.PPID == parent {
			children = append(children, p.PID)
		}
	}
	return children, nil
}
