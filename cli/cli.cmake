# SPDX-License-Identifier: Apache-2.0
# `choir` never links MPI (tests/check_no_mpi.sh); `choir-worker` is the one program that does. What
# both use, and what unit tests want, is a library.
set(cli_library bench_tests flags engine_flags input print inquiry conversation latency_figures load_plot
    load_prompts load_record metrics_report reply report top_view)
set(worker_sources ${CMAKE_SOURCE_DIR}/cli/choir-worker.c ${CMAKE_SOURCE_DIR}/cli/bench_job.c
    ${CMAKE_SOURCE_DIR}/cli/lead.c
    ${CMAKE_SOURCE_DIR}/cli/outbox.c)
list(TRANSFORM cli_library REPLACE "(.+)" "${CMAKE_SOURCE_DIR}/cli/\\1.c" OUTPUT_VARIABLE cli_library_sources)
add_library(choir_cli STATIC ${cli_library_sources})
target_link_libraries(choir_cli choir_model choir_proto choir_kernels choir_common)
file(GLOB cli_sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/cli/*.c)
list(REMOVE_ITEM cli_sources ${cli_library_sources} ${worker_sources})
add_executable(choir ${cli_sources})
target_link_libraries(choir choir_cli choir_coordinator choir_client choir_model choir_proto choir_kernels choir_common
    PkgConfig::NCURSES)
add_executable(choir-worker ${worker_sources})
target_link_libraries(choir-worker choir_cli choir_worker choir_coordinator choir_model choir_proto choir_kernels choir_common)
