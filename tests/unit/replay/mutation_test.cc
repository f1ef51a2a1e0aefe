// Damaged files never crash a reader: bytes flipped, cut out, doubled and cut
// off, from seeds. Run with sanitizers, this is what finds a read past an end.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <random>

#include "agent/logs/event_record.h"
#include "base/file.h"
#include "replay/backtest.h"
#include "replay/labels.h"
#include "replay/readers/csv_trace.h"
#include "replay/readers/read_trace.h"
#include "tests/unit/replay/real_data.h"

namespace steadyrun::replay {
namespace {

using Random = std::mt19937_64;

// What the formats are held together by, and the zero that ends the literal.
constexpr char kMarks[] = "\"'[]{}(),:|-\n\re";

std::size_t Below(std::size_t bound, Random* random) {
  return static_cast<std::size_t>((*random)() % bound);
}

std::string Mutated(std::string text, Random* random) {
  const std::size_t changes = 1 + Below(8, random);
  for (std::size_t i = 0; i < changes && !text.empty(); ++i) {
    const std::size_t at = Below(text.size(), random);
    const std::size_t size =
        1 + Below(std::min<std::size_t>(64, text.size() - at), random);
    switch (Below(6, random)) {
      case 0:
        text[at] = static_cast<char>(Below(256, random));
        break;
      case 1:
        text.erase(at, size);
        break;
      case 2:
        text.insert(at, text.substr(at, size));
        break;
      case 3:
        text.resize(at);
        break;
      case 4:
        text.insert(at, 1, kMarks[Below(sizeof kMarks, random)]);
        break;
      default:
        text.insert(at, "99999999999999999999");
        break;
    }
  }
  return text;
}

// Reads it as everything it could be; a good trace goes on as in a backtest.
void ReadAsAll(const std::string& text) {
  for (const auto& trace : {ReadTrace(text, "f"), ReadCsvTrace(text, "f")}) {
    if (!trace.ok()) {
      EXPECT_FALSE(trace.status().message().empty());
      continue;
    }
    RunBacktest(*trace, DefaultPolicy());
    const std::string written = WriteCsvTrace(*trace);
    const auto again = ReadCsvTrace(written, "written");
    ASSERT_TRUE(again.ok()) << again.status() << "\n" << text;
    EXPECT_EQ(again->Rows(), trace->Rows());
  }
  for (const LogFormat format : kLogFormats) {
    (void)ReadLogTrace(text, "f", format);
  }
  (void)ReadLabels(text, "f");
  (void)agent::ParseEvent(text);
}

const char* const kSeeds[] = {
    "step,rank,node,loss,kl\n1,0,a,2.5,nan\n1,1,b,inf,\"x,\"\"y\"\n2,0,a,,1\n",
    "start_step,end_step,kind,rank\n1,2,nan,3;4\n",
    "[default3]: iteration 1/ 9 | elapsed time per iteration (ms): 250.0 | lm "
    "loss: 2.5E+00 | loss scale: 1.0 | grad norm: 1.5 |\n",
    "{ Epoch:[  1/  2], step:[    1/   19], loss:[10.6/1], per_step_time: 1ms, "
    "lr: 0.0, overflow cond: False, global_norm: [1 31049], t: 2.8T\n",
    "(pid=7) step:1 - actor/pg_loss:np.float64(-0.5) - timing_s/step:12.5\n",
    "[INFO] [Rank 0] step=10, skipped=6, lr=[5e-05, 1e-4], mom=[(0.9)]\n"
    "OVERFLOW! Rank 0 Skipping step. Attempted loss scale: 64, reducing to "
    "32\n",
    "  0%| | 10/9000 [00:21<1:09:10,  3.52s/it]{'loss': 2.5, 'grad_norm': nan, "
    "'kl': np.float64(0.1)}\n{'eval_loss': 2.0}\n",
    "[12:00] iteration: 3 / 100 | actor/pg_loss : 0.25 | timing/all : 12.5 \n",
    "x.py:5] Global step 4 [replay]: {'policy_loss': '0.25', 'kl': 1e-3}\n",
    "INFO    [step=1/739,328,epoch=0]\n    train/CrossEntropyLoss=12.25\n",
    "0: :::MLLOG {\"key\": \"tracked_stats\", \"value\": {\"a\": [1, {}]}, "
    "\"metadata\": {\"step\": 64.0}}\n",
    "step:1/9 train_loss:3.5 train_time:10ms\n",
    "s:0 trl:10.5 lr:0.1 norm:15.37\n",
    "{\"step\": 3, \"data\": {\"actor/pg_loss\": 0.5}}\n",
    "{\"log_history\": [{\"step\": 1, \"loss\": NaN}, {\"step\": 2}]}",
};

TEST(MutationTest, DamagedTextNeverCrashes) {
  Random random(20260701);
  for (int round = 0; round < 150; ++round) {
    for (const char* seed : kSeeds) ReadAsAll(Mutated(seed, &random));
  }
}

TEST(MutationTest, DamagedEventsNeverCrash) {
  Random random(20260702);
  // Wall time 1, step 5, loss 2.5.
  constexpr char kEvent[] =
      "\x09\0\0\0\0\0\0\xf0\x3f\x10\x05\x2a\x0d\x0a\x0b\x0a\x04loss\x15\0\0"
      "\x20\x40";
  const std::string data(kEvent, sizeof kEvent - 1);
  ASSERT_EQ(agent::ParseEvent(data)->values.at(0).second, 2.5);
  for (int round = 0; round < 3000; ++round) {
    const std::string damaged = Mutated(data, &random);
    // Within a good frame, so that the message itself is reached.
    std::string size(8, '\0');
    size[0] = static_cast<char>(damaged.size() & 0xFF);
    std::string file = size;
    const auto add = [&file](std::uint32_t crc) {
      for (int i = 0; i < 4; ++i) {
        file += static_cast<char>((crc >> (8 * i)) & 0xFF);
      }
    };
    add(agent::MaskedCrc32c(size));
    file += damaged;
    add(agent::MaskedCrc32c(damaged));
    (void)ReadTrace(file, "f");
    (void)ReadTrace(Mutated(file, &random), "f");
  }
}

TEST(MutationTest, DamagedRealFilesNeverCrash) {
  SKIP_WITHOUT_DATA();
  Random random(20260703);
  constexpr std::size_t kPart = 6000;
  for (const char* folder : {"logs", "curves"}) {
    for (const auto& file : DataFiles(folder, "")) {
      auto text = ReadFile(file.string());
      ASSERT_TRUE(text.ok());
      text->resize(std::min(text->size(), kPart));
      ReadAsAll(Mutated(*std::move(text), &random));
    }
  }
}

}  // namespace
}  // namespace steadyrun::replay
