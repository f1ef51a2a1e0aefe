#include "base/config_reader.h"

#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <limits>
#include <optional>
#include <set>
#include <tuple>

#include "base/nearest_word.h"

// toml++ 3.3 asserts what text can break ("[=1]"), which with NDEBUG becomes an
// assumption: undefined behaviour on a typing error. So its assertions are
// made to throw here, whatever the build, and are caught where it is called.
// The only file that includes it: other settings elsewhere would mix.
namespace steadyrun {
namespace {
struct ParserGaveUp {};
[[noreturn]] void GiveUp() { throw ParserGaveUp(); }
}  // namespace
}  // namespace steadyrun
#pragma push_macro("NDEBUG")
#undef NDEBUG
#define TOML_ASSERT(expr)             \
  do {                                \
    if (!(expr)) steadyrun::GiveUp(); \
  } while (false)
#define TOML_HEADER_ONLY 1
#define TOML_EXCEPTIONS 0
#define TOML_ENABLE_FORMATTERS 0
#include <toml++/toml.h>
#pragma pop_macro("NDEBUG")

namespace steadyrun {
namespace {

constexpr std::size_t kMaxShown = 60;  // Of a value or key, in a message.
constexpr std::size_t kMaxSyntaxShown = 300;  // Of the parser's own words.
constexpr std::size_t kMaxKnownShown = 12;

// Control characters and bytes that are no text must not reach a terminal.
std::string Clean(std::string_view text, std::size_t max = kMaxShown) {
  std::string clean;
  for (const char c : text.substr(0, max)) {
    const auto byte = static_cast<unsigned char>(c);
    clean += byte < 0x20 || byte == 0x7f ? '?' : c;
  }
  if (text.size() > max) clean += "...";
  return clean;
}

std::vector<std::string> SplitPath(std::string_view path) {
  std::vector<std::string> parts;
  while (true) {
    const auto dot = path.find('.');
    parts.emplace_back(path.substr(0, dot));
    if (dot == std::string_view::npos) return parts;
    path.remove_prefix(dot + 1);
  }
}

std::string Join(std::string_view parent, std::string_view name) {
  // A quoted key may hold dots; it must not pass for a path.
  const bool is_bare = !name.empty() && std::ranges::all_of(name, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           (c >= '0' && c <= '9') || c == '_' || c == '-';
  });
  std::string quoted =
      is_bare ? std::string(name) : fmt::format("\"{}\"", name);
  return parent.empty() ? quoted : fmt::format("{}.{}", parent, quoted);
}

std::string Describe(const toml::node& node) {
  switch (node.type()) {
    case toml::node_type::none:
      return "nothing";
    case toml::node_type::table:
      return "a table";
    case toml::node_type::array:
      return fmt::format("a list of {}", node.as_array()->size());
    case toml::node_type::string:
      return fmt::format("\"{}\"", Clean(node.as_string()->get()));
    case toml::node_type::integer:
      return fmt::format("{}", node.as_integer()->get());
    case toml::node_type::floating_point:
      // Never like a whole number: "found 10" where one is expected confuses.
      return fmt::format("{:#}", node.as_floating_point()->get());
    case toml::node_type::boolean:
      return node.as_boolean()->get() ? "true" : "false";
    case toml::node_type::date:
      return "a date";
    case toml::node_type::time:
      return "a time of day";
    case toml::node_type::date_time:
      return "a date and time";
  }
  return "something else";
}

// The first table header whose name begins with no letter of a name: what the
// parser gives up on. Line 0 when there is none.
toml::source_position FindBadHeader(std::string_view text) {
  toml::source_position at = {1, 1};
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    const auto open = line.find_first_not_of(" \t");
    if (open != std::string_view::npos && line[open] == '[') {
      const auto name = line.find_first_not_of("[ \t", open);
      const char c = name == std::string_view::npos ? '\n' : line[name];
      if (!std::isalnum(static_cast<unsigned char>(c)) && c != '_' &&
          c != '-' && c != '"' && c != '\'') {
        at.column =
            static_cast<toml::source_index>(1 + std::min(name, line.size()));
        return at;
      }
    }
    ++at.line;
    text.remove_prefix(std::min(text.size(), line.size() + 1));
  }
  return {};
}

constexpr std::string_view kDurationForm =
    "a duration such as \"10s\", \"500ms\" or \"2m\"";

}  // namespace

class ConfigReader::Impl {
 public:
  Impl(std::string_view text, std::string name) : file(std::move(name)) {
    if (text.size() > kMaxConfigBytes) {
      has_syntax_error = true;
      Add({}, fmt::format("the text has {} bytes, at most {} are read; is it "
                          "the right file?",
                          text.size(), kMaxConfigBytes));
      return;
    }
    Parse(text);
  }

  void Parse(std::string_view text) {
    try {
      toml::parse_result result = toml::parse(text, std::string_view(file));
      if (result) {
        root = std::move(result).table();
        return;
      }
      const toml::parse_error& error = result.error();
      Add(error.source().begin,
          fmt::format("syntax error: {}",
                      Clean(error.description(), kMaxSyntaxShown)));
    } catch (const ParserGaveUp&) {
      Add(FindBadHeader(text),
          "syntax error: expected the name of a table after '['");
    }
    has_syntax_error = true;
  }

  const toml::node* Find(std::string_view key) const {
    const toml::node* node = &root;
    for (const std::string& part : SplitPath(key)) {
      const toml::table* table = node->as_table();
      if (table == nullptr) return nullptr;
      node = table->get(part);
      if (node == nullptr) return nullptr;
    }
    return node;
  }

  // Makes the key known; its node, if it is set.
  const toml::node* Know(std::string_view key) {
    known.insert(std::string(key));
    return Find(key);
  }

  void Add(toml::source_position at, std::string message) {
    errors.emplace_back(at.line, at.column, std::move(message));
  }
  void Wrong(std::string_view key, const toml::node& node,
             std::string_view expected) {
    Add(node.source().begin, fmt::format("'{}' must be {}, found {}", key,
                                         expected, Describe(node)));
  }

  // A node as a duration; reports what is wrong with it.
  std::optional<Duration> ToDuration(std::string_view key,
                                     const toml::node& node,
                                     ConfigRange<Duration> range);
  // A list's node checked for form and size; nullptr with an error reported.
  const toml::array* ToList(std::string_view key, const toml::node& node,
                            std::string_view what, std::size_t min_size,
                            std::size_t max_size);
  int ToWord(std::string_view key, const toml::node& node,
             const std::vector<std::string_view>& words);
  void FindUnknown(const toml::table& table, const std::string& parent);
  std::string Suggest(const std::string& parent, std::string_view name) const;

  std::string file;
  toml::table root;
  bool has_syntax_error = false;
  std::set<std::string> known;
  std::set<std::string> maps;  // Known keys whose content is free.
  std::vector<std::tuple<std::uint32_t, std::uint32_t, std::string>> errors;
};

ConfigReader::ConfigReader(std::string_view text, std::string file)
    : impl_(std::make_unique<Impl>(text, std::move(file))) {}
ConfigReader::~ConfigReader() = default;

bool ConfigReader::ReadText(std::string_view key, std::string* value) {
  const toml::node* node = impl_->Know(key);
  if (node == nullptr) return false;
  if (!node->is_string()) {
    impl_->Wrong(key, *node, "a string");
    return false;
  }
  *value = node->as_string()->get();
  return true;
}

bool ConfigReader::ReadBool(std::string_view key, bool* value) {
  const toml::node* node = impl_->Know(key);
  if (node == nullptr) return false;
  if (!node->is_boolean()) {
    impl_->Wrong(key, *node, "true or false");
    return false;
  }
  *value = node->as_boolean()->get();
  return true;
}

bool ConfigReader::ReadInt(std::string_view key, std::int64_t* value,
                           ConfigRange<std::int64_t> range) {
  const toml::node* node = impl_->Know(key);
  if (node == nullptr) return false;
  const std::string expected =
      fmt::format("a whole number from {} to {}", range.min, range.max);
  const toml::value<std::int64_t>* number = node->as_integer();
  if (number == nullptr || number->get() < range.min ||
      number->get() > range.max) {
    impl_->Wrong(key, *node, expected);
    return false;
  }
  *value = number->get();
  return true;
}

bool ConfigReader::ReadInt32(std::string_view key, std::int32_t* value,
                             ConfigRange<std::int32_t> range) {
  std::int64_t wide = 0;
  if (!ReadInt(key, &wide, {range.min, range.max})) return false;
  *value = static_cast<std::int32_t>(wide);
  return true;
}

bool ConfigReader::ReadDouble(std::string_view key, double* value,
                              ConfigRange<double> range) {
  const toml::node* node = impl_->Know(key);
  if (node == nullptr) return false;
  const std::optional<double> number =
      node->is_number() ? node->value<double>() : std::nullopt;
  // Written so that NaN fails.
  if (!number.has_value() || !(*number >= range.min && *number <= range.max)) {
    impl_->Wrong(key, *node,
                 fmt::format("a number from {} to {}", range.min, range.max));
    return false;
  }
  *value = *number;
  return true;
}

std::optional<Duration> ConfigReader::Impl::ToDuration(
    std::string_view key, const toml::node& node, ConfigRange<Duration> range) {
  Duration duration{};
  bool is_good = false;
  if (node.is_string()) {
    is_good = ParseDuration(node.as_string()->get(), &duration);
  } else if (node.is_number()) {
    is_good = ParseDuration(
        fmt::format("{:.9f}", node.value<double>().value_or(-1)), &duration);
  }
  if (!is_good) {
    Wrong(key, node, kDurationForm);
    return std::nullopt;
  }
  if (duration < range.min || duration > range.max) {
    Wrong(key, node,
          fmt::format("from {} to {}", FormatDuration(range.min),
                      FormatDuration(range.max)));
    return std::nullopt;
  }
  return duration;
}

bool ConfigReader::ReadDuration(std::string_view key, Duration* value,
                                ConfigRange<Duration> range) {
  const toml::node* node = impl_->Know(key);
  if (node == nullptr) return false;
  const auto duration = impl_->ToDuration(key, *node, range);
  if (!duration.has_value()) return false;
  *value = *duration;
  return true;
}

const toml::array* ConfigReader::Impl::ToList(std::string_view key,
                                              const toml::node& node,
                                              std::string_view what,
                                              std::size_t min_size,
                                              std::size_t max_size) {
  const toml::array* list = node.as_array();
  if (list == nullptr || list->size() < min_size || list->size() > max_size) {
    Wrong(key, node,
          fmt::format("a list of {} to {} {}", min_size, max_size, what));
    return nullptr;
  }
  return list;
}

bool ConfigReader::ReadDurationList(std::string_view key,
                                    std::vector<Duration>* value,
                                    ConfigRange<Duration> range,
                                    std::size_t max_size) {
  const toml::node* node = impl_->Know(key);
  if (node == nullptr) return false;
  const toml::array* list = impl_->ToList(key, *node, "durations", 1, max_size);
  if (list == nullptr) return false;
  std::vector<Duration> durations;
  for (const toml::node& element : *list) {
    const auto duration = impl_->ToDuration(key, element, range);
    if (!duration.has_value()) return false;
    durations.push_back(*duration);
  }
  *value = std::move(durations);
  return true;
}

bool ConfigReader::ReadTextList(std::string_view key,
                                std::vector<std::string>* value,
                                std::size_t max_size) {
  const toml::node* node = impl_->Know(key);
  if (node == nullptr) return false;
  const toml::array* list = impl_->ToList(key, *node, "strings", 0, max_size);
  if (list == nullptr) return false;
  std::vector<std::string> texts;
  for (const toml::node& element : *list) {
    if (!element.is_string()) {
      impl_->Wrong(key, element, "a list of strings");
      return false;
    }
    texts.push_back(element.as_string()->get());
  }
  *value = std::move(texts);
  return true;
}

bool ConfigReader::ReadTextMap(std::string_view key,
                               std::map<std::string, std::string>* value,
                               std::size_t max_size) {
  const toml::node* node = impl_->Know(key);
  impl_->maps.insert(std::string(key));
  if (node == nullptr) return false;
  const toml::table* table = node->as_table();
  if (table == nullptr || table->size() > max_size) {
    impl_->Wrong(key, *node,
                 fmt::format("a table of at most {} strings", max_size));
    return false;
  }
  std::map<std::string, std::string> texts;
  for (const auto& [name, element] : *table) {
    if (!element.is_string()) {
      impl_->Wrong(Join(key, name.str()), element, "a string");
      return false;
    }
    texts.emplace(name.str(), element.as_string()->get());
  }
  *value = std::move(texts);
  return true;
}

int ConfigReader::Impl::ToWord(std::string_view key, const toml::node& node,
                               const std::vector<std::string_view>& words) {
  std::vector<std::string> names(words.begin(), words.end());
  std::string near;
  if (node.is_string()) {
    const std::string& text = node.as_string()->get();
    const auto word = std::ranges::find(words, std::string_view(text));
    if (word != words.end()) return static_cast<int>(word - words.begin());
    near = NearestWord(text, names);
  }
  std::string message = fmt::format("'{}' must be one of {}, found {}", key,
                                    fmt::join(words, ", "), Describe(node));
  if (!near.empty()) message += fmt::format(" (did you mean '{}'?)", near);
  Add(node.source().begin, std::move(message));
  return -1;
}

int ConfigReader::ReadWord(std::string_view key,
                           const std::vector<std::string_view>& words) {
  const toml::node* node = impl_->Know(key);
  return node == nullptr ? -1 : impl_->ToWord(key, *node, words);
}

bool ConfigReader::ReadWords(std::string_view key,
                             const std::vector<std::string_view>& words,
                             std::size_t min_size, std::size_t max_size,
                             std::vector<int>* chosen) {
  const toml::node* node = impl_->Know(key);
  if (node == nullptr) return false;
  const toml::array* list =
      impl_->ToList(key, *node, "words", min_size, max_size);
  if (list == nullptr) return false;
  bool is_good = true;
  for (const toml::node& element : *list) {
    const int word = impl_->ToWord(key, element, words);
    is_good = is_good && word >= 0;
    chosen->push_back(word);
  }
  return is_good;
}

bool ConfigReader::IsSet(std::string_view key) const {
  return impl_->Find(key) != nullptr;
}

std::string ConfigReader::Where(std::string_view key) const {
  const toml::node* node = impl_->Find(key);
  if (node == nullptr) return impl_->file;
  const toml::source_position at = node->source().begin;
  return fmt::format("{}:{}:{}", impl_->file, at.line, at.column);
}

void ConfigReader::AddError(std::string_view key, std::string message) {
  const toml::node* node = impl_->Find(key);
  impl_->Add(node == nullptr ? toml::source_position{} : node->source().begin,
             std::move(message));
}

std::string ConfigReader::Impl::Suggest(const std::string& parent,
                                        std::string_view name) const {
  const std::string prefix = parent.empty() ? "" : parent + ".";
  std::set<std::string> here;
  std::map<std::string, std::string> elsewhere;  // Last name -> whole key.
  for (const std::string& key : known) {
    const auto dot = key.rfind('.');
    const std::string last =
        dot == std::string::npos ? key : key.substr(dot + 1);
    // A name of several tables names none of them.
    if (!elsewhere.emplace(last, key).second) elsewhere[last] = "";
    if (!key.starts_with(prefix)) continue;
    const std::string rest = key.substr(prefix.size());
    here.insert(rest.substr(0, rest.find('.')));
  }
  const std::string near = NearestWord(name, {here.begin(), here.end()});
  if (!near.empty()) return fmt::format(" (did you mean '{}'?)", near);
  // The right name, or nearly, in the wrong table.
  std::vector<std::string> names;
  for (const auto& [last, key] : elsewhere) {
    if (!key.empty()) names.push_back(last);
  }
  const auto other = elsewhere.find(NearestWord(name, names));
  if (other != elsewhere.end()) {
    return fmt::format(" (did you mean '{}'?)", other->second);
  }
  if (here.empty()) return "";
  std::vector<std::string> shown(here.begin(), here.end());
  const bool is_cut = shown.size() > kMaxKnownShown;
  if (is_cut) shown.resize(kMaxKnownShown);
  return fmt::format(" (known here: {}{})", fmt::join(shown, ", "),
                     is_cut ? ", ..." : "");
}

void ConfigReader::Impl::FindUnknown(const toml::table& table,
                                     const std::string& parent) {
  for (const auto& [name, node] : table) {
    const std::string key = Join(parent, name.str());
    if (known.contains(key)) continue;  // Read; a wrong type is reported.
    const auto below = known.lower_bound(key + ".");
    const bool is_section =
        below != known.end() && below->starts_with(key + ".");
    if (is_section && node.is_table()) {
      FindUnknown(*node.as_table(), key);
    } else if (is_section) {
      Wrong(key, node, "a table");
    } else {
      Add(name.source().begin, fmt::format("unknown key '{}'{}", Clean(key),
                                           Suggest(parent, name.str())));
    }
  }
}

absl::Status ConfigReader::Finish() {
  Impl& impl = *impl_;
  if (!impl.has_syntax_error) impl.FindUnknown(impl.root, "");
  if (impl.errors.empty()) return absl::OkStatus();
  std::ranges::stable_sort(impl.errors, [](const auto& a, const auto& b) {
    return std::tie(std::get<0>(a), std::get<1>(a)) <
           std::tie(std::get<0>(b), std::get<1>(b));
  });
  std::string all;
  std::size_t shown = 0;
  for (const auto& [line, column, message] : impl.errors) {
    if (!all.empty()) all += '\n';
    if (shown++ == kMaxConfigErrors) {
      all += fmt::format("{}: and {} more errors", impl.file,
                         impl.errors.size() - kMaxConfigErrors);
      break;
    }
    all += line == 0
               ? fmt::format("{}: {}", impl.file, message)
               : fmt::format("{}:{}:{}: {}", impl.file, line, column, message);
  }
  return absl::InvalidArgumentError(all);
}

}  // namespace steadyrun
