#pragma once

#include <compare>
#include <cstdint>
#include <string>

namespace steadyrun {

// An integer that only mixes with integers of its own kind.
template <typename Tag, typename Rep = std::int64_t>
struct StrongInt {
  Rep value{};
  friend constexpr auto operator<=>(const StrongInt&,
                                    const StrongInt&) = default;
  constexpr StrongInt Next() const {
    return StrongInt{static_cast<Rep>(value + 1)};
  }
};

// One launch of all processes of a run. Counts up from 1; 0 means none.
using AttemptId = StrongInt<struct AttemptTag>;
// One optimizer step, as the trainer counts it; -1 means none yet.
using Step = StrongInt<struct StepTag>;
// Rank within the world, as in torch.distributed; -1 means unknown.
using Rank = StrongInt<struct RankTag, std::int32_t>;
// Random 64-bit identity of one process start (agent, rank, server).
using Incarnation = StrongInt<struct IncarnationTag, std::uint64_t>;
// One stream from an agent to the server, numbered by the server.
using SessionId = StrongInt<struct SessionTag, std::uint64_t>;
// Counts the reports of one agent state; the key of deduplication.
using ReportSeq = StrongInt<struct ReportSeqTag, std::uint64_t>;

// Names given by people or by configuration: [A-Za-z0-9._-]{1,64}.
using RunId = std::string;
using NodeId = std::string;

inline constexpr AttemptId kNoAttempt{0};
inline constexpr Step kNoStep{-1};
inline constexpr Rank kNoRank{-1};

}  // namespace steadyrun
