package tests

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"html"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"
)

// A wheel is a package of one module to install in a test.
type wheel struct {
	name, version, code string
}

func (w *wheel) file() string { return fmt.Sprintf("%s-%s-py3-none-any.whl", w.name, w.version) }

// build returns the wheel as pip takes it.
func (w *wheel) build() ([]byte, error) {
	info := fmt.Sprintf("%s-%s.dist-info/", w.name, w.version)
	files := []struct{ name, content string }{
		{w.name + "/__init__.py", w.code},
		{info + "METADATA", fmt.Sprintf("Metadata-Version: 2.1\nName: %s\nVersion: %s\n", w.name, w.version)},
		{info + "WHEEL", "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"},
	}
	var out, record bytes.Buffer
	z := zip.NewWriter(&out)
	add := func(name, content string) error {
		f, err := z.Create(name)
		if err == nil {
			_, err = f.Write([]byte(content))
		}
		return err
	}
	for _, f := range files {
		if err := add(f.name, f.content); err != nil {
			return nil, err
		}
		sum := sha256.Sum256([]byte(f.content))
		fmt.Fprintf(&record, "%s,sha256=%s,%d\n", f.name, base64.RawURLEncoding.EncodeToString(sum[:]), len(f.content))
	}
	fmt.Fprintf(&record, "%sRECORD,,\n", info)
	if err := add(info+"RECORD", record.String()); err != nil {
		return nil, err
	}
	err := z.Close()
	return out.Bytes(), err
}

// serveWheels serves a package index with these wheels on loopback until the
// test ends and returns the environment with which pip and uv use it alone.
func serveWheels(tb testing.TB, wheels ...wheel) []string {
	tb.Helper()
	mux := http.NewServeMux()
	for _, w := range wheels {
		content, err := w.build()
		if err != nil {
			tb.Fatalf("building %s: %v", w.file(), err)
		}
		mux.HandleFunc("/simple/"+w.name+"/", func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("Content-Type", "text/html")
			fmt.Fprintf(rw, "<!DOCTYPE html><html><body><a href=\"/files/%s\">%[1]s</a></body></html>", html.EscapeString(w.file()))
		})
		mux.HandleFunc("/files/"+w.file(), func(rw http.ResponseWriter, _ *http.Request) {
			_, _ = rw.Write(content) // pip says it when it is cut short
		})
	}
	server := httptest.NewServer(mux)
	tb.Cleanup(server.Close)
	url := server.URL + "/simple/"
	return []string{
		"PIP_INDEX_URL=" + url, "PIP_EXTRA_INDEX_URL=", "PIP_FIND_LINKS=", "PIP_CONFIG_FILE=/dev/null", "PIP_NO_INDEX=",
		"PIP_CACHE_DIR=" + filepath.Join(tb.TempDir(), "pip"),
		"UV_INDEX_URL=" + url, "UV_DEFAULT_INDEX=" + url, "UV_NO_CONFIG=1", "UV_CACHE_DIR=" + filepath.Join(tb.TempDir(), "uv"),
	}
}
