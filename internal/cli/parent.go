package cli

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/gokernel/gokernel/internal/proc"
)

// parentInterval is how often the parent is looked at.
const parentInterval = time.Second

// watchParent ends the kernel when the process that JPY_PARENT_PID names has
// ended, as Jupyter expects of kernels that it started. A process that was no
// ancestor of this one, as one of another namespace, does not count.
func watchParent(ctx context.Context, cancel context.CancelCauseFunc) {
	pid, err := strconv.Atoi(os.Getenv("JPY_PARENT_PID"))
	if err != nil || pid <= 1 {
		return
	}
	all, err := proc.All()
	if err != nil || !proc.Ancestors(all, os.Getpid())[pid] {
		return
	}
	start, err := proc.StartTime(pid)
	if err != nil {
		cancel(fmt.Errorf("%w: its parent has ended", errEnd))
		return
	}
	ticker := time.NewTicker(parentInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			if !proc.Alive(proc.Ident{PID: pid, Start: start}) {
				cancel(fmt.Errorf("%w: its parent has ended", errEnd))
				return
			}
		case <-ctx.Done():
			return
		}
	}
}
