#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Compiles each public header on its own, and all of them together, without feature macros and
# without warnings: as C11, and as C++11 and C++20.
# usage: headers.sh INCLUDE-DIRECTORY C-COMPILER [C++-COMPILER]...
set -euo pipefail

include=$1
cc=$2
shift 2
failed=0
warnings=(-Wall -Wextra -Wconversion -Wshadow -Wundef -pedantic -pedantic-errors -Werror "-I$include" -fsyntax-only)

# compiles WHAT: with each compiler, in each language. Included twice, to test the include guards.
compiles() {
	local cxx standard

	"$cc" -x c -std=c11 -Wstrict-prototypes "${warnings[@]}" - <<<"$text$text" ||
		{ echo "$1: not C11 to $cc"; failed=1; }
	for cxx in "${compilers[@]}"; do
		for standard in c++11 c++20; do
			"$cxx" -x c++ "-std=$standard" "${warnings[@]}" - <<<"$text$text" ||
				{ echo "$1: not $standard to $cxx"; failed=1; }
		done
	done
}

compilers=("$@")
all=
for header in "$include"/beam/*.h; do
	text="#include <beam/$(basename "$header")>"$'\n'
	all+=$text
	compiles "$header"
done
text=$all
compiles "all headers"
echo "by $cc ${compilers[*]}"
exit "$failed"
