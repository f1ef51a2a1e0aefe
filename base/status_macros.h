#pragma once

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

// Early returns for absl::Status; Debian's Abseil 20220623 ships none.

#define SR_STATUS_CONCAT_INNER_(a, b) a##b
#define SR_STATUS_CONCAT_(a, b) SR_STATUS_CONCAT_INNER_(a, b)

// Returns the status of `expr` from the calling function unless it is OK.
#define RETURN_IF_ERROR(expr)                           \
  do {                                                  \
    if (absl::Status status_ = (expr); !status_.ok()) { \
      return status_;                                   \
    }                                                   \
  } while (false)

// Assigns the value of the StatusOr `expr` to `lhs`, or returns its status.
#define ASSIGN_OR_RETURN(lhs, expr) \
  SR_ASSIGN_OR_RETURN_(SR_STATUS_CONCAT_(status_or_, __LINE__), lhs, expr)
#define SR_ASSIGN_OR_RETURN_(result, lhs, expr) \
  auto result = (expr);                         \
  if (!result.ok()) return result.status();     \
  lhs = *std::move(result)
