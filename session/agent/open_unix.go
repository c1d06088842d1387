//go:build unix

package agent

import "syscall"

// openFlags are for opening what may be anything: a pipe is not waited for.
const openFlags = syscall.O_NONBLOCK
