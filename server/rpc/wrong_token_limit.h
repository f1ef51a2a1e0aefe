#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "base/clock.h"

namespace steadyrun {

// Slows whoever tries tokens: an address has kTries wrong ones at once, and
// gets one back every kInterval. While it has none left, no token of it is
// looked at, the right one neither, so that an answer tells nothing.
//
// The last try is kept for another token than the one that was wrong before: a
// script with an old token, which says the same again and again, does not lock
// out the people who share its address (a proxy's, say).
//
// A limit by address, since there is no name yet to limit by: tokens are long
// and random, so that this is for logs and load, not what keeps guesses out.
// Time is an argument. Thread-safe.
class WrongTokenLimit {
 public:
  static constexpr int kTries = 10;
  static constexpr Duration kInterval = std::chrono::seconds(5);
  // Some 400 KB. Beyond it, the one that would be forgiven first is forgotten.
  static constexpr std::size_t kMaxAddresses = 4096;

  // How long until a token from this address is looked at again; zero: now.
  // `address` is an IP address; of IPv6, all of a /64 are one.
  Duration WaitOf(std::string_view address, std::string_view token,
                  MonoTime now) const;
  void NoteWrong(std::string_view address, std::string_view token,
                 MonoTime now);

  struct Counts {
    std::uint64_t wrong = 0;      // Tokens looked at.
    std::uint64_t refused = 0;    // Tokens not looked at.
    std::uint64_t forgotten = 0;  // Addresses, for want of room.
    std::size_t addresses = 0;    // That have fewer than all tries now.
  };
  void NoteRefused();
  Counts CountsAt(MonoTime now) const;

 private:
  struct Tries {
    MonoTime all_back;             // When it has kTries again.
    std::uint64_t last_token = 0;  // Of its digest: never the token.
  };
  void MakeRoom(MonoTime now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  mutable absl::Mutex mutex_;
  std::map<std::string, Tries> by_network_ ABSL_GUARDED_BY(mutex_);
  Counts counts_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace steadyrun
