# SPDX-License-Identifier: BSD-3-Clause
"""libdaxmap and its preload, on programs that know nothing of them."""
