#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Compiles each public header alone, as C11 and as C++17, without a feature macro and without a warning.
# usage: headers.sh INCLUDE-DIRECTORY C-COMPILER
set -euo pipefail

include=$1
cc=$2
failed=0
warnings=(-Wall -Wextra -Wconversion -Wshadow -Wundef -pedantic -pedantic-errors -Werror)

for header in "$include"/beam/*.h; do
	name=beam/$(basename "$header")
	# Twice, for its guard.
	text="#include <$name>"$'\n'"#include <$name>"$'\n'
	"$cc" -x c -std=c11 "${warnings[@]}" -Wstrict-prototypes -I"$include" -fsyntax-only - <<<"$text" ||
		{ echo "$header: not C11 by itself"; failed=1; }
	# The C compiler's own driver takes C++ as well, where C++ is installed.
	if "$cc" -x c++ -fsyntax-only - <<<'#include <cstddef>' 2>/dev/null; then
		"$cc" -x c++ -std=c++17 "${warnings[@]}" -I"$include" -fsyntax-only - <<<"$text" ||
			{ echo "$header: not C++17 by itself"; failed=1; }
	fi
done
exit "$failed"
