/* SPDX-License-Identifier: MIT */
/**
 * @file beam.h
 * Beam: Go-style channels between Linux processes. This header includes all the others. See
 * beam(7).
 */
#ifndef BEAM_BEAM_H
#define BEAM_BEAM_H

#include <beam/buffer.h>
#include <beam/call.h>
#include <beam/channel.h>
#include <beam/core.h>
#include <beam/deadline.h>
#include <beam/event.h>
#include <beam/listener.h>
#include <beam/message.h>
#include <beam/pair.h>
#include <beam/router.h>
#include <beam/select.h>
#include <beam/spawn.h>
#include <beam/topic.h>
#include <beam/version.h>

#endif
