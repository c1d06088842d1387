package wire

import (
	"strings"
	"testing"
)

func TestCheckPackageTakes(t *testing.T) {
	for language, list := range map[string][]string{
		"python": {
			"numpy", "Foo.Bar_baz-1", "a", "requests[socks]", "requests [socks, security] >= 2.8.1, == 2.8.*",
			"x==1.0", "x===1.0-weird", "x~=1.4.2", "x!=1.*", "x (>=1,<2)", "x>=1.0a1.post2.dev3+local.1", "x==1!2.0",
			"x; python_version < '3.9'", `x>1 ; (os_name == "nt" or sys_platform != 'win32') and extra == 'y'`,
			"x; 'linux' in sys_platform", "x; sys_platform not  in 'win32 cygwin'", "x[]",
			"x @ https://example.com/x-1.0-py3-none-any.whl", "x@https://example.com/x.tar.gz#sha256=ab12",
			"x[extra] @ git+https://example.com/r.git@v1.0#subdirectory=p ; python_version > '3'",
			"x @ http://127.0.0.1:8080/x.whl",
		},
		"javascript": {
			"lodash", "@types/node", "left-pad@1.3.0", "a@^1.2", "a@~1.2.3", "a@>=1.2 <2 || 3.x", "a@1.2 - 2.3.4", "a@*",
			"a@latest", "a@next-14", "a@v1.0.0-beta.1+build", "JSONStream", "a@npm:@s/b@^2", "a@npm:b",
			"a@https://example.com/a.tgz", "a@git+https://example.com/a.git#v1", "@s/b@1", "socket.io",
		},
	} {
		for _, spec := range list {
			if err := CheckPackage(language, spec); err != nil {
				t.Errorf("%s %q: got %v, want nil", language, spec, err)
			}
		}
	}
}

// peers D17: a name becomes one argument, so nothing in it may be anything else.
func TestCheckPackageRefusesWhatIsNoName(t *testing.T) {
	both := []struct{ spec, want string }{
		{"", "empty"}, {"  ", "empty"}, {"-r", "options are not taken"}, {"--index-url=https://evil.example", "options are not taken"},
		{"-e", "options"}, {"./x", "local paths"}, {"/tmp/x", "local paths"}, {"../x", "local paths"}, {`\\host\x`, "local paths"},
		{"~/x", "local paths"}, {" x", "space around"}, {"x\n", "space around"}, {"x\ny", `'\n'`}, {"x\x00", `'\x00'`},
		{"x\x1b[31m", `'\x1b'`}, {"naïve", "'ï'"}, {"x\xff", "not UTF-8"}, {strings.Repeat("x", 2001), "more than 2000"},
		{"x; rm -rf ~", ""}, {"x && y", ""}, {"x|y", ""}, {"x$(y)", ""}, {"x`y`", ""}, {"x y", ""}, {"x>/etc/passwd", ""},
		{"x --no-deps", ""}, {"file:///tmp/x", ""}, {"x@file:///tmp/x", ""}, {"x@/tmp/x", ""}, {"x@ ./y", ""},
		{"x@https://user:secret@example.com/x", ".netrc"}, {"x@ssh://example.com/x", ""}, {"x@https:///x", "no host"},
		{"x@git+https://example.com/r@--upload-pack=x", "begin with -"}, {"x@https://example.com/a b", ""}, {"C:\\x", ""},
		{"x@git+ssh://-oProxyCommand=x/y", ""}, {"https://example.com/x.whl", ""}, {"x'y", ""}, {`x"y"`, ""},
	}
	for _, language := range []string{"python", "javascript"} {
		for _, test := range both {
			err := CheckPackage(language, test.spec)
			if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), "right are") {
				t.Errorf("%s %q: got %v, want an error with %q that says what is right", language, test.spec, err, test.want)
			}
			if err != nil && strings.Contains(err.Error(), "secret") {
				t.Errorf("%s: %v shows a password", language, err)
			}
		}
	}
	for language, list := range map[string][]string{
		"python": {
			"x[", "x[a", "x[,]", "x==", "x==1 2", "x=1", "x>1.*", "x~=1", "x (>1", "x,y", "x;", "x; foo == '1'", "x; os_name", "x; os_name == ",
			"x; os_name == 'a' and", "x; (os_name == 'a'", "x-", ".x", "x @", "@types/node", "x@1.0", "x; os_name == 'a\\'", "x; " + strings.Repeat("(", 500),
		},
		"javascript": {
			"@types", "@/x", "@s/", "a/b", "a@", "a@01", "a@1.2.3.4", "a@>", "a@npm:", "a@npm:./x", "a@link:../x", "x.tgz", "a@x.tgz", "a@github:u/r",
			".x", "_x", "a@b@c", "a>=1", strings.Repeat("a", 215), "a@npm:b@npm:c",
		},
	} {
		for _, spec := range list {
			if err := CheckPackage(language, spec); err == nil {
				t.Errorf("%s %q: got nil, want an error", language, spec)
			}
		}
	}
	if err := CheckPackage("cobol", "x"); err == nil || !strings.Contains(err.Error(), "not supported") {
		t.Errorf("got %v, want that packages are not supported there", err)
	}
}

// FuzzCheckPackage: what passes is one argument that no installer takes for an
// option or for a path.
func FuzzCheckPackage(f *testing.F) {
	for _, s := range []string{"x[a]>=1; os_name == 'a'", "x @ https://example.com/x", "@s/n@^1 || 2", "a@npm:b@1", "-x", "x\n", "a@x.tgz"} {
		f.Add(true, s)
		f.Add(false, s)
	}
	f.Fuzz(func(t *testing.T, python bool, spec string) {
		language := languageJavaScript
		if python {
			language = languagePython
		}
		if CheckPackage(language, spec) != nil {
			return
		}
		first := spec[0]
		switch {
		case first >= 'a' && first <= 'z', first >= 'A' && first <= 'Z', first >= '0' && first <= '9', first == '@' && !python:
		default:
			t.Errorf("%q passes and begins with %q", spec, first)
		}
		if strings.ContainsAny(spec, "\x00\n\r\t\\`") || strings.Contains(spec, "@-") || len(spec) > maxSpecifier {
			t.Errorf("%q passes", spec)
		}
		if strings.Contains(spec, "file:") && !strings.Contains(spec, "http") && !strings.Contains(spec, ";") {
			t.Errorf("%q passes", spec)
		}
	})
}
