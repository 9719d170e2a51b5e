/* SPDX-License-Identifier: MIT */
/**
 * @file common.h
 * What every public header of Beam needs: visibility, C++ linkage, compiler checks.
 */
#ifndef BEAM_COMMON_H
#define BEAM_COMMON_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/** Marks what libbeam.so exports; everything else is hidden. */
#define BEAM_API __attribute__((visibility("default")))

/** A result that must be looked at. */
#define BEAM_CHECKED __attribute__((warn_unused_result))

#ifdef __cplusplus
#define BEAM_BEGIN extern "C" {
#define BEAM_END }
#else
#define BEAM_BEGIN
#define BEAM_END
#endif

#endif
