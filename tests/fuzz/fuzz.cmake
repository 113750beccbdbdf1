# SPDX-License-Identifier: Apache-2.0
# choir_fuzz(stem libraries...): tests/fuzz/fuzz_<stem>.c over the folder tests/fuzz/corpus/<stem>.
# It is always built as a plain program that ctest runs over the folder. With
#     CC=clang-14 cmake -DCHOIR_FUZZ=ON -DCHOIR_SANITIZE=address,undefined
# it is a libFuzzer program as well: tests/libfuzzer_<stem> NEW tests/fuzz/corpus/<stem> searches for
# more and keeps what it finds in the folder NEW.
function(choir_fuzz stem)
    add_executable(fuzz_${stem} tests/fuzz/fuzz_${stem}.c tests/fuzz/regression.c)
    set(programs fuzz_${stem})
    if(CHOIR_FUZZ)
        add_executable(libfuzzer_${stem} tests/fuzz/fuzz_${stem}.c)
        target_link_options(libfuzzer_${stem} PRIVATE -fsanitize=fuzzer)
        list(APPEND programs libfuzzer_${stem})
    endif()
    foreach(program ${programs})
        target_link_libraries(${program} ${ARGN})
        set_target_properties(${program} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
    endforeach()
    add_dependencies(test-programs fuzz_${stem})
    add_test(NAME fuzz/fuzz_${stem} COMMAND fuzz_${stem} tests/fuzz/corpus/${stem}
        WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
    set_tests_properties(fuzz/fuzz_${stem} PROPERTIES TIMEOUT 60 LABELS fuzz)
endfunction()

choir_fuzz(gguf choir_model choir_kernels choir_common)
choir_fuzz(tokenizer choir_fixtures choir_model choir_kernels choir_common)
choir_fuzz(envelope choir_coordinator choir_client choir_proto choir_model choir_kernels choir_common)
