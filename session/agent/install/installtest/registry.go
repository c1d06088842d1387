package installtest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// A Module is an npm package that is made for a test.
type Module struct {
	Name, Version string
	Dependencies  map[string]string
	// Files are what is installed, by path. Without any there is an index.js that
	// exports the version.
	Files map[string]string
	// Broken makes the tarball one that cannot be unpacked.
	Broken bool
}

func (m Module) manifest() map[string]any {
	out := map[string]any{"name": m.Name, "version": m.Version, "main": "index.js"}
	if len(m.Dependencies) > 0 {
		out["dependencies"] = m.Dependencies
	}
	return out
}

// tarball returns the package as npm pack makes it.
func (m Module) tarball() []byte {
	if m.Broken {
		return []byte("this is no archive")
	}
	files := maps.Clone(m.Files)
	if files == nil {
		files = map[string]string{"index.js": "exports.version = " + quote(m.Version) + "\n"}
	}
	files["package.json"] = encode(m.manifest())
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	t := tar.NewWriter(z)
	for _, path := range slices.Sorted(maps.Keys(files)) {
		must(t.WriteHeader(&tar.Header{Name: "package/" + path, Mode: 0o644, Size: int64(len(files[path])), ModTime: time.Unix(1e9, 0)}))
		_, err := t.Write([]byte(files[path]))
		must(err)
	}
	must(t.Close())
	must(z.Close())
	return out.Bytes()
}

// A Registry is an npm registry, for one test. Its methods are safe for
// concurrent use.
type Registry struct {
	// URL is where it is.
	URL string

	*site
	versions map[string]map[string]any // by name and version; guarded by site.mu
}

// NewRegistry serves a registry of these modules until the test ends.
func NewRegistry(t testing.TB, modules ...Module) *Registry {
	t.Helper()
	x := &Registry{site: newSite(t), versions: map[string]map[string]any{}}
	x.URL = x.server.URL
	x.Add(modules...)
	return x
}

// Add adds modules, or replaces them. The one that was added last is latest.
func (x *Registry) Add(modules ...Module) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, m := range modules {
		file := "/" + m.Name + "/-/" + m.Name[strings.IndexByte(m.Name, '/')+1:] + "-" + m.Version + ".tgz"
		content := m.tarball()
		sum := sha512.Sum512(content)
		entry := m.manifest()
		entry["dist"] = map[string]string{
			"tarball": x.URL + file, "integrity": "sha512-" + base64.StdEncoding.EncodeToString(sum[:]),
		}
		if x.versions[m.Name] == nil {
			x.versions[m.Name] = map[string]any{}
		}
		x.versions[m.Name][m.Version] = entry
		x.files[file] = content
		x.files["/"+m.Name] = []byte(encode(map[string]any{
			"name": m.Name, "versions": x.versions[m.Name], "dist-tags": map[string]string{"latest": m.Version},
		}))
	}
}

// Hang makes the registry never answer for a package.
func (x *Registry) Hang(name string) { x.hang("/" + name) }

// Asked returns how often a package was asked for.
func (x *Registry) Asked(name string) int { return x.asked("/" + name) }

// Env returns what npm must have in its environment to use this registry and
// nothing else, whatever is set on the machine.
func (x *Registry) Env() map[string]string {
	return with(x.env, map[string]string{
		"npm_config_registry": x.URL + "/", "npm_config_cache": filepath.Join(x.dir, "npm"),
		"npm_config_userconfig": filepath.Join(x.dir, "npmrc"), "npm_config_globalconfig": filepath.Join(x.dir, "global"),
		"npm_config_fetch_retries": "0", "npm_config_proxy": "", "npm_config_https_proxy": "",
	})
}

func encode(v any) string {
	b, err := json.Marshal(v)
	must(err)
	return string(b)
}

func quote(s string) string { return encode(s) }

// must panics: a buffer takes everything.
func must(err error) {
	if err != nil {
		panic(err)
	}
}
