#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Checks the man pages by the public headers: they render without a warning, every BEAM_API function
# has a page or an alias, every alias names a page and a function that it documents, every synopsis
# and every example compiles. And the README's programs are those of examples/hello.
# The backquotes are scdoc's.
# shellcheck disable=SC2016
set -eu

here=$(cd "$(dirname "$0")" && pwd)
include=$here/../../include
compiler=${CC:-cc}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
failed=0

fail()
{
	echo "$*" >&2
	failed=1
}

# The functions of the headers: the word before the parenthesis of each declaration marked BEAM_API.
functions=$(cat "$include"/beam/*.h | sed -n 's/^BEAM_API .*[ *]\(beam_[a-z_]*\)(.*/\1/p' | sort)
marks=$(cat "$include"/beam/*.h | grep -c '^BEAM_API ')
[ "$(echo "$functions" | wc -l)" -eq "$marks" ] || fail "check.sh does not understand every BEAM_API line"

pages=0
for page in "$here"/*.scd; do
	pages=$((pages + 1))
	name=$(basename "$page" .scd)
	scdoc <"$page" >"$scratch/page" || fail "$name: scdoc"
	if command -v man >/dev/null; then
		# A terminal may show ASCII alone; the result does not depend on
		# the caller's environment.
		for locale in C C.UTF-8; do
			LC_ALL=$locale MANWIDTH=80 man --warnings -l "$scratch/page" 2>"$scratch/warnings" >/dev/null
			[ ! -s "$scratch/warnings" ] || fail "$name: in the locale $locale: $(cat "$scratch/warnings")"
		done
	fi
done

for function in $functions; do
	page=$function.3
	if [ ! -e "$here/$page.scd" ]; then
		page=$(sed -n "s/^$function\.3 //p" "$here/aliases.txt")
	fi
	if [ -z "$page" ]; then
		fail "$function: no page and no alias"
	elif ! sed -n '/^# SYNOPSIS/,/^# DESCRIPTION/p' "$here/$page.scd" | grep -q "[ *]$function("; then
		fail "$function: not in the synopsis of $page"
	elif ! sed -n '/^# NAME/,/^# SYNOPSIS/p' "$here/$page.scd" | grep -q "\\<$function\\>"; then
		fail "$function: not in the names of $page"
	fi
done

while read -r alias page; do
	[ -e "$here/$page.scd" ] || fail "$alias: no page $page"
	echo "$functions" | grep -qx "${alias%.3}" || fail "$alias: no such function"
done <"$here/aliases.txt"

# The literal block of one section, as the reader sees it.
block()
{
	sed -n "/^# $2\$/,/^# [A-Z]/p" "$1" | sed -n '/^```$/,/^```$/p' | sed -e '/^```$/d' -e 's/\\\(.\)/\1/g'
}

# The command's examples are run by tests/examples/shell.py.
for page in "$here"/*.[37].scd; do
	name=$(basename "$page" .scd)
	block "$page" SYNOPSIS >"$scratch/synopsis.c"
	block "$page" EXAMPLE >"$scratch/example.c"
	[ -s "$scratch/example.c" ] || fail "$name: no example"
	for part in synopsis example; do
		"$compiler" -std=c11 -D_GNU_SOURCE -Wall -Wextra -Wconversion -Wshadow -Werror -fsyntax-only \
			-I"$include" "$scratch/$part.c" || fail "$name: the $part does not compile"
	done
done

# The README's programs are those of examples/hello, in this order.
awk -v scratch="$scratch" '
	/^```c$/ { program++; inside = 1; next }
	/^```$/ { inside = 0 }
	inside { print > (scratch "/readme" program ".c") }' "$here/../../README.md"
program=0
for name in sender receiver; do
	program=$((program + 1))
	sed -n '/^#include/,$p' "$here/../../examples/hello/$name.c" | cmp -s - "$scratch/readme$program.c" ||
		fail "README.md: program $program is not examples/hello/$name.c"
done
[ ! -e "$scratch/readme$((program + 1)).c" ] || fail "README.md: a program that is not in examples/hello"

[ $failed -eq 0 ] && echo "man pages: $(echo "$functions" | wc -l) functions, $pages pages, all well"
exit $failed
