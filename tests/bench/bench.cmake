# SPDX-License-Identifier: Apache-2.0
# build/bench/kernels; tests/bench/peers is a script. That they run and what they make of samples is
# tested; their figures are for people.
file(GLOB bench_sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/bench/*.c)
list(FILTER bench_sources EXCLUDE REGEX "${CHOIR_FOREIGN_LEVELS}")
choir_level_flags(${bench_sources})
add_executable(bench_kernels ${bench_sources})
target_link_libraries(bench_kernels choir_cli choir_fixtures choir_model choir_kernels choir_common
    OpenMP::OpenMP_C)
set_target_properties(bench_kernels PROPERTIES OUTPUT_NAME kernels
    RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bench)
add_test(NAME bench/kernels COMMAND bench_kernels --quick WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
set_tests_properties(bench/kernels PROPERTIES TIMEOUT 300 LABELS bench PROCESSORS 2)
choir_test_scripts(bench 60)
