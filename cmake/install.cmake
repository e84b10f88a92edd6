# SPDX-License-Identifier: BSD-3-Clause
# Where things go. mount(8) looks for helpers in /sbin only, so install with
# -DCMAKE_INSTALL_PREFIX=/usr for `mount -t daxfuse` and fstab lines to work.
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

configure_file(${CMAKE_SOURCE_DIR}/contrib/udev/95-daxfuse.rules.in
  ${CMAKE_BINARY_DIR}/95-daxfuse.rules @ONLY)
install(FILES ${CMAKE_BINARY_DIR}/95-daxfuse.rules DESTINATION lib/udev/rules.d)
configure_file(${CMAKE_SOURCE_DIR}/contrib/systemd/daxfuse@.service.in ${CMAKE_BINARY_DIR}/daxfuse@.service @ONLY)
set(BINDIR ${CMAKE_INSTALL_FULL_BINDIR})
configure_file(${CMAKE_SOURCE_DIR}/contrib/systemd/daxfuse-volumes.service.in
  ${CMAKE_BINARY_DIR}/daxfuse-volumes.service @ONLY)
install(FILES ${CMAKE_BINARY_DIR}/daxfuse@.service ${CMAKE_BINARY_DIR}/daxfuse-volumes.service
  ${CMAKE_SOURCE_DIR}/contrib/systemd/daxfuse-volumes.socket DESTINATION lib/systemd/system)
configure_file(${CMAKE_SOURCE_DIR}/contrib/systemd/daxfuse-metrics.service.in
  ${CMAKE_BINARY_DIR}/daxfuse-metrics.service @ONLY)
install(FILES ${CMAKE_BINARY_DIR}/daxfuse-metrics.service
  ${CMAKE_SOURCE_DIR}/contrib/systemd/daxfuse-metrics.timer DESTINATION lib/systemd/system)

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
endif()
