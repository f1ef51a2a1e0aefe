#pragma once

#include <string_view>

namespace steadyrun {

// Ends the process with a message on stderr. What was committed is safe.
[[noreturn]] void CheckFailed(const char* condition, const char* file, int line,
                              std::string_view message = {});

// Counts and logs a broken expectation that the process can live with.
void ReportBug(const char* condition, const char* file, int line);
// How many times ReportBug was called in this process. Thread-safe.
long BugCount();

}  // namespace steadyrun

// Always on: state was persisted before, so ending the process is safe.
#define SR_CHECK(condition)                                     \
  do {                                                          \
    if (!(condition)) [[unlikely]]                              \
      ::steadyrun::CheckFailed(#condition, __FILE__, __LINE__); \
  } while (false)

// Always on, continues; exported as steadyrun_bugs_total. For the agent, which
// must not take anything down with it.
#define SR_BUG_IF(condition)                                            \
  ((condition)                                                          \
       ? (::steadyrun::ReportBug(#condition, __FILE__, __LINE__), true) \
       : false)
