# SPDX-License-Identifier: BSD-3-Clause
# Warnings that are errors of ours, for every target.
add_compile_definitions(_GNU_SOURCE _FILE_OFFSET_BITS=64)
add_compile_options(
  -Wall -Wextra -Wno-unused-parameter
  -Werror=implicit-function-declaration -Werror=int-conversion
  -Werror=incompatible-pointer-types -Werror=return-type
  -Werror=format -Wno-error=format-truncation -Werror=missing-prototypes -Werror=strict-prototypes
  -Wshadow -Wvla -fno-strict-aliasing)
