# SPDX-License-Identifier: BSD-3-Clause
"""Programs that must not notice anything; each verifies what it does."""
