#include "server/rpc/wrong_token_limit.h"

#include <arpa/inet.h>

#include <algorithm>
#include <cstring>

#include "base/digest.h"

namespace steadyrun {
namespace {

// Whoever has one IPv6 address has the 2^64 beside it.
std::string NetworkOf(std::string_view address) {
  const std::string text(address.substr(0, address.find('%')));
  in6_addr parsed{};
  if (::inet_pton(AF_INET6, text.c_str(), &parsed) != 1) return text;
  if (IN6_IS_ADDR_V4MAPPED(&parsed)) return text.substr(text.rfind(':') + 1);
  return std::string(reinterpret_cast<const char*>(parsed.s6_addr), 8);
}

std::uint64_t DigestOf(std::string_view token) {
  const std::string digest = Sha256Hex(token);
  std::uint64_t bits = 0;
  std::memcpy(&bits, digest.data(), sizeof(bits));
  return bits;
}

}  // namespace

Duration WrongTokenLimit::WaitOf(std::string_view address,
                                 std::string_view token, MonoTime now) const {
  absl::MutexLock lock(&mutex_);
  const auto it = by_network_.find(NetworkOf(address));
  if (it == by_network_.end()) return Duration::zero();
  const bool is_same = it->second.last_token == DigestOf(token);
  const int most_used = is_same ? kTries - 2 : kTries - 1;
  return std::max(Duration::zero(),
                  it->second.all_back - now - most_used * kInterval);
}

void WrongTokenLimit::NoteWrong(std::string_view address,
                                std::string_view token, MonoTime now) {
  std::string network = NetworkOf(address);
  absl::MutexLock lock(&mutex_);
  ++counts_.wrong;
  if (by_network_.count(network) == 0) MakeRoom(now);
  Tries& tries = by_network_[std::move(network)];
  tries.all_back = std::max(tries.all_back, now) + kInterval;
  tries.last_token = DigestOf(token);
}

void WrongTokenLimit::MakeRoom(MonoTime now) {
  if (by_network_.size() < kMaxAddresses) return;
  for (auto it = by_network_.begin(); it != by_network_.end();) {
    it = it->second.all_back <= now ? by_network_.erase(it) : std::next(it);
  }
  if (by_network_.size() < kMaxAddresses) return;
  ++counts_.forgotten;
  by_network_.erase(std::min_element(
      by_network_.begin(), by_network_.end(), [](const auto& a, const auto& b) {
        return a.second.all_back < b.second.all_back;
      }));
}

void WrongTokenLimit::NoteRefused() {
  absl::MutexLock lock(&mutex_);
  ++counts_.refused;
}

WrongTokenLimit::Counts WrongTokenLimit::CountsAt(MonoTime now) const {
  absl::MutexLock lock(&mutex_);
  Counts counts = counts_;
  counts.addresses = static_cast<std::size_t>(std::count_if(
      by_network_.begin(), by_network_.end(),
      [now](const auto& one) { return one.second.all_back > now; }));
  return counts;
}

}  // namespace steadyrun
