# SPDX-License-Identifier: Apache-2.0
# `choir` never links MPI (tests/check_no_mpi.sh); `choir-worker` is the one program that does.
file(GLOB cli_sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/cli/*.c)
list(FILTER cli_sources EXCLUDE REGEX "/choir-worker\\.c$")
if(cli_sources)
    add_executable(choir ${cli_sources})
    target_link_libraries(choir choir_coordinator choir_client choir_model choir_proto choir_kernels choir_common)
endif()
if(EXISTS ${CMAKE_SOURCE_DIR}/cli/choir-worker.c)
    add_executable(choir-worker ${CMAKE_SOURCE_DIR}/cli/choir-worker.c)
    target_link_libraries(choir-worker choir_worker choir_coordinator choir_model choir_proto choir_kernels choir_common)
endif()
