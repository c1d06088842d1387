//go:build unix

package process_test

import (
	"testing"

	"github.com/gokernel/gokernel/sandbox"
	"github.com/gokernel/gokernel/sandbox/process"
	"github.com/gokernel/gokernel/sandbox/sandboxtest"
)

func TestIsolation(t *testing.T) {
	sandboxtest.TestIsolation(t, func(*testing.T) sandbox.Isolation { return process.New() })
}
