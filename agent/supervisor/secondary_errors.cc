#include <algorithm>
#include <cctype>
#include <string>
#include <string_view>

#include "agent/supervisor/exit_evidence.h"

namespace steadyrun::agent {
namespace {

// An error that a peer's end causes: all parts must be in the line, in any
// case. Where each was seen is said beside it. What may just as well be a
// rank's own fault is not here ("Address already in use", "unhandled system
// error", a mismatch of shapes between ranks).
struct SecondaryError {
  std::string_view first;
  std::string_view second;  // Empty: none.
};

constexpr SecondaryError kSecondaryErrors[] = {
    // Gloo's transport: pytorch issues 75512, 78514 (1.11 - 1.13, Debian) and
    // torchrec issue 3560 (2.x); only the path before "gloo" differs.
    {"gloo", "connection closed by peer"},
    {"gloo", "connection reset by peer"},
    {"gloo", "broken pipe"},
    {"gloo", "read error ["},
    {"gloo", "write error ["},
    {"gloo", "timed out waiting"},
    {"gloo", "connection refused"},
    {"gloo", "application timeout caused pair closure"},
    {"gloo", "connect timeout"},
    {"gloo connectfullmesh failed", ""},
    {"transport/tcp/pair.cc", "by peer"},
    {"failed to pass monitoredbarrier", ""},
    // c10d's store and sockets: pytorch pull requests 130056, 153586.
    {"socketimpl", "failed"},
    {"failed to recv, got 0 bytes", ""},
    {"did the remote server shutdown or crash", ""},
    {"socket timeout", ""},
    {"timed out after", "waiting for clients"},
    {"wait timeout after", "keys:"},
    {"the client socket has timed out", ""},
    {"the client socket has failed to connect", ""},
    {"distnetworkerror", ""},
    {"diststoreerror", "timed out"},
    {"tcpstore", "broken pipe"},
    {"tcpstore", "connection reset by peer"},
    {"runtimeerror: connection reset by peer", ""},
    {"runtimeerror: broken pipe", ""},
    {"runtimeerror: connection closed by peer", ""},
    // NCCL and its watchdog: NVIDIA/nccl issues 795, 934, 1141, 1232, 1514,
    // 2076; ProcessGroupNCCL of torch 1.13 - 2.7.
    {"remote process exited or there was a network error", ""},
    {"ncclremoteerror", ""},
    {"connection closed by remote peer", ""},
    {"nccl", "connection reset by peer"},
    {"nccl", "broken pipe"},
    {"nccl", "connection refused"},
    {"watchdog caught collective operation timeout", ""},
    {"some nccl operations have failed or timed out", ""},
    {"nccl communicator was aborted", ""},
    {"detected by watchdog at work", ""},
    {"to avoid data inconsistency, we are taking", ""},
    {"got completion from peer", ""},
    // HCCL on Ascend: CANN's error codes and mind-cluster's fault-diag cases.
    {"ei0002", "times out"},
    {"ei0006", ""},
    {"notify wait", "timeout"},
    {"wait timeout for sockets recv", ""},
    {"get socket timeout", ""},
    {"get sokcet timeout", ""},
    {"getting socket times out", ""},
    {"wait socket establish timeout", ""},
    {"connected p2p timeout", ""},
    {"some hccl operations have failed or timed out", ""},
    {"hccl", "heartbeat lost"},
    {"the remote does not initiate a connect request", ""},
};

std::string ToLower(std::string_view text) {
  std::string lower(text);
  std::transform(lower.begin(), lower.end(), lower.begin(), [](char c) {
    return static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  });
  return lower;
}

}  // namespace

bool IsSecondaryError(std::string_view line) {
  const std::string lower = ToLower(line);
  return std::any_of(std::begin(kSecondaryErrors), std::end(kSecondaryErrors),
                     [&](const SecondaryError& error) {
                       return lower.find(error.first) != std::string::npos &&
                              lower.find(error.second) != std::string::npos;
                     });
}

}  // namespace steadyrun::agent
