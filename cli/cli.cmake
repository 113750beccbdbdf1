# SPDX-License-Identifier: Apache-2.0
# `choir` never links MPI (tests/check_no_mpi.sh); `choir-worker` is the one program that does. They
# have the flags of an engine in common, and unit tests link what decides something.
add_library(choir_flags STATIC cli/flags.c cli/engine_flags.c)
target_link_libraries(choir_flags choir_common)
file(GLOB cli_sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/cli/*.c)
list(FILTER cli_sources EXCLUDE REGEX "/(choir-worker|flags|engine_flags)\\.c$")
add_executable(choir ${cli_sources})
target_link_libraries(choir choir_flags choir_coordinator choir_client choir_model choir_proto choir_kernels choir_common)
if(EXISTS ${CMAKE_SOURCE_DIR}/cli/choir-worker.c)
    add_executable(choir-worker ${CMAKE_SOURCE_DIR}/cli/choir-worker.c)
    target_link_libraries(choir-worker choir_flags choir_worker choir_coordinator choir_model choir_proto choir_kernels choir_common)
endif()
