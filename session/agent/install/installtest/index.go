// Package installtest serves packages that a test makes to pip, uv and npm on
// loopback, so that tests install without any other network.
package installtest

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"html"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
)

// A Wheel is a Python package that is made for a test.
type Wheel struct {
	Name, Version string
	// Requires are requirements, Extras the names that markers in them use.
	Requires []string
	Extras   []string
	// Files are what is installed, by path. Without any there is one module with
	// the package's name in which version is its version.
	Files map[string]string
	// Scripts are commands by name, each with its entry point module:function.
	Scripts map[string]string
	// Broken makes the wheel one that cannot be unpacked.
	Broken bool
}

// File returns the wheel's file name and content.
func (w Wheel) File() (name string, content []byte) {
	stem := fmt.Sprintf("%s-%s", underscored(w.Name), w.Version)
	name = stem + "-py3-none-any.whl"
	if w.Broken {
		return name, []byte("this is no archive")
	}
	files := maps.Clone(w.Files)
	if files == nil {
		files = map[string]string{underscored(w.Name) + ".py": fmt.Sprintf("version = %q\n", w.Version)}
	}
	info := stem + ".dist-info/"
	meta := fmt.Sprintf("Metadata-Version: 2.1\nName: %s\nVersion: %s\n", w.Name, w.Version)
	for _, extra := range w.Extras {
		meta += "Provides-Extra: " + extra + "\n"
	}
	for _, r := range w.Requires {
		meta += "Requires-Dist: " + r + "\n"
	}
	files[info+"METADATA"] = meta
	files[info+"WHEEL"] = "Wheel-Version: 1.0\nGenerator: installtest\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
	if len(w.Scripts) > 0 {
		entries := "[console_scripts]\n"
		for _, script := range slices.Sorted(maps.Keys(w.Scripts)) {
			entries += script + " = " + w.Scripts[script] + "\n"
		}
		files[info+"entry_points.txt"] = entries
	}
	var out bytes.Buffer
	z := zip.NewWriter(&out)
	record := ""
	for _, path := range slices.Sorted(maps.Keys(files)) {
		sum := sha256.Sum256([]byte(files[path]))
		record += fmt.Sprintf("%s,sha256=%s,%d\n", path, base64.RawURLEncoding.EncodeToString(sum[:]), len(files[path]))
		put(z, path, files[path])
	}
	put(z, info+"RECORD", record+info+"RECORD,,\n")
	if err := z.Close(); err != nil {
		panic(err) // a buffer takes everything
	}
	return name, out.Bytes()
}

func put(z *zip.Writer, path, content string) {
	f, err := z.Create(path)
	if err == nil {
		_, err = f.Write([]byte(content))
	}
	if err != nil {
		panic(err) // a buffer takes everything
	}
}

func underscored(name string) string { return strings.ReplaceAll(name, "-", "_") }

// An Index is a package index for pip and uv (PEP 503), for one test. Its methods
// are safe for concurrent use.
type Index struct {
	// URL is where it is.
	URL string

	*site
}

// NewIndex serves an index of these wheels until the test ends.
func NewIndex(t testing.TB, wheels ...Wheel) *Index {
	t.Helper()
	x := &Index{site: newSite(t)}
	x.URL = x.server.URL
	x.Add(wheels...)
	return x
}

// Add adds wheels, or replaces them.
func (x *Index) Add(wheels ...Wheel) {
	for _, w := range wheels {
		name, content := w.File()
		project := "/simple/" + normal(w.Name) + "/"
		x.mu.Lock()
		x.files["/files/"+name] = content
		x.links[project] = append(slices.DeleteFunc(x.links[project], func(s string) bool { return s == name }), name)
		var page strings.Builder
		page.WriteString("<!DOCTYPE html><html><body>\n")
		for _, name := range x.links[project] {
			sum := sha256.Sum256(x.files["/files/"+name])
			fmt.Fprintf(&page, "<a href=\"/files/%s#sha256=%s\">%s</a>\n", html.EscapeString(name), hex.EncodeToString(sum[:]), html.EscapeString(name))
		}
		x.files[project] = []byte(page.String())
		x.mu.Unlock()
	}
}

// FileURL returns where a wheel is, for a direct reference.
func (x *Index) FileURL(w Wheel) string {
	name, _ := w.File()
	return x.URL + "/files/" + name
}

// Hang makes the index never answer for a project.
func (x *Index) Hang(project string) { x.hang("/simple/" + normal(project) + "/") }

// Asked returns how often a project was asked for.
func (x *Index) Asked(project string) int { return x.asked("/simple/" + normal(project) + "/") }

// Fetched returns how often a wheel was fetched.
func (x *Index) Fetched(w Wheel) int {
	name, _ := w.File()
	return x.asked("/files/" + name)
}

// Env returns what pip and uv must have in their environment to use this index and
// nothing else, whatever is set on the machine.
func (x *Index) Env() map[string]string {
	return with(x.env, map[string]string{
		"PIP_INDEX_URL": x.URL + "/simple/", "PIP_CONFIG_FILE": os.DevNull, "PIP_CACHE_DIR": filepath.Join(x.dir, "pip"),
		"PIP_EXTRA_INDEX_URL": "", "PIP_FIND_LINKS": "", "PIP_NO_INDEX": "", "PIP_CERT": "", "PIP_TRUSTED_HOST": "",
		"PIP_RETRIES": "0", "PIP_DEFAULT_TIMEOUT": "60", "PIP_CONSTRAINT": "", "PIP_TARGET": "", "PIP_ROOT_USER_ACTION": "ignore",
		"UV_DEFAULT_INDEX": x.URL + "/simple/", "UV_INDEX": "", "UV_FIND_LINKS": "", "UV_NO_CONFIG": "1",
		"UV_CACHE_DIR": filepath.Join(x.dir, "uv"), "UV_PYTHON_DOWNLOADS": "never",
	})
}

var dashes = regexp.MustCompile(`[-_.]+`)

func normal(name string) string { return strings.ToLower(dashes.ReplaceAllLiteralString(name, "-")) }

// A site serves files of a test.
type site struct {
	server *httptest.Server
	dir    string            // of caches
	env    map[string]string // what any installer needs
	end    chan struct{}     // closed when the test ends

	mu     sync.Mutex // guards the fields below
	files  map[string][]byte
	links  map[string][]string
	hangs  map[string]bool
	counts map[string]int
	hung   map[string]chan struct{}
}

func newSite(t testing.TB) *site {
	t.Helper()
	s := &site{
		dir: t.TempDir(), end: make(chan struct{}), files: map[string][]byte{}, links: map[string][]string{},
		hangs: map[string]bool{}, counts: map[string]int{}, hung: map[string]chan struct{}{},
	}
	s.env = map[string]string{
		"http_proxy": "", "https_proxy": "", "HTTP_PROXY": "", "HTTPS_PROXY": "", "all_proxy": "", "ALL_PROXY": "",
		"no_proxy": "127.0.0.1", "NO_PROXY": "127.0.0.1",
	}
	s.server = httptest.NewServer(http.HandlerFunc(s.serve))
	t.Cleanup(func() {
		close(s.end)
		s.server.CloseClientConnections()
		s.server.Close()
	})
	return s
}

func (s *site) serve(w http.ResponseWriter, r *http.Request) {
	path := r.URL.Path
	s.mu.Lock()
	content, ok := s.files[path]
	hangs := s.hangs[path]
	s.counts[path]++
	if c := s.hung[path]; c != nil {
		close(c)
		delete(s.hung, path)
	}
	s.mu.Unlock()
	switch {
	case hangs:
		select {
		case <-r.Context().Done():
		case <-s.end:
		}
	case !ok:
		http.NotFound(w, r)
	default:
		switch {
		case strings.HasSuffix(path, "/"):
			w.Header().Set("Content-Type", "text/html")
		case strings.HasPrefix(path, "/files/"):
			w.Header().Set("Content-Type", "application/octet-stream")
			w.Header().Set("Cache-Control", "max-age=3600")
		default:
			w.Header().Set("Content-Type", "application/json")
		}
		_, _ = w.Write(content) // the client may have gone
	}
}

func (s *site) hang(path string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hangs[path] = true
}

// Waits returns a channel that is closed when path, of the URL, is asked for the
// next time.
func (s *site) Waits(path string) <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.hung[path]
	if c == nil {
		c = make(chan struct{})
		s.hung[path] = c
	}
	return c
}

func (s *site) asked(path string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counts[path]
}

func with(maps ...map[string]string) map[string]string {
	out := map[string]string{}
	for _, m := range maps {
		for k, v := range m {
			out[k] = v
		}
	}
	return out
}
