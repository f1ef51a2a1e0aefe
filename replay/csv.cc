#include "replay/csv.h"

#include <spdlog/fmt/fmt.h>

#include <utility>

namespace steadyrun::replay {

CsvReader::CsvReader(std::string_view text, std::string file)
    : text_(text), file_(std::move(file)) {
  constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
  if (text_.starts_with(kByteOrderMark)) text_.remove_prefix(3);
}

absl::Status CsvReader::ErrorAt(const CsvField& field,
                                std::string_view message) const {
  return absl::InvalidArgumentError(
      fmt::format("{}:{}:{}: {}", file_, line_, field.column, message));
}

absl::Status CsvReader::Error(std::string_view message) const {
  return absl::InvalidArgumentError(
      fmt::format("{}:{}:1: {}", file_, line_, message));
}

// Reads one field with what ends it. True: it was the record's last one.
bool CsvReader::ReadField(CsvField* field) {
  field->column = at_ - line_begin_ + 1;
  bool is_quoted = at_ < text_.size() && text_[at_] == '"';
  if (is_quoted) ++at_;
  while (at_ < text_.size()) {
    const char c = text_[at_++];
    if (is_quoted && c == '"') {
      if (at_ < text_.size() && text_[at_] == '"') {
        field->text.push_back(text_[at_++]);
      } else {
        is_quoted = false;
      }
      continue;
    }
    if (c == '\n') {
      ++next_line_;
      line_begin_ = at_;
    }
    if (!is_quoted && (c == ',' || c == '\n')) {
      if (c == '\n' && field->text.ends_with('\r')) field->text.pop_back();
      return c == '\n';
    }
    if (field->text.size() >= kMaxFieldBytes) {
      status_ = ErrorAt(*field, "a cell of more than 1 MiB; is a quote open?");
      return true;
    }
    field->text.push_back(c);
  }
  if (is_quoted) {
    status_ = ErrorAt(*field, "the quote is never closed");
  }
  is_torn_ = true;
  return true;
}

bool CsvReader::Next() {
  while (status_.ok() && at_ < text_.size()) {
    fields_.clear();
    is_torn_ = false;
    line_ = next_line_;
    bool is_last = false;
    while (!is_last && status_.ok()) {
      CsvField field;
      is_last = ReadField(&field);
      fields_.push_back(std::move(field));
    }
    const bool is_blank = fields_.size() == 1 && fields_[0].text.empty();
    if (status_.ok() && !is_blank) return true;
  }
  return false;
}

}  // namespace steadyrun::replay
