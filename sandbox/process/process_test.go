//go:build unix

package process_test

import (
	"os"
	"testing"

	"github.com/gokernel/gokernel/sandbox"
	"github.com/gokernel/gokernel/sandbox/process"
	"github.com/gokernel/gokernel/sandbox/sandboxtest"
)

func TestMain(m *testing.M) {
	os.Exit(sandboxtest.Main(m, func() sandbox.Isolation { return process.New() }))
}

func TestIsolation(t *testing.T) {
	sandboxtest.TestIsolation(t, func(*testing.T) sandbox.Isolation { return process.New() })
}
