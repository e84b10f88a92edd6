# SPDX-License-Identifier: BSD-3-Clause
"""What tests on a mounted pool are written with."""
