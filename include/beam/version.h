/* SPDX-License-Identifier: MIT */
/**
 * @file version.h
 * The version of Beam. The macros are the version of the headers that a program is compiled with.
 * The functions return the version of the library that the program is running with.
 *
 * Versions follow https://semver.org. From 1.0 on, the ABI only grows within a major version.
 */
#ifndef BEAM_VERSION_H
#define BEAM_VERSION_H

#include <beam/common.h>

BEAM_BEGIN

#define BEAM_VERSION_MAJOR 0
#define BEAM_VERSION_MINOR 1
#define BEAM_VERSION_PATCH 0

/** The version of these headers as one number, 0xMMmmpp, so that versions can be compared. */
#define BEAM_VERSION ((BEAM_VERSION_MAJOR << 16) | (BEAM_VERSION_MINOR << 8) | BEAM_VERSION_PATCH)

/**
 * Returns the version of the library that the program is running with.
 *
 * @return the BEAM_VERSION of the headers that the library was built from
 *
 * Never fails. Can be called from any thread, and in a forked child.
 */
BEAM_API uint32_t beam_version(void);

/**
 * Returns the same version as text.
 *
 * @return "major.minor.patch", a string that never changes and is never freed
 *
 * Never fails. Can be called from any thread, and in a forked child.
 */
BEAM_API const char *beam_version_string(void);

BEAM_END

#endif
