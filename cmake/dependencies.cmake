# SPDX-License-Identifier: BSD-3-Clause
# Packaged libraries, one imported target each.
find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)

pkg_check_modules(PMEM2 REQUIRED IMPORTED_TARGET libpmem2)
pkg_check_modules(NDCTL REQUIRED IMPORTED_TARGET libndctl libdaxctl)
pkg_check_modules(JSONC REQUIRED IMPORTED_TARGET json-c)
pkg_check_modules(UUID REQUIRED IMPORTED_TARGET uuid)
pkg_check_modules(BLKID REQUIRED IMPORTED_TARGET blkid)
pkg_check_modules(MOUNT REQUIRED IMPORTED_TARGET mount)
pkg_check_modules(ISAL REQUIRED IMPORTED_TARGET libisal)
pkg_check_modules(XXHASH REQUIRED IMPORTED_TARGET libxxhash)
pkg_check_modules(MICROHTTPD REQUIRED IMPORTED_TARGET libmicrohttpd)
pkg_check_modules(CMOCKA REQUIRED IMPORTED_TARGET cmocka)

# Static probes; there are none without this header.
find_path(SYS_SDT_H sys/sdt.h)
if(NOT SYS_SDT_H)
  message(STATUS "no <sys/sdt.h>: built without static probes")
endif()

# libfuse: 3.17 is the floor. contrib/install-dependencies puts a newer one than
# the system's, linked statically, where it is needed.
if(DEFINED ENV{XDG_CACHE_HOME})
  set(cache_home $ENV{XDG_CACHE_HOME})
else()
  set(cache_home $ENV{HOME}/.cache)
endif()
file(GLOB fuse_prefixes ${cache_home}/daxfuse/libfuse-*)
list(SORT fuse_prefixes COMPARE NATURAL ORDER DESCENDING)
if(fuse_prefixes)
  list(GET fuse_prefixes 0 fuse_prefix)
  set(ENV{PKG_CONFIG_PATH} "${fuse_prefix}/lib/pkgconfig:$ENV{PKG_CONFIG_PATH}")
endif()
pkg_check_modules(FUSE3 QUIET IMPORTED_TARGET fuse3>=3.17)
if(NOT FUSE3_FOUND)
  message(FATAL_ERROR "libfuse 3.17 or newer is missing: run contrib/install-dependencies")
endif()
if(fuse_prefixes)
  list(REMOVE_ITEM FUSE3_STATIC_LIBRARIES fuse3)
  target_link_libraries(PkgConfig::FUSE3 INTERFACE ${FUSE3_STATIC_LIBRARIES})
endif()
message(STATUS "libfuse ${FUSE3_VERSION}")
