# SPDX-License-Identifier: MIT
#
# Sourced by the scripts that do one step after another.
# shellcheck shell=bash

# step TITLE COMMAND...: says what is done, does it in silence, and shows what it said if it fails.
step() {
	local title=$1 log begin=$SECONDS
	shift
	log=$(mktemp)
	printf '%s ... ' "$title"
	if "$@" >"$log" 2>&1 </dev/null; then
		echo "done ($((SECONDS - begin)) s)"
		rm -f "$log"
	else
		echo "FAILED"
		cat "$log"
		rm -f "$log"
		return 1
	fi
}
