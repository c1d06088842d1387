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
	"strconv"
	"strings"
)

// spawner returns the command that spawns an agent and ends, and the name of
// the agent's program.
func (d *Driver) spawner(agent string) (cmd *exec.Cmd, name string, err error) {
	program, name, err := d.program(agent)
	if err != nil {
		return nil, "", err
	}
	if d.shell != "" {
		if _, err := os.Stat(d.shell); err == nil {
			// In the background the shell neither waits nor is waited for.
			return &exec.Cmd{Path: d.shell, Args: []string{"sh", "-c", `"$0" ` + agentCommand + ` &`, program}}, name, nil
		}
	}
	return &exec.Cmd{Path: program, Args: []string{name, agentCommand, spawnFlag}}, name, nil
}

// program returns the agent's program, as a path to execute and as a name: the spec's program, else
// the driver's, else the one that the environment names, else this one when it
// is gokernel, else the gokernel on PATH.
func (d *Driver) program(agent string) (path, name string, err error) {
	name = cmp.Or(agent, d.agent, os.Getenv(AgentVariable))
	if name != "" {
		if path, err = lookPath(name); err != nil {
			return "", "", fmt.Errorf("agent program: %w", err)
		}
		return path, path, nil
	}
	if isGokernel() {
		return self()
	}
	if path, err = lookPath("gokernel"); err != nil {
		return "", "", fmt.Errorf("agent program: this program is not gokernel, and there is none on PATH (%w): install it or set %s to its path", err, AgentVariable)
	}
	return path, path, nil
}

func lookPath(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err != nil {
		return "", err
	}
	if path == selfLink {
		return imageLink(), nil
	}
	return filepath.Abs(path)
}

// selfLink leads every process to its own program on Linux.
const selfLink = "/proc/self/exe"

// imageLink leads to the program of this process, also from others.
func imageLink() string { return "/proc/" + strconv.Itoa(os.Getpid()) + "/exe" }

// isGokernel says whether the running program is gokernel, whatever the name of
// its file.
func isGokernel() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && strings.HasSuffix(info.Path, "gokernel/cmd/gokernel")
}

// self returns the running program: on Linux its very image when its file has
// been replaced or removed since.
func self() (path, name string, err error) {
	name, err = os.Executable()
	if err != nil {
		return "", "", fmt.Errorf("agent program: %w", err)
	}
	if runtime.GOOS != "linux" {
		return name, name, nil
	}
	image, err := os.Stat(selfLink)
	if err != nil {
		return "", "", fmt.Errorf("agent program: %w", err)
	}
	if file, err := os.Stat(name); err == nil && os.SameFile(file, image) {
		return name, name, nil
	}
	return imageLink(), name, nil
}
