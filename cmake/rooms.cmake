# SPDX-License-Identifier: BSD-3-Clause
#
# A room is a folder of daxfuse/ and a static library. What it shows to others are its PUBLIC
# headers, and only to rooms that say that they use it: each target finds those headers in
# include folders of their own (links, in the build folder), and the source tree is on nobody's
# path. So an include that points up, or at what another room keeps to itself, does not compile.
#
#   add_room(NAME SOURCES file.c...
#            [PUBLIC header.h...]      what others may include, as daxfuse/NAME/header.h
#            [USES room...]            rooms whose headers it sees, and which it links with
#            [SEES room...]            rooms whose headers it sees; each program decides when it
#                                      is linked what stands behind them (the crash tests'
#                                      recorder)
#            [LIBRARIES target...])    packaged libraries
#
# A file includes its own room's headers by their bare names.
function(add_header_folder target folder)
  set(path ${CMAKE_BINARY_DIR}/rooms/${target}/${folder})
  file(REMOVE_RECURSE ${path})
  file(MAKE_DIRECTORY ${path})
  foreach(header ${ARGN})
    get_filename_component(name ${header} NAME)
    file(CREATE_LINK ${header} ${path}/${name} SYMBOLIC)
  endforeach()
  add_library(${target} INTERFACE)
  target_include_directories(${target} INTERFACE ${CMAKE_BINARY_DIR}/rooms/${target})
endfunction()

function(add_room name)
  cmake_parse_arguments(PARSE_ARGV 1 room "" "" "SOURCES;PUBLIC;USES;SEES;LIBRARIES")
  list(TRANSFORM room_PUBLIC PREPEND ${CMAKE_CURRENT_SOURCE_DIR}/)
  add_header_folder(see_${name} daxfuse/${name} ${room_PUBLIC})
  add_library(dxf_${name} STATIC ${room_SOURCES})
  target_link_libraries(dxf_${name} PUBLIC see_${name} PRIVATE ${room_LIBRARIES})
  foreach(other ${room_USES})
    target_link_libraries(dxf_${name} PUBLIC dxf_${other})
    target_link_libraries(see_${name} INTERFACE see_${other})
  endforeach()
  foreach(other ${room_SEES})
    target_link_libraries(dxf_${name} PUBLIC see_${other})
    target_link_libraries(see_${name} INTERFACE see_${other})
  endforeach()
endfunction()

# What others may have, too: include/daxfuse, a folder for each purpose.
set(public_include ${CMAKE_SOURCE_DIR}/include/daxfuse)
add_header_folder(see_format daxfuse ${public_include}/format.h)
add_header_folder(see_protocol daxfuse ${public_include}/ioctl.h ${public_include}/direct.h)
add_header_folder(see_module daxfuse ${public_include}/daxview.h)
add_header_folder(see_library daxfuse ${public_include}/daxmap.h)
