#!/usr/bin/env bash
# Installs what gokernel needs besides Go, on Debian and its kin, as root.
#
#   scripts/install-deps.sh run     for "make run": python3, and what makes the examples' tables and plots
#   scripts/install-deps.sh test    for "make test": the Jupyter clients that the tests drive
#
# Quick and silent when all is there. Elsewhere it says what is missing, and fails only when that is python3, or under CI.
set -euo pipefail

case "${1:-}" in
run)
	needed=(python3)
	wanted=(python3-ipython python3-matplotlib python3-pandas)
	;;
test)
	needed=(
		python3 python3-pip procps
		python3-ipykernel python3-jupyter-client python3-jupyter-kernel-test
		python3-nbclient python3-nbconvert jupyter-nbconvert
		jupyter-console python3-pexpect
		python3-ipywidgets python3-pandas python3-matplotlib
	)
	wanted=()
	# The race detector needs a C compiler.
	command -v "${CC:-cc}" >/dev/null || needed+=(gcc libc6-dev)
	# Another Node.js does as well, with an npm of its own.
	command -v node >/dev/null || needed+=(nodejs npm)
	;;
*)
	echo "usage: $0 run|test" >&2
	exit 2
	;;
esac

if ! command -v dpkg-query >/dev/null; then
	echo "This is no Debian system, so nothing is installed for you. ${1^} wants what Debian calls: ${needed[*]} ${wanted[*]}" >&2
	command -v python3 >/dev/null || { echo "python3 is missing." >&2; exit 1; }
	exit 0
fi

missing() {
	local p
	for p in "$@"; do
		[ "$(dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null)" = installed ] || echo "$p"
	done
}

mapfile -t absent < <(missing "${needed[@]}" "${wanted[@]}")
[ "${#absent[@]}" -gt 0 ] || exit 0

failed() {
	echo "$1 Missing: ${absent[*]}" >&2
	echo "  apt-get install ${absent[*]}" >&2
	if ! command -v python3 >/dev/null || [ "${CI:-}" = true ]; then
		exit 1
	fi
	echo "Going on without." >&2
	exit 0
}

[ "$(id -u)" = 0 ] || failed "Only root can install packages."

echo "installing ${absent[*]}"
export DEBIAN_FRONTEND=noninteractive
install() { apt-get install -y -qq --no-install-recommends "${absent[@]}" >/dev/null; }
# The lists may be absent or stale: refresh them only when the first attempt fails.
install 2>/dev/null || { apt-get update -qq && install; } || failed "apt-get failed."
