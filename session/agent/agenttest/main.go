//go:build unix

// Package agenttest helps to test agents and what stands in front of them: a
// scripted language, whose runner is the test binary itself, so that tests have
// real processes but need no interpreter, and a look at what tests have left.
package agenttest

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

const (
	// runnerVariable makes the test binary a runner.
	runnerVariable = "GOKERNEL_TEST_RUNNER"
	// runVariable marks all processes of one run of a test binary.
	runVariable = "GOKERNEL_TEST_RUN"
	// endTime is how long what tests have started may take to end.
	endTime = 10 * time.Second
)

// RunnerMain runs the runner of the scripted language, and exits, if this
// process is one. TestMain calls it first.
func RunnerMain() {
	if os.Getenv(runnerVariable) != "" {
		os.Exit(runner())
	}
}

// Run runs the tests of m and returns the exit status: not 0 either when they
// have left a goroutine or a process.
func Run(m *testing.M) int {
	mark := strconv.Itoa(os.Getpid()) + "-" + strconv.FormatInt(time.Now().UnixNano(), 36)
	for name, value := range map[string]string{
		runVariable: mark,
		"GORACE":    "atexit_sleep_ms=0", // or each process sleeps for a second when it ends
	} {
		if err := os.Setenv(name, value); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	status := m.Run()
	if err := goleak.Find(); err != nil {
		fmt.Fprintln(os.Stderr, "goroutines are left:", err)
		status = max(status, 1)
	}
	if left := awaitEnd(mark); len(left) > 0 {
		fmt.Fprintln(os.Stderr, "processes are left:", left)
		status = max(status, 1)
	}
	return status
}

// awaitEnd waits until all processes of this run have ended and returns what
// has not.
func awaitEnd(mark string) []string {
	// Nothing tells of the end of processes that others have started: look again.
	for deadline := time.Now().Add(endTime); ; time.Sleep(20 * time.Millisecond) {
		left := Marked(runVariable + "=" + mark)
		if len(left) == 0 || time.Now().After(deadline) {
			return left
		}
	}
}

// Marked returns the processes, other than this one, that have variable, a
// name=value, in their environment, each with its id and program. It knows
// Linux only; elsewhere there are none.
func Marked(variable string) []string {
	if runtime.GOOS != "linux" {
		return nil
	}
	files, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		return nil
	}
	var found []string
	for _, file := range files {
		dir := filepath.Dir(file)
		pid := filepath.Base(dir)
		env, err := os.ReadFile(file)
		if err != nil || pid == strconv.Itoa(os.Getpid()) || !slices.Contains(strings.Split(string(env), "\x00"), variable) {
			continue
		}
		name, err := os.ReadFile(filepath.Join(dir, "comm"))
		if err != nil {
			continue
		}
		found = append(found, pid+" "+string(bytes.TrimSpace(name)))
	}
	return found
}
