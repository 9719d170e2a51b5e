/* SPDX-License-Identifier: MIT */
/* Who takes part. A system whose library was not there is not linked: its weak symbol is NULL then. */
#include "peer.h"

#pragma weak peer_zmq
#pragma weak peer_nng
#pragma weak peer_nanomsg
#pragma weak peer_uv
#pragma weak peer_sdbus
#pragma weak peer_wayland
#pragma weak peer_qb

const struct entry entries[] = {
    {"raw", NULL, &peer_raw},
    {"raw-batched", NULL, &peer_raw_batched},
    {"beam", NULL, &peer_beam},
    {"beam-many", NULL, &peer_beam_many},
    {"zmq", "libzmq3-dev", &peer_zmq},
    {"nng", "libnng-dev", &peer_nng},
    {"nanomsg", "libnanomsg-dev", &peer_nanomsg},
    {"libuv", "libuv1-dev", &peer_uv},
    {"sd-bus", "libsystemd-dev", &peer_sdbus},
    {"wayland", "libwayland-dev", &peer_wayland},
    {"libqb", "libqb-dev", &peer_qb},
};
const size_t n_entries = sizeof entries / sizeof entries[0];
