package wire

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"unicode/utf8"
)

// Languages that have packages.
const (
	languagePython     = "python"
	languageJavaScript = "javascript"
)

// maxSpecifier is how long a specifier may be, in bytes.
const maxSpecifier = 2000

// CheckPackage returns an error unless spec names a package in the way that the
// installer of language takes it: for Python a requirement of PEP 508, by name or
// by an https URL, for JavaScript [@scope/]name with a version, range, tag, npm:
// alias or https URL. What passes begins with a letter, a digit or @ and has
// neither control characters nor a local path, so that it is safe as one
// argument. The error says what would be right, for users.
func CheckPackage(language, spec string) error {
	var err error
	switch language {
	case languagePython:
		if err = checkText(spec); err == nil {
			err = checkRequirement(spec)
		}
		if err != nil {
			return fmt.Errorf("%q is not a package for pip: %w; right are name, name[extra]>=1.2,<2 or name @ https://host/file", shorten(spec), err)
		}
	case languageJavaScript:
		if err = checkText(spec); err == nil {
			err = checkNode(spec)
		}
		if err != nil {
			return fmt.Errorf("%q is not a package for npm: %w; right are name, @scope/name, name@1.2.3, name@^1.2 or name@https://host/file", shorten(spec), err)
		}
	default:
		return fmt.Errorf("packages are not supported for the language %q, only for python and javascript", shorten(language))
	}
	return nil
}

// checkText refuses what no specifier may be, whatever the language.
func checkText(spec string) error {
	switch {
	case strings.TrimSpace(spec) == "":
		return errors.New("it is empty")
	case len(spec) > maxSpecifier:
		return fmt.Errorf("it has %d bytes, more than %d", len(spec), maxSpecifier)
	case !utf8.ValidString(spec):
		return errors.New("it is not UTF-8")
	case spec[0] == '-':
		return errors.New("it begins with -, and options are not taken here: the installer reads its environment and its configuration files")
	case strings.TrimSpace(spec) != spec:
		return errors.New("there is space around it")
	case strings.ContainsAny(spec[:1], "./\\~"):
		return errors.New("local paths are not taken here: send the file with the run and install it from there")
	}
	for _, r := range spec {
		if r < ' ' || r > '~' {
			return fmt.Errorf("it has the character %q", r)
		}
	}
	return nil
}

var userInURL = regexp.MustCompile(`//[^/@]*@`)

// shorten returns text for an error message, without the password of a URL.
func shorten(text string) string {
	const most = 80
	text = userInURL.ReplaceAllLiteralString(text, "//***@")
	if len(text) <= most {
		return text
	}
	return text[:most] + "..."
}

var (
	urlSchemes = map[string]bool{"https": true, "http": true, "git+https": true}
	urlText    = regexp.MustCompile(`^[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]+$`)
)

// checkURL returns an error unless text is a URL that a package may come from.
func checkURL(text string) error {
	if !urlText.MatchString(text) {
		return errors.New("the URL has characters that must be written as %XX")
	}
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return errors.New("its URL cannot be read")
	case !urlSchemes[u.Scheme]:
		return fmt.Errorf("a URL must begin with https: or git+https:, not %s", u.Scheme)
	case u.Hostname() == "" || u.Hostname()[0] == '-':
		return errors.New("its URL names no host")
	case u.User != nil:
		return errors.New("its URL has a user or a password, which others could read: give them to the installer in its configuration or in .netrc")
	case strings.Contains(text, "@-") || strings.Contains(text, "#-"):
		return errors.New("a revision cannot begin with -")
	}
	return nil
}

const semverPart = `(?:0|[1-9][0-9]{0,15}|[xX*])`

var (
	nodePart = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._~-]*$`)
	nodeTag  = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9._-]*$`)
	// nodePartial is a version in which parts may be missing.
	nodePartial = `v?` + semverPart + `(?:\.` + semverPart + `(?:\.` + semverPart + `(?:-[0-9A-Za-z.-]+)?(?:\+[0-9A-Za-z.-]+)?)?)?`
	nodeRange   = regexp.MustCompile(`^(?:` + nodePartial + ` +- +` + nodePartial + `|` + nodeSimple + `(?: +` + nodeSimple + `)*)$`)
	nodeSimple  = `(?:[<>]=?|=|~>?|\^)? *` + nodePartial
	nodeFile    = regexp.MustCompile(`(?i)\.(?:tgz|tar\.gz|tar)$`)
)

// checkNode checks a specifier for npm.
func checkNode(spec string) error {
	name, selector, has := cutNode(spec)
	if err := checkNodeName(name); err != nil {
		return err
	}
	if !has {
		return nil
	}
	if target, ok := strings.CutPrefix(selector, "npm:"); ok {
		name, selector, has = cutNode(target)
		if err := checkNodeName(name); err != nil || !has {
			return err
		}
		return checkSelector(selector)
	}
	if strings.Contains(selector, ":") {
		return checkURL(selector)
	}
	return checkSelector(selector)
}

// cutNode cuts name@selector.
func cutNode(spec string) (name, selector string, has bool) {
	if spec == "" {
		return "", "", false
	}
	i := strings.IndexByte(spec[1:], '@') // the first may be the scope's
	if i < 0 {
		return spec, "", false
	}
	return spec[:i+1], spec[i+2:], true
}

func checkNodeName(name string) error {
	const most = 214 // npm's own limit
	whole := name
	if scoped, ok := strings.CutPrefix(name, "@"); ok {
		scope, rest, found := strings.Cut(scoped, "/")
		if !found || !nodePart.MatchString(scope) {
			return fmt.Errorf("%q is not @scope/name", shorten(name))
		}
		name = rest
	}
	switch {
	case strings.Contains(whole, ":"):
		return errors.New("a URL needs a name before it, as in name@https://host/file")
	case strings.Contains(name, "/"):
		return errors.New("repositories and local paths are not taken by their short names")
	case !nodePart.MatchString(name):
		return fmt.Errorf("%q cannot be a name", shorten(name))
	case nodeFile.MatchString(name):
		return errors.New("it names a file: send the file with the run and install it from there")
	case len(whole) > most:
		return fmt.Errorf("the name has %d characters, more than %d", len(whole), most)
	}
	return nil
}

func checkSelector(selector string) error {
	if nodeFile.MatchString(selector) {
		return errors.New("local files are not taken here")
	}
	if nodeTag.MatchString(selector) {
		return nil
	}
	for part := range strings.SplitSeq(selector, "||") {
		if !nodeRange.MatchString(strings.TrimSpace(part)) {
			return fmt.Errorf("%q is neither a version, nor a range, nor a tag", shorten(selector))
		}
	}
	return nil
}
