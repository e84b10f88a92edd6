# SPDX-License-Identifier: BSD-3-Clause
"""Programs that map the device themselves, by the bare protocol."""
