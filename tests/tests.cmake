# SPDX-License-Identifier: Apache-2.0
# Every test_<stem>.c of tests/unit and check_<stem>.c of tests/kernels is one cmocka program; it runs
# with the source folder as its working directory and finds the build in $CHOIR_BUILD.
add_custom_target(test-programs)
function(choir_test_programs folder pattern)
    file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/${folder}/${pattern}_*.c)
    foreach(source ${sources})
        get_filename_component(name ${source} NAME_WE)
        add_executable(${name} ${source})
        add_dependencies(test-programs ${name})
        target_link_libraries(${name} ${ARGN} PkgConfig::CMOCKA)
        set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
        add_test(NAME ${folder}/${name} COMMAND ${name} WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
        set_tests_properties(${folder}/${name} PROPERTIES TIMEOUT 300 LABELS ${folder}
            ENVIRONMENT "CHOIR_BUILD=${CMAKE_BINARY_DIR}")
    endforeach()
endfunction()

# The same kernel checks with level avx512 emulated, on a CPU that has it too.
function(choir_emulated_checks)
    file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/kernels/check_*.c)
    foreach(source ${sources})
        get_filename_component(check ${source} NAME_WE)
        add_executable(emulated_${check} ${source} $<TARGET_OBJECTS:choir_kernels_emulated>)
        add_dependencies(test-programs emulated_${check})
        target_link_libraries(emulated_${check} choir_kernels choir_common PkgConfig::CMOCKA)
        set_target_properties(emulated_${check} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
        add_test(NAME kernels/emulated_${check} COMMAND emulated_${check} WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
        set_tests_properties(kernels/emulated_${check} PROPERTIES TIMEOUT 300 LABELS kernels
            ENVIRONMENT "CHOIR_CHECK_LEVEL=avx512")
    endforeach()
endfunction()

choir_test_programs(kernels check choir_kernels choir_common)
if(CMAKE_SYSTEM_PROCESSOR STREQUAL x86_64 AND NOT CHOIR_SANITIZE) # gcc takes minutes for both at once
    add_subdirectory(${CMAKE_SOURCE_DIR}/tests/kernels/emulated)
    choir_emulated_checks()
endif()
if(CHOIR_KERNELS_ONLY)
    return()
endif()

# Script tests: tests/<folder>/test_*.{sh,py}, each one ctest test of its own. Threads of ranks that
# wait sleep: beside other tests, spinning made them 10 to 30 times slower.
function(choir_test_scripts folder timeout)
    file(GLOB scripts CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/${folder}/test_*.sh
        ${CMAKE_SOURCE_DIR}/tests/${folder}/test_*.py)
    foreach(script ${scripts})
        get_filename_component(name ${script} NAME_WE)
        add_test(NAME ${folder}/${name} COMMAND ${script} WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
        set_tests_properties(${folder}/${name} PROPERTIES TIMEOUT ${timeout} LABELS ${folder}
            ENVIRONMENT "CHOIR_BUILD=${CMAKE_BINARY_DIR}")
    endforeach()
endfunction()

# Checks of the tree itself, tests/check_*.sh; --quick leaves out those that build everything again.
file(GLOB checks CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/check_*.sh)
foreach(check ${checks})
    get_filename_component(name ${check} NAME_WE)
    add_test(NAME check/${name} COMMAND ${check} WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
    set_tests_properties(check/${name} PROPERTIES TIMEOUT 300 LABELS check
        ENVIRONMENT "CHOIR_BUILD=${CMAKE_BINARY_DIR}")
endforeach()
set_tests_properties(check/check_clang check/check_neon check/check_sanitized PROPERTIES TIMEOUT 1200 PROCESSORS 2
    LABELS "check;build")

include(tests/fixtures/fixtures.cmake)
add_dependencies(test-programs choir_python)
choir_test_programs(unit test choir_fixtures choir_cli choir_coordinator choir_client choir_proto choir_model choir_kernels choir_common)
choir_test_scripts(e2e 600)
# tests/chaos: what goes on for minutes by hand runs for seconds here.
add_test(NAME chaos/many_clients COMMAND tests/chaos/many_clients --quick WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
set_tests_properties(chaos/many_clients PROPERTIES TIMEOUT 600 PROCESSORS 2 LABELS chaos ENVIRONMENT "CHOIR_BUILD=${CMAKE_BINARY_DIR}")
include(tests/fuzz/fuzz.cmake OPTIONAL)
include(tests/mpi/mpi.cmake OPTIONAL)
include(tests/bench/bench.cmake OPTIONAL)
