# SPDX-License-Identifier: Apache-2.0
# Programs that the scripts of this folder run under mpirun, and those scripts as tests.
foreach(name barriers layouts memory trace)
    add_executable(mpi_${name} ${CMAKE_SOURCE_DIR}/tests/mpi/${name}.c)
    target_link_libraries(mpi_${name} choir_worker choir_proto choir_model choir_kernels choir_common)
    set_target_properties(mpi_${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
endforeach()
if(TARGET choir_kernels_emulated)
    add_executable(mpi_layouts_emulated ${CMAKE_SOURCE_DIR}/tests/mpi/layouts.c
        $<TARGET_OBJECTS:choir_kernels_emulated>)
    target_link_libraries(mpi_layouts_emulated choir_worker choir_proto choir_model choir_kernels choir_common)
    set_target_properties(mpi_layouts_emulated PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
endif()
choir_test_programs(mpi test choir_worker choir_coordinator choir_proto choir_model choir_kernels choir_common)
choir_test_scripts(mpi 600)
