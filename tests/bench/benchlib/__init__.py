# SPDX-License-Identifier: BSD-3-Clause
"""The benches: what they run, and the reports that they write."""
