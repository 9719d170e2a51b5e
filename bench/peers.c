/* SPDX-License-Identifier: MIT */
/*
 * Which systems take part. If a system's library was missing, its file is not linked, and its weak
 * symbol is NULL.
 */
#include "peer.h"

#pragma weak peer_zmq
#pragma weak peer_nng
#pragma weak peer_nanomsg
#pragma weak peer_uv
#pragma weak peer_sdbus
#pragma weak peer_wayland
#pragma weak peer_qb

const struct entry entries[] = {
    {"raw", NULL, &peer_raw, false},
    {"raw-batched", NULL, &peer_raw_batched, false},
    {"beam", NULL, &peer_beam, false},
    {"beam-many", NULL, &peer_beam_many, false},
    {"beam-watched", NULL, &peer_beam_watched, true},
    {"zmq", "libzmq3-dev", &peer_zmq, false},
    {"nng", "libnng-dev", &peer_nng, false},
    {"nanomsg", "libnanomsg-dev", &peer_nanomsg, false},
    {"libuv", "libuv1-dev", &peer_uv, false},
    {"sd-bus", "libsystemd-dev", &peer_sdbus, false},
    {"wayland", "libwayland-dev", &peer_wayland, false},
    {"libqb", "libqb-dev", &peer_qb, false},
};
const size_t n_entries = sizeof entries / sizeof entries[0];
