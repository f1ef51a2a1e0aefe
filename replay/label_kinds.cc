#include "replay/label_kinds.h"

#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <cctype>
#include <iterator>
#include <string>

#include "base/nearest_word.h"

namespace steadyrun::replay {
namespace {

using enum IncidentKind;

// How soon each kind is to be found. Crash, node, hang, straggler and spike
// are the published benchmark's windows; the others follow from the same
// thought: about twice what the detector is meant to need.
Window WindowOf(IncidentKind kind) {
  switch (kind) {
    case kCrash:
    case kStartFailed:
      return {.steps = 0, .seconds = 30};
    case kNodeLost:
    case kAgentLost:
    case kStorage:
      return {.steps = 0, .seconds = 60};
    case kHang:
    case kGenerationStall:
      return {.steps = 10, .seconds = 60};
    case kNan:
      return {.steps = 10, .seconds = 0};  // The same step is meant.
    case kStraggler:
    case kSlowdown:
    case kDataStall:
    case kCheckpointSlow:
    case kCheckpointOverdue:
    case kCheckpointBad:
      return {.steps = 300, .seconds = 0};
    case kDivergence:
      return {.steps = 400, .seconds = 0};  // Meant to need 200.
    case kPlateau:
      return {.steps = 2000, .seconds = 0};
    case kLossSpike:
    case kGradExplosion:
    case kLossScale:
    case kKlBlowup:
    case kEntropyCollapse:
    case kRewardCollapse:
    case kRewardHacking:
    case kLengthExplosion:
    case kRolloutMismatch:
    case kCorruption:  // One check interval; see ScoreOptions::check_steps.
      return {.steps = 100, .seconds = 0};
  }
  return {.steps = 100, .seconds = 0};
}

// What else shows when a fault of this kind is there.
std::vector<IncidentKind> ConsequencesOf(IncidentKind kind) {
  switch (kind) {
    case kCrash:
    case kNodeLost:
      return {kCrash, kHang, kNodeLost, kAgentLost};
    case kHang:
      return {kCrash, kGenerationStall};
    case kNan:
      return {kLossSpike, kGradExplosion, kDivergence, kLossScale};
    case kStraggler:
    case kDataStall:
      return {kSlowdown, kStraggler, kDataStall};
    case kSlowdown:
      return {kDataStall, kStraggler, kGenerationStall};
    case kLossSpike:
    case kGradExplosion:
    case kDivergence:
      return {kLossSpike, kGradExplosion, kDivergence, kLossScale, kNan};
    case kLossScale:
      return {kNan, kGradExplosion, kLossSpike, kDivergence};
    case kCorruption:
      return {kLossSpike, kGradExplosion, kNan, kDivergence};
    case kKlBlowup:
    case kEntropyCollapse:
    case kRewardCollapse:
    case kRewardHacking:
    case kLengthExplosion:
    case kRolloutMismatch:
      return {kKlBlowup,        kEntropyCollapse, kRewardCollapse,
              kRewardHacking,   kLengthExplosion, kRolloutMismatch,
              kGenerationStall, kSlowdown,        kGradExplosion,
              kLossSpike};
    default:
      return {};
  }
}

enum class Use { kFault, kOptional, kAnything, kHealthy };

struct Word {
  std::string_view word;
  Use use;
  std::vector<IncidentKind> kinds;
};

// Words of hand-made label files that are no word of an incident kind.
const std::vector<Word>& ExtraWords() {
  static const std::vector<Word> kWords = {
      {"healthy", Use::kHealthy, {}},
      {"benign", Use::kHealthy, {}},
      {"none", Use::kHealthy, {}},
      // One step that stands out and leaves no trace.
      {"slow_step", Use::kOptional, {kSlowdown, kStraggler, kDataStall}},
      {"grad_norm_spike", Use::kOptional, {kGradExplosion, kLossSpike}},
      // Longer steps that follow longer responses.
      {"step_time_growth",
       Use::kOptional,
       {kSlowdown, kGenerationStall, kLengthExplosion}},
      {"unclear", Use::kAnything, {}},
      {"info", Use::kAnything, {}},
      {"loss_explosion", Use::kFault, {kLossSpike, kDivergence}},
      {"loss_offset", Use::kFault, {kLossSpike, kDivergence, kCorruption}},
      {"grad_norm_explosion", Use::kFault, {kGradExplosion}},
      {"rl_collapse",
       Use::kFault,
       {kRewardCollapse, kEntropyCollapse, kRewardHacking, kKlBlowup}},
      {"dead_policy", Use::kFault, {kEntropyCollapse, kRewardCollapse}},
      {"rl_drift",
       Use::kFault,
       {kLengthExplosion, kRewardCollapse, kRewardHacking, kKlBlowup,
        kEntropyCollapse}},
      {"fail_slow", Use::kFault, {kStraggler, kSlowdown}},
      {"sdc", Use::kFault, {kCorruption}},
  };
  return kWords;
}

LabelClass FaultClass(std::vector<IncidentKind> kinds) {
  LabelClass result;
  result.name = IncidentKindName(kinds.front());
  result.window = WindowOf(kinds.front());
  result.related = ConsequencesOf(kinds.front());
  result.kinds = std::move(kinds);
  return result;
}

LabelClass ClassOfKind(IncidentKind kind) {
  // A spike that does not come back is a divergence, and the other way round:
  // both verdicts on the loss find either.
  if (kind == kLossSpike) return FaultClass({kLossSpike, kDivergence});
  if (kind == kDivergence) return FaultClass({kDivergence, kLossSpike});
  return FaultClass({kind});
}

std::vector<IncidentKind> AllKinds() {
  std::vector<IncidentKind> all;
  for (std::size_t i = 0; i < kIncidentKinds; ++i) {
    all.push_back(static_cast<IncidentKind>(i));
  }
  return all;
}

LabelClass ClassOfWord(const Word& word) {
  if (word.use == Use::kFault) return FaultClass(word.kinds);
  LabelClass result;
  result.name = word.word;
  result.is_fault = false;
  result.is_healthy = word.use == Use::kHealthy;
  result.kinds = word.use == Use::kAnything ? AllKinds() : word.kinds;
  return result;
}

// `text` is `word`, or begins with it and goes on with a note.
bool IsWordWithNote(std::string_view text, std::string_view word) {
  if (!text.starts_with(word)) return false;
  return text.size() == word.size() ||
         std::isalnum(static_cast<unsigned char>(text[word.size()])) == 0;
}

}  // namespace

absl::StatusOr<LabelClass> ClassOfLabel(std::string_view word) {
  std::size_t longest = 0;
  LabelClass found;
  std::vector<std::string> known;
  for (const IncidentKind kind : AllKinds()) {
    const std::string_view name = IncidentKindName(kind);
    known.emplace_back(name);
    if (name.size() > longest && IsWordWithNote(word, name)) {
      longest = name.size();
      found = ClassOfKind(kind);
    }
  }
  for (const Word& extra : ExtraWords()) {
    known.emplace_back(extra.word);
    if (extra.word.size() > longest && IsWordWithNote(word, extra.word)) {
      longest = extra.word.size();
      found = ClassOfWord(extra);
    }
  }
  if (longest > 0) return found;
  const std::string nearest = NearestWord(word, known);
  return absl::InvalidArgumentError(
      nearest.empty()
          ? fmt::format("'{}' is no kind of label; expected one of {}", word,
                        fmt::join(known, ", "))
          : fmt::format("'{}' is no kind of label (did you mean '{}'?)", word,
                        nearest));
}

}  // namespace steadyrun::replay
