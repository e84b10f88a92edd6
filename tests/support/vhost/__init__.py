# SPDX-License-Identifier: BSD-3-Clause
"""A front end of vhost-user, a driver of virtio-fs and a VMM's window, without a VMM and without a
kernel. It needs nothing of daxfuse, any back end on a socket will do."""

from support.vhost.front_end import *  # noqa: F401, F403
from support.vhost.guest import *  # noqa: F401, F403
from support.vhost.window import *  # noqa: F401, F403
