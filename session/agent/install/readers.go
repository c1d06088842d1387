package install

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

var (
	packageName = regexp.MustCompile(`^[A-Za-z0-9](?:[A-Za-z0-9._-]{0,98}[A-Za-z0-9])?`)
	fileSize    = regexp.MustCompile(`\(([0-9.]{1,12} ?[kKMGT]?i?B|[0-9]{1,12} bytes)\)`)
)

// nameIn returns the name that text begins with.
func nameIn(text string) string {
	if name := packageName.FindString(text); name != "" {
		return name
	}
	return "a package"
}

// A pipReader reads what pip install writes. A total of 0 means that it finds out
// what is needed; otherwise so many packages are fetched and installed.
type pipReader struct {
	total int64
	begun int64  // packages that it has begun with
	name  string // of the last of them
}

func (*pipReader) tool() string { return "pip" }

var (
	pipBytes = regexp.MustCompile(`^Progress ([0-9]{1,15}) of ([0-9]{1,15})$`)
	pipDone  = regexp.MustCompile(`^Successfully installed (.+)$`)
)

func (r *pipReader) line(text string, report Report) bool {
	words := strings.TrimLeft(text, " ")
	if m := pipBytes.FindStringSubmatch(words); m != nil {
		r.bytes(m[1], m[2], report)
		return false
	}
	verb, rest, _ := strings.Cut(words, " ")
	switch {
	case verb == "Collecting":
		r.begun++
		r.name = nameIn(rest)
		r.state(r.verb()+" "+r.name, report)
	case (verb == "Downloading" || verb == "Using") && r.name != "":
		if m := fileSize.FindStringSubmatch(rest); m != nil {
			r.state(r.verb()+" "+r.name+" ("+m[1]+")", report)
		}
	case verb == "Building" && strings.HasPrefix(rest, "wheel for "):
		r.state("building "+nameIn(strings.TrimPrefix(rest, "wheel for ")), report)
	case strings.HasPrefix(words, "Installing collected packages: ") && r.total > 0:
		report(fmt.Sprintf("installing %s", count(r.total)), r.total, r.total, unit)
	case pipDone.MatchString(words):
		n := int64(len(strings.Fields(rest)) - 1)
		report("installed "+count(n), n, n, unit)
	}
	return true
}

func (r *pipReader) verb() string {
	if r.total > 0 {
		return "fetching"
	}
	return "resolving"
}

// state reports what goes on, with what is known of the count.
func (r *pipReader) state(message string, report Report) {
	if r.total > 0 {
		report(message, max(0, r.begun-1), r.total, unit)
		return
	}
	report(message, r.begun, 0, unit)
}

func (r *pipReader) bytes(done, total string, report Report) {
	n, err := strconv.ParseInt(done, 10, 64)
	if err != nil {
		return
	}
	all, err := strconv.ParseInt(total, 10, 64)
	if err != nil || all <= 0 || r.name == "" {
		return
	}
	r.state(fmt.Sprintf("%s %s (%s of %s)", r.verb(), r.name, size(min(n, all)), size(all)), report)
}

// size says bytes in words.
func size(n int64) string {
	switch {
	case n < 1000:
		return fmt.Sprintf("%d B", n)
	case n < 1000*1000:
		return fmt.Sprintf("%.1f kB", float64(n)/1e3)
	}
	return fmt.Sprintf("%.1f MB", float64(n)/1e6)
}

func count(n int64) string {
	if n == 1 {
		return "1 package"
	}
	return fmt.Sprintf("%d packages", n)
}

// A uvReader reads what uv pip install writes.
type uvReader struct {
	total   int64
	fetched int64
}

func (*uvReader) tool() string { return "uv" }

var uvSummary = regexp.MustCompile(`^(Resolved|Prepared|Installed|Audited) ([0-9]{1,9}) packages? in `)

func (r *uvReader) line(text string, report Report) bool {
	words := strings.TrimLeft(text, " ")
	if m := uvSummary.FindStringSubmatch(words); m != nil {
		n, err := strconv.ParseInt(m[2], 10, 64)
		if err != nil {
			return true
		}
		switch m[1] {
		case "Resolved":
			r.total = n
			report("resolved "+count(n), 0, n, unit)
		case "Prepared": // what it does not name came from its cache
			r.fetched = r.total
			report("installing "+count(r.total), r.total, r.total, unit)
		case "Installed":
			r.total = max(r.total, n)
			report("installed "+count(n), n, n, unit)
		}
		return true
	}
	verb, rest, _ := strings.Cut(words, " ")
	switch verb {
	case "Downloading", "Building":
		message := "fetching " + nameIn(rest)
		if verb == "Building" {
			message = "building " + nameIn(rest)
		}
		if m := fileSize.FindStringSubmatch(rest); m != nil {
			message += " (" + m[1] + ")"
		}
		report(message, r.fetched, r.total, unit)
	case "Downloaded":
		r.fetched = min(r.fetched+1, r.total)
		report("fetched "+nameIn(rest), r.fetched, r.total, unit)
	}
	return true
}

// An npmReader reads what npm install writes with the log level http. It never
// says how many packages there will be.
type npmReader struct {
	found   int64
	fetched int64
}

func (*npmReader) tool() string { return "npm" }

var (
	npmFetch = regexp.MustCompile(`^npm (?:http|info http|http cache|http fetch)\b.*?(https?://[^ ]+)`)
	npmAdded = regexp.MustCompile(`(?:^|, )(?:added|changed) ([0-9]{1,9}) packages?`)
)

func (r *npmReader) line(text string, report Report) bool {
	if m := npmFetch.FindStringSubmatch(text); m != nil {
		if !strings.Contains(text, " 200 ") && !strings.Contains(text, " 304 ") && !strings.Contains(text, "cache") {
			return true
		}
		if strings.Contains(m[1], ".tgz") {
			r.fetched++
			report("fetched "+count(r.fetched), max(r.found, r.fetched), 0, unit)
		} else {
			r.found++
			report("resolving, "+count(r.found)+" so far", r.found, 0, unit)
		}
		return false
	}
	var n int64
	for _, m := range npmAdded.FindAllStringSubmatch(text, -1) {
		if k, err := strconv.ParseInt(m[1], 10, 64); err == nil {
			n += k
		}
	}
	if n > 0 {
		report("installed "+count(n), n, n, unit)
	}
	return true
}
