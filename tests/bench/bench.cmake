# SPDX-License-Identifier: Apache-2.0
# build/bench/kernels and build/bench/scheduler; the others of tests/bench are scripts. That they run and
# what they make of samples is tested; their figures are for people.
file(GLOB bench_sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/bench/*.c)
list(FILTER bench_sources EXCLUDE REGEX "${CHOIR_FOREIGN_LEVELS}")
list(FILTER bench_sources EXCLUDE REGEX "/(kernels|scheduler)\\.c$")
choir_level_flags(${bench_sources})
add_library(choir_bench STATIC ${bench_sources})
target_link_libraries(choir_bench PUBLIC choir_cli choir_fixtures choir_coordinator choir_model choir_kernels
    choir_common OpenMP::OpenMP_C)
foreach(name kernels scheduler)
    add_executable(bench_${name} tests/bench/${name}.c)
    target_link_libraries(bench_${name} choir_bench)
    set_target_properties(bench_${name} PROPERTIES OUTPUT_NAME ${name}
        RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bench)
    add_test(NAME bench/${name} COMMAND bench_${name} --quick WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
    set_tests_properties(bench/${name} PROPERTIES TIMEOUT 300 LABELS bench)
endforeach()
set_tests_properties(bench/kernels PROPERTIES PROCESSORS 2)
choir_test_scripts(bench 60)
