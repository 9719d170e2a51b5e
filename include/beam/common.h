/* SPDX-License-Identifier: MIT */
/**
 * @file common.h
 * What every public header of Beam needs: symbol visibility, C++ linkage and compiler checks.
 */
#ifndef BEAM_COMMON_H
#define BEAM_COMMON_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/** Marks a function that libbeam.so exports. All other symbols are hidden. */
#define BEAM_API __attribute__((visibility("default")))

/** Marks a function whose result must be checked. */
#define BEAM_CHECKED __attribute__((warn_unused_result))

#ifdef __cplusplus
#define BEAM_BEGIN extern "C" {
#define BEAM_END }
#else
#define BEAM_BEGIN
#define BEAM_END
#endif

#endif
