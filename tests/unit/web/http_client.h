#pragma once

#include <map>
#include <string>
#include <string_view>

namespace steadyrun {

// A client of raw bytes on a loopback socket: sends what no library would.
class HttpClient {
 public:
  explicit HttpClient(int port);
  ~HttpClient();
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  // False if the server has closed.
  bool Send(std::string_view bytes);
  // Everything until the server closes, or `seconds` passed without a byte.
  std::string ReadAll(double seconds = 10);
  // One response with a Content-Length, from its status line to its last byte.
  struct Response {
    int status = 0;                              // 0: none came.
    std::map<std::string, std::string> headers;  // Lower case.
    std::string body;
  };
  Response Read(bool is_head = false);
  // Whether the server closes within `seconds`, without having sent anything.
  bool IsClosedWithin(double seconds);
  int fd() const { return fd_; }

 private:
  bool Fill(double seconds);
  int fd_ = -1;
  std::string buffer_;
};

// One exchange on a connection of its own.
HttpClient::Response Get(int port, const std::string& target,
                         const std::string& headers = "");
HttpClient::Response Post(int port, const std::string& target,
                          const std::string& body,
                          const std::string& headers =
                              "Content-Type: application/json\r\n"
                              "X-Steadyrun-Request: 1\r\n");

}  // namespace steadyrun
