/* frames_in - what arrives from workers, and who gets it. */
#ifndef MSGL_ROUTER_FRAMES_IN_H
#define MSGL_ROUTER_FRAMES_IN_H

#include "router/router.h"

extern const struct link_ops frames_in_ops;        /* ctx is the struct router */
extern const struct fleet_ops frames_in_fleet_ops; /* ctx is the struct router */

#endif
