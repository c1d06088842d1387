package agent

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"time"
)

// Bounds of what is looked at to say what is installed. The folders are written
// by code that nobody trusts: there may be anything in them.
const (
	maxInstalled    = 5000     // entries of one folder, and packages in all
	maxPackageHead  = 64 << 10 // bytes of the beginning of a METADATA
	maxPackageJSON  = 1 << 20  // bytes of a package.json
	maxPackageWords = 214      // bytes of a name and of a version
)

// settleTime is how long after its last change a folder has another time when it
// changes again, on any file system.
const settleTime = 3 * time.Second

// A shelf are the session's package folders. Its method is safe for concurrent
// use.
type shelf struct {
	dir string

	mu    sync.Mutex // guards the fields below, held while it looks
	stamp string     // of the folders when they were last read; "" if they may have changed since
	list  []string
}

// packages returns what is in the folders, as name==version, sorted. What cannot be
// read is left out. They are read again when they have changed.
func (s *shelf) packages() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	stamp, settled := stampOf(s.dir, time.Now())
	if s.stamp == "" || stamp != s.stamp {
		s.list, s.stamp = installedIn(s.dir), ""
		if settled {
			s.stamp = stamp
		}
	}
	return s.list
}

// stampOf returns what changes when something is installed or removed, and
// whether it will do so if that happens right now.
func stampOf(dir string, now time.Time) (stamp string, settled bool) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return "none", true
	}
	defer root.Close()
	var b strings.Builder
	settled = true
	note := func(name string) {
		info, err := root.Lstat(name)
		if err != nil {
			return
		}
		settled = settled && now.Sub(info.ModTime()) > settleTime
		fmt.Fprintf(&b, "%s %d\n", name, info.ModTime().UnixNano())
	}
	note(".")
	for _, language := range folders(root, ".") {
		modules := path.Join(language, "node_modules")
		for _, name := range []string{language, modules, path.Join(modules, ".package-lock.json")} {
			note(name)
		}
	}
	return b.String(), settled
}

// installedIn looks into the folders of languages in dir. It never leaves dir.
func installedIn(dir string) []string {
	found := []string{}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return found
	}
	defer root.Close()
	for _, language := range folders(root, ".") {
		for _, entry := range folders(root, language) {
			if base, ok := strings.CutSuffix(entry, ".dist-info"); ok {
				found = append(found, wheel(root, path.Join(language, entry), base))
			}
		}
		modules := path.Join(language, "node_modules")
		for _, entry := range folders(root, modules) {
			if !strings.HasPrefix(entry, "@") {
				found = append(found, module(root, path.Join(modules, entry)))
				continue
			}
			for _, name := range folders(root, path.Join(modules, entry)) {
				found = append(found, module(root, path.Join(modules, entry, name)))
			}
		}
		if len(found) > maxInstalled {
			break
		}
	}
	slices.Sort(found)
	found = slices.Compact(found)
	if len(found) > 0 && found[0] == "" {
		found = found[1:]
	}
	return found[:min(len(found), maxInstalled)]
}

// folders returns the names of the folders in one.
func folders(root *os.Root, name string) []string {
	f, err := openPlain(root, name)
	if err != nil {
		return nil
	}
	defer f.Close()
	entries, _ := f.ReadDir(maxInstalled) // what was read before an error counts
	var names []string
	for _, entry := range entries {
		if entry.IsDir() {
			names = append(names, entry.Name())
		}
	}
	return names
}

// wheel describes a Python package by its .dist-info folder, whose name without
// that is base.
func wheel(root *os.Root, dir, base string) string {
	head, _ := readHead(root, path.Join(dir, "METADATA"), maxPackageHead)
	name, version := parseMetadata(head)
	if p := describePackage(name, version); p != "" {
		return p
	}
	name, version, _ = strings.Cut(base, "-")
	return describePackage(name, version)
}

// parseMetadata reads the name and the version in the head of a METADATA.
func parseMetadata(text []byte) (name, version string) {
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() && (name == "" || version == "") {
		key, value, ok := strings.Cut(lines.Text(), ":")
		switch {
		case lines.Text() == "":
			return name, version // the description follows
		case ok && strings.EqualFold(key, "Name"):
			name = strings.TrimSpace(value)
		case ok && strings.EqualFold(key, "Version"):
			version = strings.TrimSpace(value)
		}
	}
	return name, version
}

// module describes an npm package by its folder.
func module(root *os.Root, dir string) string {
	raw, whole := readHead(root, path.Join(dir, "package.json"), maxPackageJSON)
	var p struct {
		Name    string `json:"name"`
		Version string `json:"version"`
	}
	if !whole || json.Unmarshal(raw, &p) != nil {
		return ""
	}
	return describePackage(p.Name, p.Version)
}

// describePackage returns name==version, or "" when they are no such words.
func describePackage(name, version string) string {
	for _, word := range []string{name, version} {
		if word == "" || len(word) > maxPackageWords || strings.ContainsFunc(word, func(r rune) bool { return r <= ' ' || r > '~' }) {
			return ""
		}
	}
	return name + "==" + version
}

// readHead returns the first limit bytes of a file, and whether that is all.
func readHead(root *os.Root, name string, limit int64) (text []byte, whole bool) {
	f, err := openPlain(root, name)
	if err != nil {
		return nil, false
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, false
	}
	text, err = io.ReadAll(io.LimitReader(f, limit+1))
	if int64(len(text)) > limit {
		return text[:limit], false
	}
	return text, err == nil
}

// openPlain opens a file or folder for reading; not waiting for a pipe's writer.
func openPlain(root *os.Root, name string) (*os.File, error) {
	return root.OpenFile(name, os.O_RDONLY|openFlags, fs.FileMode(0))
}
