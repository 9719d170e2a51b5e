# SPDX-License-Identifier: MIT
#
# Sourced by scripts that need packages of Debian 12.
# shellcheck shell=bash disable=SC2034 # those scripts use what is unused here

# need_packages NAME...: installs the packages that are missing, as root or with sudo.
need_packages() {
	local missing=() as_root=() name log

	for name in "$@"; do
		if [ "$(dpkg-query -W -f='${db:Status-Status}' "$name" 2>/dev/null)" != installed ]; then
			missing+=("$name")
		fi
	done
	if [ "${#missing[@]}" -eq 0 ]; then
		return 0
	fi
	if [ "$(id -u)" -ne 0 ]; then
		as_root=(sudo)
	fi
	echo "installing Debian packages: ${missing[*]}"
	log=$(mktemp)
	if ! { "${as_root[@]}" apt-get update -q &&
		"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
			apt-get install -y -q --no-install-recommends "${missing[@]}"; } >"$log" 2>&1 </dev/null; then
		cat "$log"
		rm -f "$log"
		echo "could not install these Debian packages: ${missing[*]}" >&2
		return 1
	fi
	rm -f "$log"
}

# The packages needed for building Beam, for its tests, for the benchmark (which also measures other
# systems and draws pictures), for the models, for fuzzing, and for coverage.
BUILD_PACKAGES=(gcc libc6-dev cmake ninja-build)
TEST_PACKAGES=("${BUILD_PACKAGES[@]}" libcunit1-dev zlib1g-dev libjansson-dev libuv1-dev libglib2.0-dev libsystemd-dev
	python3 pkg-config scdoc man-db binutils)
BENCH_PACKAGES=("${BUILD_PACKAGES[@]}" pkg-config python3 libjansson-dev libzmq3-dev libnng-dev libnanomsg-dev
	libuv1-dev libsystemd-dev libwayland-dev libqb-dev gnuplot-nox)
MODEL_PACKAGES=(gcc libc6-dev spin)
FUZZ_PACKAGES=("${TEST_PACKAGES[@]}" clang libclang-rt-14-dev afl++)
COVERAGE_PACKAGES=("${TEST_PACKAGES[@]}" gcovr)
