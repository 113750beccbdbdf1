# SPDX-License-Identifier: Apache-2.0
# protoc-c makes <name>.pb-c.[ch] in the build folder; the code includes "proto/<name>.pb-c.h".
set(generated ${CMAKE_BINARY_DIR}/generated/proto)
file(MAKE_DIRECTORY ${generated})
set(proto_sources "")
foreach(name client engine)
    if(EXISTS ${CMAKE_SOURCE_DIR}/proto/${name}.proto)
        add_custom_command(OUTPUT ${generated}/${name}.pb-c.c ${generated}/${name}.pb-c.h
            COMMAND protoc-c --c_out=${generated} --proto_path=${CMAKE_SOURCE_DIR}/proto ${name}.proto
            DEPENDS ${CMAKE_SOURCE_DIR}/proto/${name}.proto)
        list(APPEND proto_sources ${generated}/${name}.pb-c.c)
    endif()
endforeach()
set_source_files_properties(${proto_sources} PROPERTIES COMPILE_OPTIONS "-w")
choir_library(proto choir_common PkgConfig::ZMQ PkgConfig::PROTOBUF_C)
get_target_property(kind choir_proto TYPE)
if(NOT kind STREQUAL INTERFACE_LIBRARY)
    target_sources(choir_proto PRIVATE ${proto_sources})
endif()

# client_pb2.py for client/python, in build/python.
set(python ${CMAKE_BINARY_DIR}/python)
file(MAKE_DIRECTORY ${python})
add_custom_command(OUTPUT ${python}/client_pb2.py
    COMMAND protoc --python_out=${python} --proto_path=${CMAKE_SOURCE_DIR}/proto client.proto
    DEPENDS ${CMAKE_SOURCE_DIR}/proto/client.proto)
add_custom_target(choir_python ALL DEPENDS ${python}/client_pb2.py)
