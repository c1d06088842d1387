package kernel

import (
	"bytes"
	"encoding/json"
	"os"
	"strconv"
	"sync"

	"github.com/gokernel/gokernel/protocol"
)

// A hostUsage measures the machine for usage replies, where it has a /proc;
// elsewhere the fields stay empty.
type hostUsage struct {
	mu          sync.Mutex // guards the fields below
	busy, total uint64     // ticks of all processors when last asked
}

func newHostUsage() *hostUsage { return &hostUsage{} }

// fill sets the host's part of r. The processor's share is since the last call,
// and 0 at the first.
func (h *hostUsage) fill(r *protocol.UsageReply) {
	if b, err := os.ReadFile("/proc/stat"); err == nil {
		r.HostCPUPercent = h.cpu(b)
	}
	r.HostVirtualMemory = json.RawMessage("{}")
	if b, err := os.ReadFile("/proc/meminfo"); err == nil {
		if raw, err := json.Marshal(memory(b)); err == nil {
			r.HostVirtualMemory = raw
		}
	}
}

// cpu returns the percentage of the processors' time that was not idle between
// the last /proc/stat and this.
func (h *hostUsage) cpu(stat []byte) float64 {
	line, _, _ := bytes.Cut(stat, []byte("\n"))
	var total, idle uint64
	for i, f := range bytes.Fields(line) {
		n, err := strconv.ParseUint(string(f), 10, 64)
		if err != nil || i > 8 { // what follows is guests' time, which user contains
			continue
		}
		total += n
		if i == 4 || i == 5 { // idle and iowait
			idle += n
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	busy := total - idle
	percent := 0.0
	if h.total > 0 && total > h.total && busy >= h.busy {
		percent = 100 * float64(busy-h.busy) / float64(total-h.total)
	}
	h.busy, h.total = busy, total
	return percent
}

// memory returns the fields of a usage reply's host_virtual_memory, in bytes.
func memory(meminfo []byte) map[string]any {
	kib := map[string]uint64{}
	for line := range bytes.Lines(meminfo) {
		f := bytes.Fields(line)
		if len(f) < 2 {
			continue
		}
		if n, err := strconv.ParseUint(string(f[1]), 10, 64); err == nil {
			kib[string(bytes.TrimSuffix(f[0], []byte(":")))] = n
		}
	}
	total, available := kib["MemTotal"]<<10, kib["MemAvailable"]<<10
	m := map[string]any{
		"total": total, "available": available, "free": kib["MemFree"] << 10, "active": kib["Active"] << 10,
		"inactive": kib["Inactive"] << 10, "buffers": kib["Buffers"] << 10, "cached": kib["Cached"] << 10,
		"shared": kib["Shmem"] << 10, "used": total - min(total, available),
	}
	if total > 0 {
		m["percent"] = 100 * float64(total-min(total, available)) / float64(total)
	}
	return m
}
