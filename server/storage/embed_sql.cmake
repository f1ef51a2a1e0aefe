# cmake -DOUT=file.cc -DFILES=a.sql|b.sql -P embed_sql.cmake
# Writes the migrations into a C++ file, in the order of their numbers.
string(REPLACE "|" ";" FILES "${FILES}")
set(body "")
set(expected 1)
foreach(file ${FILES})
  get_filename_component(name ${file} NAME)
  string(REGEX MATCH "^([0-9][0-9][0-9][0-9])_" _ ${name})
  math(EXPR number "1${CMAKE_MATCH_1} - 10000")
  if(NOT number EQUAL expected)
    message(FATAL_ERROR "${name}: expected number ${expected}")
  endif()
  math(EXPR expected "${expected} + 1")
  file(READ ${file} text)
  string(APPEND body "    {\"${name}\", R\"sql(${text})sql\"},\n")
endforeach()
file(
  WRITE ${OUT}
  "// Made from server/storage/migrations/*.sql by embed_sql.cmake.
#include \"server/storage/migrations.h\"

namespace steadyrun {
namespace {
constexpr Migration kMigrations[] = {
${body}};
}  // namespace

std::span<const Migration> AllMigrations() { return kMigrations; }

}  // namespace steadyrun
")
