package tests

import (
	"os"
	"os/exec"
	"testing"
)

// TestBench measures ipykernel and gokernel in turns and prints a table; it is
// what "make bench" runs. GOKERNEL_BENCH_JSON names a file for every sample.
func TestBench(t *testing.T) {
	if os.Getenv("GOKERNEL_BENCH") == "" {
		t.Skip("measures only for make bench: GOKERNEL_BENCH is not set")
	}
	e := newEnvironment(t)
	args := []string{"-m", "bench", "python3", "gokernel"}
	if file := os.Getenv("GOKERNEL_BENCH_JSON"); file != "" {
		args = append(args, "--json", file)
	}
	cmd := exec.CommandContext(t.Context(), e.python, args...)
	cmd.Env = append(append(os.Environ(), e.vars...), "PYTHONDONTWRITEBYTECODE=1")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("measuring: %v", err)
	}
}
