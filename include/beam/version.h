/* SPDX-License-Identifier: MIT */
/**
 * @file version.h
 * The version of Beam: the header's as macros, the library's by a function.
 *
 * Versions follow https://semver.org. The ABI of one major version only grows.
 */
#ifndef BEAM_VERSION_H
#define BEAM_VERSION_H

#include <beam/common.h>

BEAM_BEGIN

#define BEAM_VERSION_MAJOR 0
#define BEAM_VERSION_MINOR 1
#define BEAM_VERSION_PATCH 0

/** The version of these headers as one number that compares: 0xMMmmpp. */
#define BEAM_VERSION ((BEAM_VERSION_MAJOR << 16) | (BEAM_VERSION_MINOR << 8) | BEAM_VERSION_PATCH)

/**
 * The version of the library that is running.
 *
 * @return the BEAM_VERSION of the headers the library was built from
 *
 * Never fails. Safe from any thread, and in a forked child.
 */
BEAM_API uint32_t beam_version(void);

/**
 * The same as text.
 *
 * @return "major.minor.patch", a string that is never freed
 *
 * Never fails. Safe from any thread, and in a forked child.
 */
BEAM_API const char *beam_version_string(void);

BEAM_END

#endif
