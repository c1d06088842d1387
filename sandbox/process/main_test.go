//go:build unix

package process_test

import (
	"bufio"
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gokernel/gokernel/sandbox"
	"github.com/gokernel/gokernel/sandbox/process"
	"github.com/gokernel/gokernel/sandbox/sandboxtest"
)

// blobVariable makes the test binary a program that fills memory: for each line
// that it reads and that is not empty it fills blobSize bytes and gives them
// back; it answers each with a line.
const blobVariable = "GOKERNEL_TEST_BLOB"

const blobSize = 200 << 20

func TestMain(m *testing.M) {
	if os.Getenv(blobVariable) != "" {
		os.Exit(blob())
	}
	os.Exit(sandboxtest.Main(m, func() sandbox.Isolation { return process.New() }))
}

func blob() int {
	fmt.Println(os.Getpid())
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		if in.Text() != "" && fill() != nil {
			return 1
		}
		fmt.Println("done")
	}
	return 0
}

// fill fills memory that the Go runtime, and a race detector in it, know nothing
// of.
func fill() error {
	b, err := unix.Mmap(-1, 0, blobSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return err
	}
	r, err := os.Open("/dev/zero")
	if err != nil {
		return err
	}
	defer r.Close()
	if _, err := unix.Read(int(r.Fd()), b); err != nil {
		return err
	}
	return unix.Munmap(b)
}
