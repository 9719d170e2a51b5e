# SPDX-License-Identifier: MIT
# Completion for bash: subcommands, their options as --help prints them, and existing addresses.

_beam() {
	local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]} command=${COMP_WORDS[1]} words
	COMPREPLY=()

	if [ "$COMP_CWORD" -eq 1 ] || { [ "$COMP_CWORD" -eq 2 ] && [ "$command" = help ]; }; then
		words=$("${COMP_WORDS[0]}" --help 2>/dev/null |
			sed -n 's/^  \([a-z]\+\) .*/\1/p; s/^  \(-., \|    \)\(--[a-z]\+\).*/\2/p')
		mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
		return
	fi
	case $previous in
	--file | -f)
		compopt -o filenames 2>/dev/null
		mapfile -t COMPREPLY < <(compgen -f -- "$current")
		return
		;;
	--save | -s)
		compopt -o filenames 2>/dev/null
		mapfile -t COMPREPLY < <(compgen -d -- "$current")
		return
		;;
	esac
	case $current in
	-*)
		words=$("${COMP_WORDS[0]}" "$command" --help 2>/dev/null |
			sed -n 's/^  \(-., \|    \)\(--[a-z]\+\).*/\2/p')
		mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
		;;
	@*)
		# Abstract names of listening sockets: those with the flag __SO_ACCEPTCON.
		words=$(sed -n 's/^\([^ ]* \)\{3\}00010000 .* \(@.*\)$/\2/p' /proc/net/unix)
		mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
		;;
	*)
		compopt -o filenames 2>/dev/null
		mapfile -t COMPREPLY < <(compgen -f -- "$current")
		;;
	esac
}

complete -F _beam beam
