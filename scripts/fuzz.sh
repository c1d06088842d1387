#!/usr/bin/env bash
# Runs every fuzz target of the module for a time each: scripts/fuzz.sh 10s
set -euo pipefail
go=${GO:-go}
for dir in $($go list -f '{{if or .TestGoFiles .XTestGoFiles}}{{.Dir}}{{end}}' ./...); do
	for target in $(grep -hoE '^func Fuzz[A-Za-z0-9_]+' "$dir"/*_test.go 2>/dev/null | awk '{print $2}'); do
		echo "== ${dir#"$PWD"/} $target"
		$go test -run '^$' -fuzz "^$target\$" -fuzztime "$1" "$dir"
	done
done
