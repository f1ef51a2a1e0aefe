#include "agent/supervisor/exit_evidence.h"

#include <gmock/gmock.h>
#include <signal.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <random>
#include <sstream>

namespace steadyrun::agent {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

constexpr ExitStatus kFailed{1, 0};
constexpr ExitStatus kAborted{0, SIGABRT};

ExitEvidence Read(std::string_view tail, ExitStatus exit = kFailed) {
  return ReadExitEvidence(tail, exit);
}

constexpr char kOwnFailure[] = R"(step 11 loss 3.1
Traceback (most recent call last):
  File "/home/u/train.py", line 210, in <module>
    main()
  File "/home/u/train.py", line 150, in train_step
    raise ValueError("injected at step 12")
ValueError: injected at step 12
)";

constexpr char kPeerFailure[] = R"(Traceback (most recent call last):
  File "/home/u/train.py", line 210, in <module>
    main()
  File "/home/u/train.py", line 140, in train_step
    loss.backward()
  File "/usr/lib/python3/dist-packages/torch/_tensor.py", line 487, in backward
    torch.autograd.backward(
  File "/usr/lib/python3/dist-packages/torch/autograd/__init__.py", line 197, in backward
    Variable._execution_engine.run_backward(
RuntimeError: [../gloo/transport/tcp/pair.cc:598] Connection closed by peer [127.0.0.1]:32771
)";

TEST(ExitEvidenceTest, NamesTheRanksOwnException) {
  const ExitEvidence evidence = Read(kOwnFailure);

  EXPECT_EQ(evidence.error, "ValueError: injected at step 12");
  EXPECT_FALSE(evidence.is_secondary);
  EXPECT_EQ(evidence.signature, "ValueError in train.py train_step");
  EXPECT_THAT(evidence.last_lines, SizeIs(7));
}

TEST(ExitEvidenceTest, KnowsAVictimOfAPeer) {
  const ExitEvidence evidence = Read(kPeerFailure);

  EXPECT_TRUE(evidence.is_secondary);
  EXPECT_THAT(evidence.error, HasSubstr("Connection closed by peer"));
  EXPECT_EQ(evidence.signature, "RuntimeError in train.py train_step");
}

TEST(ExitEvidenceTest, TheSignatureIsFreeOfJitter) {
  std::string other(kOwnFailure);
  other.replace(other.find("line 150"), 8, "line 163");
  other.replace(other.find("step 12\"", 0), 7, "step 99");

  EXPECT_EQ(Read(kOwnFailure).signature, Read(other).signature);
}

TEST(ExitEvidenceTest, TroubleWhileCleaningUpDoesNotHideTheCause) {
  const std::string tail =
      std::string(kOwnFailure) +
      "\nDuring handling of the above exception, another exception occurred:\n"
      "\n" +
      kPeerFailure;

  const ExitEvidence evidence = Read(tail);

  EXPECT_EQ(evidence.error, "ValueError: injected at step 12");
  EXPECT_FALSE(evidence.is_secondary);
}

TEST(ExitEvidenceTest, AVictimThatWrapsTheErrorStaysAVictim) {
  const std::string tail =
      std::string(kPeerFailure) +
      "\nThe above exception was the direct cause of the following exception:\n"
      "\nTraceback (most recent call last):\n"
      "  File \"/home/u/train.py\", line 9, in guarded\n    raise X from e\n"
      "TrainingError: step failed\n";

  EXPECT_TRUE(Read(tail).is_secondary);
}

TEST(ExitEvidenceTest, TheReasonMayStandBehindTheExceptionLine) {
  const ExitEvidence evidence = Read(
      "Traceback (most recent call last):\n"
      "  File \"/u/train.py\", line 9, in step\n    all_reduce(x)\n"
      "torch.distributed.DistBackendError: NCCL error in: ../torch/csrc/"
      "distributed/c10d/ProcessGroupNCCL.cpp:1275, internal error, NCCL "
      "version "
      "2.14.3\nncclInternalError: Internal check failed.\nLast error:\n"
      "Net : Connection closed by remote peer user<50260>\n");

  EXPECT_TRUE(evidence.is_secondary);
}

TEST(ExitEvidenceTest, APlainResetCountsOnlyInsideACollective) {
  const auto tail = [](const std::string& file) {
    return "Traceback (most recent call last):\n  File \"" + file +
           "\", line 9, in recv\n    x\n"
           "ConnectionResetError: [Errno 104] Connection reset by peer\n";
  };

  EXPECT_FALSE(
      Read(tail("/usr/lib/python3.11/urllib/request.py")).is_secondary);
  EXPECT_TRUE(Read(tail("/usr/lib/python3/dist-packages/torch/distributed/"
                        "distributed_c10d.py"))
                  .is_secondary);
}

TEST(ExitEvidenceTest, AWatchdogsAbortIsSecondary) {
  const ExitEvidence evidence = Read(
      "[rank1]:[E626 06:24:44.903881913 ProcessGroupNCCL.cpp:616] [Rank 1] "
      "Watchdog caught collective operation timeout: WorkNCCL(SeqNum=808, "
      "OpType=ALLREDUCE, Timeout(ms)=600000) ran for 600020 milliseconds "
      "before timing out.\n"
      "terminate called after throwing an instance of 'c10::DistBackendError'\n"
      "  what():  [PG 1 Rank 1] Process group watchdog thread terminated with "
      "exception\n",
      kAborted);

  EXPECT_TRUE(evidence.is_secondary);
  EXPECT_THAT(evidence.error, HasSubstr("what():"));
  EXPECT_THAT(evidence.signature, HasSubstr("SIGABRT"));
}

TEST(ExitEvidenceTest, ASignalIsTheRanksOwnEndWhateverItPrinted) {
  for (const int signal : {SIGKILL, SIGSEGV, SIGBUS, SIGTERM}) {
    const ExitEvidence evidence = Read(kPeerFailure, {0, signal});
    EXPECT_FALSE(evidence.is_secondary) << signal;
  }
  EXPECT_EQ(Read("", {0, SIGKILL}).signature, "SIGKILL");
  EXPECT_EQ(Read("", {0, SIGKILL}).error, "ended with SIGKILL");
}

TEST(ExitEvidenceTest, AGoodEndIsNoEvidence) {
  const ExitEvidence evidence = Read(kOwnFailure, {0, 0});

  EXPECT_EQ(evidence.error, "");
  EXPECT_EQ(evidence.signature, "");
  EXPECT_FALSE(evidence.is_secondary);
}

TEST(ExitEvidenceTest, AnExitWithoutAWordSaysItsCode) {
  EXPECT_EQ(Read("all is well\n", {3, 0}).error, "ended with exit code 3");
  EXPECT_EQ(Read("", {3, 0}).signature, "exit code 3");
}

TEST(ExitEvidenceTest, ProgramsWithoutTracebacksAreReadToo) {
  const ExitEvidence evidence = Read(
      "loading\nterminate called after throwing an instance of "
      "'std::runtime_error'\n  what():  CUDA error: device 0x7ffe12 lost\n",
      kAborted);

  EXPECT_THAT(evidence.error, HasSubstr("CUDA error"));
  EXPECT_THAT(evidence.signature, HasSubstr("device @ lost"));
  EXPECT_FALSE(evidence.is_secondary);
}

TEST(ExitEvidenceTest, LinesAreCleanedMaskedAndBounded) {
  std::string tail;
  for (int i = 0; i < 100; ++i) tail += "line " + std::to_string(i) + "\n";
  tail += "\x1b[31mWANDB_API_KEY=abcdef123456\x1b[0m\n\n";
  tail += "10%|#\r50%|###\r100%|######\r\n";
  tail += std::string(5000, 'x') + "\n";

  const ExitEvidence evidence = Read(tail);

  ASSERT_THAT(evidence.last_lines, SizeIs(20));
  EXPECT_THAT(evidence.last_lines.back(), SizeIs(400));
  EXPECT_EQ(evidence.last_lines[18], "100%|######");
  EXPECT_EQ(evidence.last_lines[17], "WANDB_API_KEY=***");
  EXPECT_EQ(evidence.last_lines[16], "line 99");
}

TEST(ExitEvidenceTest, SecretsDoNotLeaveInTheError) {
  const ExitEvidence evidence = Read(
      "Traceback (most recent call last):\n  File \"a.py\", line 1, in f\n"
      "HTTPError: 401 for https://user:hunter2@hub/x token=hf_abcdefghijkl\n");

  EXPECT_THAT(evidence.error, Not(HasSubstr("hunter2")));
  EXPECT_THAT(evidence.error, Not(HasSubstr("abcdefghijkl")));
}

TEST(ExitEvidenceTest, AHoleInTheLogIsNoLine) {
  const std::string tail = std::string(4096, '\0') +
                           "Traceback (most recent call last):\n"
                           "  File \"a.py\", line 1, in f\nKeyError: 'x'\n";

  EXPECT_EQ(Read(tail).error, "KeyError: 'x'");
}

TEST(ExitEvidenceTest, RandomBytesDoNoHarm) {
  std::mt19937 random(7);
  const std::string seed = std::string(kOwnFailure) + kPeerFailure;
  for (int round = 0; round < 2000; ++round) {
    std::string tail = seed.substr(random() % seed.size());
    for (int i = 0; i < 20; ++i) {
      tail[random() % tail.size()] = static_cast<char>(random());
    }
    const ExitEvidence evidence = Read(tail);
    ASSERT_LE(evidence.last_lines.size(), 20u);
    ASSERT_LE(evidence.error.size(), 1000u);
    ASSERT_LE(evidence.signature.size(), 200u);
    ASSERT_THAT(evidence.error, Not(HasSubstr("\x1b")));
  }
}

// Crash logs of other people, with their cause in the file's name.
TEST(ExitEvidenceTest, RealCrashLogsHaveAnErrorAndAreNotTakenForVictims) {
  const char* folder = std::getenv("STEADYRUN_REAL_LOGS");
  if (folder == nullptr) {
    GTEST_SKIP() << "STEADYRUN_REAL_LOGS names no folder of real logs";
  }
  int files = 0;
  int with_error = 0;
  int secondary = 0;
  for (const auto& entry :
       std::filesystem::directory_iterator(std::string(folder) + "/gpualert")) {
    if (entry.path().extension() != ".log") continue;
    std::ifstream file(entry.path(), std::ios::binary);
    std::stringstream text;
    text << file.rdbuf();
    const ExitEvidence evidence = Read(text.str());
    ++files;
    if (evidence.error.find("ended with") != 0) ++with_error;
    if (evidence.is_secondary) {
      ++secondary;
      std::printf("secondary: %s: %s\n", entry.path().filename().c_str(),
                  evidence.error.c_str());
    }
  }
  std::printf("%d crash logs, %d with an error line, %d secondary\n", files,
              with_error, secondary);
  EXPECT_GT(with_error * 10, files * 8);
}

}  // namespace
}  // namespace steadyrun::agent
