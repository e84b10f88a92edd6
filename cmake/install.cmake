# SPDX-License-Identifier: BSD-3-Clause
# Where things go. mount(8) looks for helpers in /sbin only, systemd and udev look for theirs in
# /usr only, so `--prefix /usr` is what makes `mount -t daxfuse`, fstab lines and units work.
include(GNUInstallDirs)

install(TARGETS daxfuse daxfuse-volumes RUNTIME)
install(TARGETS mkfs.daxfuse fsck.daxfuse RUNTIME DESTINATION ${CMAKE_INSTALL_SBINDIR})
file(RELATIVE_PATH to_daxfuse ${CMAKE_INSTALL_FULL_SBINDIR} ${CMAKE_INSTALL_FULL_BINDIR}/daxfuse)
file(MAKE_DIRECTORY ${CMAKE_BINARY_DIR}/links)
foreach(helper mount.daxfuse mount.fuse.daxfuse)
  file(CREATE_LINK ${to_daxfuse} ${CMAKE_BINARY_DIR}/links/${helper} SYMBOLIC)
  install(FILES ${CMAKE_BINARY_DIR}/links/${helper} DESTINATION ${CMAKE_INSTALL_SBINDIR})
endforeach()
# The protocol: what a client is written from (libdaxmap installs its own header).
install(FILES ${CMAKE_SOURCE_DIR}/include/daxfuse/ioctl.h ${CMAKE_SOURCE_DIR}/include/daxfuse/direct.h
  ${CMAKE_SOURCE_DIR}/include/daxfuse/daxview.h
  DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/daxfuse)

# Files that say where others are. Where that is, is known when they are installed:
# cmake --install may be told another prefix. @BINDIR@ and the like are absolute.
function(install_with_paths source destination)
  string(CONFIGURE [[
    get_filename_component(prefix "${CMAKE_INSTALL_PREFIX}" ABSOLUTE)
    get_filename_component(BINDIR "@CMAKE_INSTALL_BINDIR@" ABSOLUTE BASE_DIR "${prefix}")
    get_filename_component(LIBDIR "@CMAKE_INSTALL_LIBDIR@" ABSOLUTE BASE_DIR "${prefix}")
    get_filename_component(INCLUDEDIR "@CMAKE_INSTALL_INCLUDEDIR@" ABSOLUTE BASE_DIR "${prefix}")
    get_filename_component(LIBEXECDIR "@CMAKE_INSTALL_LIBEXECDIR@/daxfuse" ABSOLUTE BASE_DIR "${prefix}")
    get_filename_component(name "@source@" NAME_WLE)
    set(made "@CMAKE_BINARY_DIR@/with-paths/${name}")
    set(PROJECT_VERSION "@PROJECT_VERSION@")
    configure_file("@source@" "${made}" @ONLY)
    get_filename_component(destination "@destination@" ABSOLUTE BASE_DIR "${prefix}")
    file(INSTALL "${made}" DESTINATION "${destination}" USE_SOURCE_PERMISSIONS)
  ]] code @ONLY)
  install(CODE "${code}")
endfunction()

set(contrib ${CMAKE_SOURCE_DIR}/contrib)
install_with_paths(${contrib}/udev/95-daxfuse.rules.in lib/udev/rules.d)
install_with_paths(${contrib}/systemd/daxfuse@.service.in lib/systemd/system)
install_with_paths(${contrib}/systemd/daxfuse-volumes.service.in lib/systemd/system)
install_with_paths(${contrib}/systemd/daxfuse-metrics.service.in lib/systemd/system)
install(FILES ${contrib}/systemd/daxfuse-volumes.socket ${contrib}/systemd/daxfuse-metrics.timer
  DESTINATION lib/systemd/system)
install_with_paths(${contrib}/systemd/stop.in ${CMAKE_INSTALL_LIBEXECDIR}/daxfuse)
install_with_paths(${CMAKE_SOURCE_DIR}/daxfuse/daxmap/daxmap.pc.in ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
install(PROGRAMS ${contrib}/systemd/daxfuse-generator DESTINATION lib/systemd/system-generators)
install(FILES ${contrib}/systemd/tmpfiles.conf DESTINATION lib/tmpfiles.d RENAME daxfuse.conf)
# It is looked for by the name of the command.
foreach(program daxfuse mkfs.daxfuse fsck.daxfuse)
  install(FILES ${contrib}/completion/daxfuse DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions
    RENAME ${program})
endforeach()

# The kernel module's source, as DKMS wants it: dkms install daxview/VERSION
set(module_source src/daxview-${PROJECT_VERSION})
file(GLOB module_files ${CMAKE_SOURCE_DIR}/contrib/dkms/*.[ch])
configure_file(${CMAKE_SOURCE_DIR}/contrib/dkms/dkms.conf.in ${CMAKE_BINARY_DIR}/dkms.conf @ONLY)
install(FILES ${module_files} ${CMAKE_SOURCE_DIR}/contrib/dkms/Kbuild
  ${CMAKE_SOURCE_DIR}/contrib/dkms/Makefile
  ${CMAKE_SOURCE_DIR}/contrib/dkms/daxview.conf ${CMAKE_BINARY_DIR}/dkms.conf DESTINATION ${module_source})
install(FILES ${CMAKE_SOURCE_DIR}/include/daxfuse/daxview.h
  DESTINATION ${module_source}/include/daxfuse)

find_program(SCDOC scdoc)
if(SCDOC)
  file(GLOB manuals CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/docs/man/*.scd)
  foreach(source ${manuals})
    get_filename_component(page ${source} NAME_WLE)
    set(output ${CMAKE_BINARY_DIR}/man/${page})
    add_custom_command(OUTPUT ${output}
      COMMAND ${CMAKE_COMMAND} -E make_directory ${CMAKE_BINARY_DIR}/man
      COMMAND sh -c "'${SCDOC}' <'${source}' >'${output}'"
      DEPENDS ${source} VERBATIM)
    list(APPEND pages ${output})
    string(REGEX MATCH "[0-9]$" section ${page})
    install(FILES ${output} DESTINATION ${CMAKE_INSTALL_MANDIR}/man${section})
  endforeach()
  add_custom_target(man ALL DEPENDS ${pages})
  # of what is called by other names
  foreach(name mount.daxfuse mount.fuse.daxfuse daxfuse-volumes)
    file(WRITE ${CMAKE_BINARY_DIR}/man/${name}.8 ".so man8/daxfuse.8\n")
    install(FILES ${CMAKE_BINARY_DIR}/man/${name}.8 DESTINATION ${CMAKE_INSTALL_MANDIR}/man8)
  endforeach()
endif()
