#pragma once

// Comma-separated text, record by record (RFC 4180: quotes, doubled quotes,
// line breaks within quotes; CRLF or LF).

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"

namespace steadyrun::replay {

struct CsvField {
  std::string text;
  std::size_t column = 1;  // Bytes from the begin of its line, from 1.
};

class CsvReader {
 public:
  // A quote that is never closed swallows the file; no honest cell is longer.
  static constexpr std::size_t kMaxFieldBytes = 1 << 20;

  // `text` outlives this; `file` is for messages.
  CsvReader(std::string_view text, std::string file);

  // The next record that is not blank; false at the end, and after an error.
  bool Next();
  const std::vector<CsvField>& Fields() const { return fields_; }
  std::size_t Line() const { return line_; }
  // The last record had no line break: the file may be cut off within it.
  bool IsTorn() const { return is_torn_; }
  const absl::Status& Status() const { return status_; }

  // "FILE:LINE:COLUMN: " and the message.
  absl::Status ErrorAt(const CsvField& field, std::string_view message) const;
  absl::Status Error(std::string_view message) const;

 private:
  bool ReadField(CsvField* field);  // True: the record ends with it.

  std::string_view text_;
  std::string file_;
  std::size_t at_ = 0;
  std::size_t line_ = 0;
  std::size_t next_line_ = 1;
  std::size_t line_begin_ = 0;
  bool is_torn_ = false;
  std::vector<CsvField> fields_;
  absl::Status status_;
};

}  // namespace steadyrun::replay
