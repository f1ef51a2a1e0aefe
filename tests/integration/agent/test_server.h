#pragma once

#include <grpcpp/grpcpp.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "proto/messages/messages.h"
#include "steadyrun/v1/agent.grpc.pb.h"

namespace steadyrun::agent {

// What a server has heard of one agent.
struct Heard {
  std::vector<Hello> hellos;
  NodeState state;  // The newest.
  int heartbeats = 0;
  std::map<ReportSeq, Report> reports;
  int repeated_reports = 0;
  int streams = 0;  // Open now.
  std::vector<std::string> errors;

  template <typename T>
  std::vector<T> All() const {
    std::vector<T> found;
    for (const auto& [seq, report] : reports) {
      if (const T* one = std::get_if<T>(&report.body)) found.push_back(*one);
    }
    return found;
  }
  // Null if the newest heartbeat does not show it.
  const RankState* FindRank(int rank) const;
};

// A real gRPC server that records what one agent says, and says what it is
// told to. It can be stopped and started again on its port.
class TestServer {
 public:
  TestServer();
  ~TestServer();

  void Start();
  void Stop();  // Cuts the streams.
  std::string address() const;

  // Of the Welcomes from now on.
  std::uint64_t epoch = 1;
  std::string server_id = "server-a";
  bool acknowledges = true;
  std::shared_ptr<grpc::ServerCredentials> credentials =
      grpc::InsecureServerCredentials();
  Duration heartbeat_interval = std::chrono::milliseconds(100);

  // On the newest stream. `run`, boot id and epoch are filled in.
  void Send(Command command);
  Command Stop(int attempt, Duration grace = {}) const;
  Command Start(int attempt, StartCommand start) const;

  // False after 20 s.
  bool WaitUntil(const std::function<bool(const Heard&)>& condition);
  Heard heard() const;
  void ForgetReports();
  std::string boot_id() const { return heard().state.boot_id; }

 private:
  class Service;
  int port_ = 0;
  std::unique_ptr<Service> service_;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace steadyrun::agent
