# SPDX-License-Identifier: MIT
#
# Sourced by scripts that run one step after another.
# shellcheck shell=bash

# progress TITLE: reads the output of ninja or ctest. On a terminal it shows how far it is, in one
# line that is rewritten at least once a second.
progress() {
	local title=$1 part line='' shown='' failed=0 wrong='' begin=$SECONDS status
	if [ ! -t 1 ]; then
		cat >/dev/null
		return 0
	fi
	while true; do
		status=0
		IFS= read -r -t 1 part || status=$?
		line+=$part
		if [ "$status" -eq 0 ]; then
			case $line in
			*'***Failed'* | *'***Timeout'* | *'***Exception'* | *'***Not Run'*)
				failed=$((failed + 1))
				wrong="$failed FAILED, "
				;;
			esac
			if [[ $line =~ ^\[([0-9]+)/([0-9]+)\]\  || $line =~ ^\ *([0-9]+)/([0-9]+)\ Test\ +# ]]; then
				shown="${BASH_REMATCH[1]} of ${BASH_REMATCH[2]}, "
			fi
			line=''
		elif [ "$status" -le 128 ]; then # the end of the output; above 128, a second passed without a line
			break
		fi
		printf '\r\033[K%s ... %s%s%d s' "$title" "$shown" "$wrong" $((SECONDS - begin))
	done
	printf '\r\033[K%s ... ' "$title"
}

# what_failed LOG: prints the output of ninja, ctest or tests/consumer/run, without the lines about
# what succeeded.
what_failed() {
	sed -E -e '/^\[[0-9]+\/[0-9]+\] /d' \
		-e '/^ +Start +[0-9]+: /d' \
		-e '/^ *[0-9]+\/[0-9]+ Test +#[0-9]+: .*( Passed |\*\*\*Skipped )/d' \
		-e '/^(Internal ctest changing into directory: |Test project )/d' \
		-e '/^consumer .*: passed$/d' \
		-e '/^[0-9]+% tests passed, /,$d' "$1"
}

# step TITLE COMMAND...: runs the command, and prints the title and how long it took. If the command
# fails, its output about the failure is shown. If step_log is set, it names a file for all output.
step() {
	local title=$1 log begin=$SECONDS
	shift
	log=${step_log:-$(mktemp)}
	printf '%s ... ' "$title"
	if "$@" 2>&1 </dev/null | tee "$log" | progress "$title"; then
		echo "done ($((SECONDS - begin)) s)"
	else
		echo "FAILED ($((SECONDS - begin)) s)"
		what_failed "$log"
		[ -n "${step_log:-}" ] || rm -f "$log"
		return 1
	fi
	[ -n "${step_log:-}" ] || rm -f "$log"
}
