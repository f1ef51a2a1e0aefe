// Goal: victims of a peer's end are told from those who failed themselves.
// Method: verbatim lines of public issue threads and of the frameworks.

#include <gtest/gtest.h>

#include "agent/supervisor/exit_evidence.h"

namespace steadyrun::agent {
namespace {

TEST(SecondaryErrorsTest, LinesOfVictims) {
  for (
      const char* line : {
          // Gloo, torch 1.11 - 1.13, 2.x.
          "RuntimeError: [../third_party/gloo/gloo/transport/tcp/pair.cc:598] "
          "Connection closed by peer [18.25.6.30]:28048",
          "RuntimeError: [/opt/conda/conda-bld/pytorch_1670525551200/work/"
          "third_party/gloo/gloo/transport/tcp/pair.cc:598] Connection closed "
          "by peer [10.0.1.17]:22780",
          "RuntimeError: [../third_party/gloo/gloo/transport/tcp/pair.cc:589] "
          "Read error [192.168.70.92]:25266: Connection reset by peer",
          "RuntimeError: [/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc"
          ":535] Read error [10.1.3.122]:42916: Connection reset by peer",
          "RuntimeError: [../gloo/transport/tcp/unbound_buffer.cc:81] Timed "
          "out waiting 1800000ms for recv operation to complete",
          "RuntimeError: [../gloo/gloo/transport/tcp/pair.cc:799] connect "
          "[127.0.1.1]:1234: Connection refused",
          "RuntimeError: Application timeout caused pair closure (gloo)",
          // c10d's store.
          "[W514 18:33:36 TCPStore.cpp:138] [c10d] recvValueWithTimeout failed "
          "on SocketImpl(fd=3, addr=[localhost]:34658, remote=[localhost]"
          ":1234): Failed to recv, got 0 bytes. Connection was likely closed. "
          "Did the remote server shutdown or crash?",
          "torch.distributed.DistNetworkError: failed to recv, got 0 bytes",
          "torch.distributed.DistStoreError: Timed out after 1801 seconds "
          "waiting for clients. 1/2 clients joined.",
          "RuntimeError: Socket Timeout",
          "RuntimeError: Broken pipe",
          "RuntimeError: Connection reset by peer",
          "RuntimeError: wait timeout after 1800000ms, keys: /default_pg/0//"
          "cpu//0/1",
          "TimeoutError: The client socket has timed out after 900s while "
          "trying to connect to (10.0.0.1, 29500).",
          // NCCL.
          "torch.distributed.DistBackendError: NCCL error in: ../torch/csrc/"
          "distributed/c10d/ProcessGroupNCCL.cpp:1347, remote process exited "
          "or there was a network error, NCCL version 2.18.5",
          "ncclRemoteError: A call failed possibly due to a network error or a "
          "remote process exiting prematurely.",
          "a100-22:183006:183181 [1] misc/socket.cc:538 NCCL WARN Net : "
          "Connection closed by remote peer a100-22.pcluster<47861>",
          "Net : Connection closed by remote peer user<50260>",
          "a100-22:183006:183220 [1] misc/socket.cc:518 NCCL WARN Net : Call "
          "to recv from 10.200.84.247<58355> failed : Broken pipe",
          "[rank0]:[E321 02:07:08.408271257 ProcessGroupNCCL.cpp:607] [Rank 0] "
          "Watchdog caught collective operation timeout: WorkNCCL(SeqNum=1580, "
          "OpType=ALLREDUCE, NumelIn=466119168, NumelOut=466119168, "
          "Timeout(ms)=600000) ran for 600060 milliseconds before timing out.",
          "[rank0]:[E321 02:07:08.465 ProcessGroupNCCL.cpp:1664] [PG 1 Rank 0] "
          "Exception (either an error or timeout) detected by watchdog at "
          "work: 1580, last enqueued NCCL work: 1582",
          "NET/IB : Got completion from peer 10.2.0.5<33092> with error 12, "
          "opcode 0, len 0, vendor err 129",
          // HCCL.
          "EI0006: Getting socket times out. Reason: 1. The remote does not "
          "initiate a connect request.",
          "EI0002: The wait execution of the Notify register times out.",
          "[ERROR] HCCL(11044,python3):2023 [exchanger_network.cc:237][11044] "
          "client : device[2] rank[2] get socket timeout, total[4] remain[2]",
          "[ERROR] HCCL(123,python):2024 [adapter_hccp.cc:872] Wait timeout "
          "for sockets recv, data[0xffffec55c7bc], size[4]",
      }) {
    EXPECT_TRUE(IsSecondaryError(line)) << line;
  }
}

TEST(SecondaryErrorsTest, LinesOfRanksThatFailedThemselves) {
  for (const char* line :
       {"ValueError: injected",
        "torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate "
        "304.00 MiB (GPU 0; 8.00 GiB total capacity;",
        "RuntimeError: CUDA error: uncorrectable ECC error encountered",
        "RuntimeError: The server socket has failed to listen on any local "
        "network address. The server socket has failed to bind to [::]:29500"
        " (errno: 98 - Address already in use).",
        "RuntimeError: Detected mismatch between collectives on ranks.",
        "FileNotFoundError: [Errno 2] No such file or directory: 'x'",
        "KeyError: 'lr'", "Segmentation fault (core dumped)",
        "ncclInvalidUsage: This usually reflects invalid usage of NCCL",
        "EI0005: The arguments for collective communication are inconsistent "
        "between ranks",
        "EI0004: The ranktable is invalid",
        "OSError: [Errno 28] No space left on device", ""}) {
    EXPECT_FALSE(IsSecondaryError(line)) << line;
  }
}

}  // namespace
}  // namespace steadyrun::agent
