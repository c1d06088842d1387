//go:build linux || darwin

package local

import (
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
)

// command returns the command that spawns an agent: the spec's program, else
// the driver's, else the one that the environment names, else this one when it
// is gokernel, else the gokernel on PATH.
func (d *Driver) command(agent string) (*exec.Cmd, error) {
	name := cmp.Or(agent, d.agent, os.Getenv(AgentVariable))
	if name != "" {
		path, err := exec.LookPath(name)
		if err == nil {
			path, err = filepath.Abs(path)
		}
		if err != nil {
			return nil, fmt.Errorf("agent program: %w", err)
		}
		return spawnCommand(path, path), nil
	}
	if isGokernel() {
		return selfCommand(agentCommand, spawnFlag)
	}
	path, err := exec.LookPath("gokernel")
	if err == nil {
		path, err = filepath.Abs(path)
	}
	if err != nil {
		return nil, fmt.Errorf("agent program: this program is not gokernel, and there is none on PATH (%w): install it or set %s to its path", err, AgentVariable)
	}
	return spawnCommand(path, path), nil
}

func spawnCommand(path, name string) *exec.Cmd {
	return &exec.Cmd{Path: path, Args: []string{name, agentCommand, spawnFlag}}
}

// isGokernel says whether the running program is gokernel, whatever the name of
// its file.
func isGokernel() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && strings.HasSuffix(info.Path, "gokernel/cmd/gokernel")
}

// selfCommand returns a command that starts the running program again, on Linux
// its very image, also when its file has been replaced or removed since.
func selfCommand(args ...string) (*exec.Cmd, error) {
	name, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("agent program: %w", err)
	}
	path := name
	if runtime.GOOS == "linux" {
		path = "/proc/self/exe"
	}
	return &exec.Cmd{Path: path, Args: append([]string{name}, args...)}, nil
}
