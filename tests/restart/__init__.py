# SPDX-License-Identifier: BSD-3-Clause
"""The daemon dies or is replaced under a live mount, and no program notices."""
