#pragma once

#include <memory>

#include "server/web/http_core.h"

namespace steadyrun::http_io {

// A client's connection, over TLS if the server has it. Start() it.
std::shared_ptr<Connection> NewConnection(const std::shared_ptr<Core>& core,
                                          Tcp::socket socket);

}  // namespace steadyrun::http_io
