#include "server/web/stream_routes.h"

#include <memory>
#include <string>
#include <utility>

#include "absl/strings/numbers.h"
#include "base/status_macros.h"
#include "proto/messages/checks.h"
#include "server/web/query_parameters.h"
#include "server/web/responses.h"

namespace steadyrun {
namespace {

// Too many streams are open: to be tried again. HEAD gets no stream.
HttpResponse StreamResponse(
    const HttpRequest& request,
    absl::StatusOr<std::shared_ptr<HttpStream>> stream) {
  if (!stream.ok()) {
    return ErrorResponse(TryAgainAfter(
        std::chrono::seconds(5),
        absl::UnavailableError(std::string(stream.status().message()))));
  }
  HttpResponse response;
  response.content_type = "text/event-stream";
  if (request.method == "GET") response.stream = *std::move(stream);
  return response;
}

absl::StatusOr<HttpResponse> Events(EventHub* events, const RouteCall& call) {
  if (events == nullptr) {
    return absl::NotFoundError("this server tells no live events");
  }
  // A browser sends the header when it comes back by itself; a page that
  // opens a new stream can only put it into the query.
  std::string last(call.request.Header("last-event-id"));
  if (last.empty()) last = QueryParameters(call.request).Text("last");
  return StreamResponse(call.request, events->Subscribe(last));
}

absl::StatusOr<HttpResponse> Follow(JournalFeed* journal,
                                    const RouteCall& call) {
  if (journal == nullptr) {
    return absl::NotFoundError("this server streams no journal");
  }
  QueryParameters query(call.request);
  std::int64_t after = query.Int64("after");
  RETURN_IF_ERROR(query.status());
  // A client that comes back by itself says how far it had got.
  const std::string last(call.request.Header("last-event-id"));
  if (!last.empty() && (!absl::SimpleAtoi(last, &after) || after < 0)) {
    return checks::Bad("Last-Event-ID", last, "the number of an event");
  }
  return StreamResponse(call.request,
                        journal->Follow(after, query.Text("run")));
}

}  // namespace

void AddStreamRoutes(EventHub* events, JournalFeed* journal,
                     RouteTable* routes) {
  routes->Add("/api/v1/events", {[events](const RouteCall& call) {
                return Events(events, call);
              }});
  routes->Add("/api/v1/journal/stream", {[journal](const RouteCall& call) {
                return Follow(journal, call);
              }});
}

}  // namespace steadyrun
