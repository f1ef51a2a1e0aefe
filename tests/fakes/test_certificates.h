#pragma once

#include <stdlib.h>

#include <filesystem>
#include <string>

#include "base/digest.h"
#include "base/file.h"
#include "spdlog/fmt/fmt.h"

namespace steadyrun {

// A folder with ca.crt, server.crt/.key and client.crt/.key for 127.0.0.1,
// made by openssl, removed at the end.
class TestCertificates {
 public:
  TestCertificates()
      : folder_(std::filesystem::temp_directory_path() /
                ("steadyrun-tls-" + RandomHex64())) {
    std::filesystem::create_directory(folder_);
    const std::string make = fmt::format(
        "cd '{}' && exec 2>openssl.log && "
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes "
        "-keyout ca.key -out ca.crt -subj /CN=test-ca -days 2 && "
        "for who in server client; do "
        "openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes "
        "-keyout $who.key -out $who.csr -subj /CN=$who && "
        "printf 'subjectAltName=IP:127.0.0.1' > san && "
        "openssl x509 -req -in $who.csr -CA ca.crt -CAkey ca.key "
        "-CAcreateserial -out $who.crt -days 2 -extfile san || exit 1; done",
        folder_.string());
    is_made_ = ::system(make.c_str()) == 0;
  }
  ~TestCertificates() { std::filesystem::remove_all(folder_); }
  TestCertificates(const TestCertificates&) = delete;
  TestCertificates& operator=(const TestCertificates&) = delete;

  bool IsMade() const { return is_made_; }
  std::string Path(const std::string& name) const {
    return (folder_ / name).string();
  }
  std::string Log() const {
    return ReadFile(Path("openssl.log")).value_or("no log");
  }

 private:
  const std::filesystem::path folder_;
  bool is_made_ = false;
};

}  // namespace steadyrun
