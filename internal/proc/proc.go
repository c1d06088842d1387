// Package proc looks at the processes of this machine and ends them. It knows
// nothing of sessions but the environment variable that marks what belongs to
// one. The list of processes comes from /proc and so exists on Linux only;
// elsewhere what needs it returns an error that wraps [errors.ErrUnsupported].
package proc

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

// Marker is the environment variable that every command of a session is
// started with. Its value is the id of the session.
const Marker = "GOKERNEL_SESSION"

// An Info says what the system knows of a process at one moment.
type Info struct {
	PID, PPID, PGID, SID int
	// Zombie says that the process has ended, with all its threads, but that its
	// parent has not asked how yet.
	Zombie bool
	// Start tells processes apart that have had the same id. Its unit is the
	// system's own; see [StartTime].
	Start uint64
	// CPU is the processor time of the process and of the children that it has
	// waited for.
	CPU      time.Duration
	ChildCPU time.Duration // the part of CPU that those children have used
	Memory   uint64        // bytes resident
	Name     string        // short name of the program
}

// An Ident names a process for good: ids are used again, start times are not.
type Ident struct {
	PID   int
	Start uint64
}

// Ident returns what names the process.
func (i Info) Ident() Ident { return Ident{i.PID, i.Start} }

// Tree returns those of all that root picks, and all their descendants. The
// order is that of all.
func Tree(all []Info, root func(Info) bool) []Info {
	in := make(map[int]bool, len(all))
	children := make(map[int][]int, len(all))
	var todo []int
	for _, p := range all {
		children[p.PPID] = append(children[p.PPID], p.PID)
		if root(p) {
			todo = append(todo, p.PID)
		}
	}
	for len(todo) > 0 {
		pid := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if in[pid] {
			continue
		}
		in[pid] = true
		todo = append(todo, children[pid]...)
	}
	var tree []Info
	for _, p := range all {
		if in[p.PID] {
			tree = append(tree, p)
		}
	}
	return tree
}

// Pauses between two looks at processes that have been killed.
const (
	firstPause = time.Millisecond
	lastPause  = 50 * time.Millisecond
)

// A list of processes is read one by one while they come and go: a process may
// be listed below a parent that has gone before it could be, and one that
// executes a program has no environment for a moment. So nothing is taken to be
// left only when that was seen twice in a row, or more often while the list has
// gaps; some lists always do.
const (
	looks       = 2
	looksAtGaps = 5
)

// End kills what find picks out of all processes, again and again until it
// picks nothing, and says how many processes it has killed. A zombie that find
// picks is not killed but waited for to go. It gives up when ctx does or when
// all that is left may not be killed.
func End(ctx context.Context, find func(all []Info) []Info) (int, error) {
	killed := make(map[Ident]bool)
	nothing := 0
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		all, err := All()
		if err != nil {
			return len(killed), err
		}
		left := find(all)
		if len(left) == 0 {
			nothing++
			if nothing >= looksAtGaps || nothing >= looks && !hasGaps(all) {
				return len(killed), nil
			}
			pause = firstPause
		} else {
			nothing = 0
		}
		denied := 0
		for _, p := range left {
			if p.Zombie {
				continue
			}
			switch err := Kill(p.Ident()); {
			case err == nil:
				killed[p.Ident()] = true
			case errors.Is(err, os.ErrPermission):
				denied++
			}
		}
		if denied > 0 && denied == len(left) {
			return len(killed), fmt.Errorf("kill %s: %w", names(left), os.ErrPermission)
		}
		select {
		case <-ctx.Done():
			if nothing > 0 {
				return len(killed), nil
			}
			return len(killed), fmt.Errorf("kill %s: still there: %w", names(left), context.Cause(ctx))
		case <-time.After(pause):
		}
	}
}

// hasGaps says whether a process is listed whose parent is not.
func hasGaps(all []Info) bool {
	listed := make(map[int]bool, len(all))
	for _, p := range all {
		listed[p.PID] = true
	}
	return slices.ContainsFunc(all, func(p Info) bool { return p.PPID != 0 && !listed[p.PPID] })
}

// EndMarked ends all processes that were started with the marker of session
// id, and their descendants, but not the calling process and its ancestors. It
// says how many there were.
func EndMarked(ctx context.Context, id string) (int, error) {
	if err := CheckID(id); err != nil {
		return 0, err
	}
	return End(ctx, func(all []Info) []Info {
		spared := Ancestors(all, os.Getpid())
		tree := Tree(all, func(p Info) bool {
			if p.Zombie || spared[p.PID] {
				return false
			}
			value, ok := Getenv(p.PID, Marker)
			return ok && value == id
		})
		return slices.DeleteFunc(tree, func(p Info) bool { return p.Zombie || spared[p.PID] })
	})
}

// Ancestors returns pid and the ids of all its ancestors.
func Ancestors(all []Info, pid int) map[int]bool {
	parent := make(map[int]int, len(all))
	for _, p := range all {
		parent[p.PID] = p.PPID
	}
	found := make(map[int]bool)
	for pid > 0 && !found[pid] {
		found[pid] = true
		pid = parent[pid]
	}
	return found
}

// CheckID says what is wrong with the id of a session that is to be a marker.
func CheckID(id string) error {
	if id == "" {
		return errors.New("empty session id")
	}
	if strings.ContainsAny(id, "\x00/\n") {
		return fmt.Errorf("session id %q contains a slash, a newline or a NUL", id)
	}
	return nil
}

// Unmark returns env without the variables that mark a process as a session's.
func Unmark(env []string) []string {
	return slices.DeleteFunc(slices.Clone(env), func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		return name == Marker || name == CommandMarker
	})
}

// CommandMarker is the environment variable that says, beside [Marker], which
// command of the session a process descends from.
const CommandMarker = "GOKERNEL_COMMAND"

func names(processes []Info) string {
	slices.SortFunc(processes, func(a, b Info) int { return cmp.Compare(a.PID, b.PID) })
	var b strings.Builder
	for i, p := range processes {
		if i == 5 {
			fmt.Fprintf(&b, " and %d more", len(processes)-i)
			break
		}
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%d (%s)", p.PID, p.Name)
	}
	return b.String()
}
