# Targets of this project: one library a folder, warnings as errors, pure
# libraries kept from linking I/O.

find_program(CCACHE ccache)
if(CCACHE)
  set(CMAKE_C_COMPILER_LAUNCHER ${CCACHE})
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CCACHE})
endif()

find_package(Threads REQUIRED)
find_package(absl REQUIRED)
find_package(spdlog REQUIRED)
find_package(tomlplusplus REQUIRED)
find_package(OpenSSL REQUIRED)
find_package(PkgConfig REQUIRED)
pkg_check_modules(RE2 REQUIRED IMPORTED_TARGET re2)
if(NOT STEADYRUN_PURE_ONLY)
  find_package(Protobuf REQUIRED)
  find_package(gRPC CONFIG REQUIRED)
  find_package(SQLite3 REQUIRED)
  find_package(CURL REQUIRED)
  find_package(Boost REQUIRED)
  find_package(prometheus-cpp CONFIG REQUIRED COMPONENTS core)
  pkg_check_modules(ZSTD REQUIRED IMPORTED_TARGET libzstd)
endif()

add_library(steadyrun_options INTERFACE)
target_include_directories(steadyrun_options INTERFACE ${CMAKE_SOURCE_DIR})
target_compile_definitions(steadyrun_options
                           INTERFACE STEADYRUN_VERSION="${PROJECT_VERSION}")
target_compile_options(
  steadyrun_options
  INTERFACE -Wall -Wextra -Wpedantic -Werror -Wshadow -Wswitch
            -Wnon-virtual-dtor -Woverloaded-virtual -fno-omit-frame-pointer
            -fstack-protector-strong)
if(STEADYRUN_SANITIZE)
  target_compile_options(
    steadyrun_options INTERFACE -fsanitize=${STEADYRUN_SANITIZE}
                                -fno-sanitize-recover=all)
  target_link_options(steadyrun_options INTERFACE
                      -fsanitize=${STEADYRUN_SANITIZE})
endif()

# steadyrun_library(NAME SOURCES a.cc ... DEPS ... [GRPC])
# Makes steadyrun_NAME with the alias steadyrun::NAME. A library without
# sources is an interface. GRPC: precompiles the heavy gRPC headers.
function(steadyrun_library name)
  cmake_parse_arguments(arg "GRPC" "" "SOURCES;DEPS" ${ARGN})
  set(target steadyrun_${name})
  if(arg_SOURCES)
    add_library(${target} STATIC ${arg_SOURCES})
    target_link_libraries(${target} PUBLIC steadyrun_options ${arg_DEPS})
    if(arg_GRPC)
      target_precompile_headers(${target} PRIVATE <grpcpp/grpcpp.h> <string>
                                <vector> <map>)
    endif()
  else()
    add_library(${target} INTERFACE)
    target_link_libraries(${target} INTERFACE steadyrun_options ${arg_DEPS})
  endif()
  add_library(steadyrun::${name} ALIAS ${target})
endfunction()

# steadyrun_program(NAME SOURCES ... DEPS ...)
function(steadyrun_program name)
  cmake_parse_arguments(arg "" "" "SOURCES;DEPS" ${ARGN})
  add_executable(${name} ${arg_SOURCES})
  target_link_libraries(${name} PRIVATE steadyrun_options ${arg_DEPS})
endfunction()
