package process

import (
	"fmt"
	"os"
	"time"

	"github.com/gokernel/gokernel/internal/proc"
	"github.com/gokernel/gokernel/sandbox"
)

const (
	// briefTime is how long a meter runs before it looks at more than commands
	// and what their main threads have started.
	briefTime = 50 * time.Millisecond
	// markTime is how long one runs before the kernel's high-water marks are read:
	// in less no memory worth the effort can be filled.
	markTime = 2 * time.Millisecond
	// maxMarks is how many processes have their high-water marks read at once.
	maxMarks = 64
)

// stats says what all processes use. Processor time never goes back: what a
// process has used is counted while it runs, and then with its parent or here.
func (b *box) stats() (sandbox.Stats, error) {
	list, total, err := b.survey(true)
	if err != nil {
		return sandbox.Stats{}, fmt.Errorf("sandbox stats: %w", err)
	}
	var s sandbox.Stats
	for _, p := range list {
		if !p.Zombie {
			s.Processes++
			s.Memory += p.Memory
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.total = max(b.total, total) // one that has ended a moment ago is not counted at all
	s.CPU = b.total
	return s, nil
}

// survey returns the processes of the sandbox and the processor time that they
// and those before them have used. A survey that is not full is quick: it misses
// what threads other than the main ones have started, and orphans that no full
// one has seen.
func (b *box) survey(full bool) (list []proc.Info, total time.Duration, err error) {
	const tries = 3
	for range tries {
		var spent time.Duration
		list, total, spent, err = b.trySurvey(full)
		b.mu.Lock()
		settled := spent == b.spent
		b.mu.Unlock()
		if err != nil || settled {
			break
		}
	}
	return list, total, err
}

// trySurvey is survey while nothing ends. Parents come before their children, and
// are looked at before them: one that ends meanwhile may be missed, but is not
// counted twice. spent is the processor time of those that had ended before.
func (b *box) trySurvey(full bool) (list []proc.Info, total, spent time.Duration, err error) {
	b.mu.Lock()
	spent = b.spent
	total = spent
	commands := make(map[int]*gauge, len(b.commands))
	todo := make([]int, 0, len(b.commands)+len(b.adopted))
	for pid, p := range b.commands {
		commands[pid] = p.watch()
		todo = append(todo, pid)
	}
	for id := range b.adopted {
		todo = append(todo, id.PID)
	}
	b.mu.Unlock()
	if full {
		orphans, err := b.orphans(commands)
		if err != nil {
			return nil, 0, 0, err
		}
		todo = append(todo, orphans...)
	}
	seen := make(map[int]bool, len(todo))
	for len(todo) > 0 {
		pid := todo[0]
		todo = todo[1:]
		if seen[pid] {
			continue
		}
		seen[pid] = true
		gauge := commands[pid]
		p, err := readUsage(pid, gauge)
		if err != nil {
			continue // it has ended
		}
		list = append(list, p)
		total += p.CPU
		switch {
		case full:
			children, err := proc.ChildrenOf(pid)
			if err != nil {
				return nil, 0, 0, err
			}
			todo = append(todo, children...)
		case gauge != nil:
			todo = append(todo, gauge.Children()...)
		default:
			todo = append(todo, proc.MainChildren(pid)...)
		}
	}
	return list, total, spent, nil
}

func readUsage(pid int, gauge *gauge) (proc.Info, error) {
	if gauge != nil {
		return gauge.Read()
	}
	return proc.ReadUsage(pid)
}

// orphans returns the adopted children of this process that commands have left.
func (b *box) orphans(commands map[int]*gauge) ([]int, error) {
	children, err := proc.Children()
	if err != nil {
		return nil, err
	}
	var found []int
	for _, pid := range children {
		if _, ok := commands[pid]; ok {
			continue
		}
		p, err := proc.Read(pid)
		if err != nil || p.PPID != os.Getpid() {
			continue
		}
		b.mu.Lock()
		if _, command := b.commands[pid]; !command && b.owner(p) > 0 {
			found = append(found, pid)
		}
		b.mu.Unlock()
	}
	return found, nil
}

// watch returns the gauge of a command, which may be nil: it may just have
// ended. The lock of the sandbox is held.
func (p *process) watch() *gauge {
	if p.gauge == nil {
		p.gauge, _ = proc.OpenGauge(p.pid) // what cannot be watched is read
	}
	return p.gauge
}

// A gauge looks at a command.
type gauge = proc.Gauge

// A meter is one for a sandbox of plain processes.
type meter struct {
	box    *box
	began  time.Time
	from   uint64        // when it began, in the unit of proc.Info.Start
	before time.Duration // what was used before it began, as far as it is in a survey
	used   time.Duration
	peak   uint64
	seen   map[proc.Ident]bool // processes in an earlier survey; true if their high-water mark was reset
}

var _ sandbox.Meterer = (*box)(nil)

// Meter begins to measure. Meters of one sandbox reset the kernel's high-water
// marks of its processes, so that two at a time take peaks from each other.
func (b *box) Meter() (sandbox.Meter, error) {
	m := &meter{box: b, began: time.Now(), from: proc.BootTime(), seen: map[proc.Ident]bool{}}
	list, total, err := b.survey(false)
	if err != nil {
		return nil, fmt.Errorf("measuring a sandbox: %w", err)
	}
	m.before = total
	for _, p := range list {
		m.peak += p.Memory
		m.seen[p.Ident()] = b.resetPeak(p, false)
	}
	return m, nil
}

// resetPeak makes the high-water mark of a process begin anew, of others than
// commands only when all is set, for it takes longer.
func (b *box) resetPeak(p proc.Info, all bool) bool {
	b.mu.Lock()
	command := b.commands[p.PID]
	var g *gauge
	if command != nil {
		g = command.gauge
	}
	b.mu.Unlock()
	if g != nil {
		return g.ResetPeak()
	}
	return all && proc.ResetPeak(p.PID)
}

// Look takes a sample.
func (m *meter) Look() error { return m.look(true, true) }

// End takes a last sample and says what was used.
func (m *meter) End() (sandbox.Used, error) {
	elapsed := time.Since(m.began)
	err := m.look(elapsed >= briefTime, elapsed >= markTime)
	return sandbox.Used{CPU: m.used, Peak: m.peak}, err
}

func (m *meter) look(full, marks bool) error {
	list, total, err := m.box.survey(full)
	if err != nil {
		return fmt.Errorf("measuring a sandbox: %w", err)
	}
	var memory uint64
	for _, p := range list {
		if _, ok := m.seen[p.Ident()]; !ok {
			m.seen[p.Ident()] = false
			if p.Start < m.from { // it was there before, where the first survey did not look
				m.before += p.CPU
			}
		}
		memory += p.Memory
	}
	m.used = max(m.used, total-m.before)
	m.peak = max(m.peak, memory)
	if !marks {
		return nil
	}
	for i, p := range list {
		if i == maxMarks {
			break
		}
		// The others are taken to have had what they have now.
		if mark, err := proc.Peak(p.PID); err == nil && mark > p.Memory && (m.seen[p.Ident()] || p.Start >= m.from) {
			m.peak = max(m.peak, memory-p.Memory+mark)
		}
		m.seen[p.Ident()] = m.box.resetPeak(p, full)
	}
	return nil
}
