#include "agent/supervisor/python_traceback.h"

#include <gmock/gmock.h>

namespace steadyrun::agent {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

std::vector<std::string> Lines(std::string_view text) {
  std::vector<std::string> lines;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    lines.emplace_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return lines;
}

TEST(PythonTracebackTest, ReadsFramesAndTheException) {
  const auto found = ParseTracebacks(Lines(R"(before
Traceback (most recent call last):
  File "/home/u/train.py", line 120, in <module>
    main()
  File "/home/u/train.py", line 88, in main
    loss = model(batch)
           ^^^^^^^^^^^^
  File "/usr/lib/python3/dist-packages/torch/nn/modules/module.py", line 1, in _call
    return forward(*input)
ValueError: too many values
after)"));

  ASSERT_THAT(found, SizeIs(1));
  EXPECT_EQ(found[0].type, "ValueError");
  EXPECT_EQ(found[0].line, "ValueError: too many values");
  EXPECT_THAT(found[0].more, ElementsAre("after"));
  ASSERT_THAT(found[0].frames, SizeIs(3));
  EXPECT_EQ(found[0].frames[1].function, "main");
  EXPECT_FALSE(found[0].frames[1].is_library);
  EXPECT_TRUE(found[0].frames[2].is_library);
}

TEST(PythonTracebackTest, KnowsChains) {
  const auto found = ParseTracebacks(Lines(R"(Traceback (most recent call last):
  File "a.py", line 1, in f
    x
KeyError: 'lr'

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "a.py", line 2, in g
    y
RuntimeError: cleanup failed

Traceback (most recent call last):
  File "b.py", line 2, in h
    z
OSError: other)"));

  ASSERT_THAT(found, SizeIs(3));
  EXPECT_FALSE(found[0].follows_previous);
  EXPECT_TRUE(found[1].follows_previous);
  EXPECT_FALSE(found[2].follows_previous);
}

TEST(PythonTracebackTest, LeavesLaunchersPrefixesOut) {
  for (const std::string prefix : {"[rank3]: ", "[default7]:", "3: ",
                                   "[1,3]<stderr>:", "[1,3]<stderr>: "}) {
    std::vector<std::string> lines;
    for (const char* line :
         {"Traceback (most recent call last):",
          "  File \"/u/train.py\", line 5, in step", "    fail()",
          "torch.cuda.OutOfMemoryError: CUDA out of memory."}) {
      lines.push_back(prefix + line);
    }
    const auto found = ParseTracebacks(lines);
    ASSERT_THAT(found, SizeIs(1)) << prefix;
    EXPECT_EQ(found[0].type, "torch.cuda.OutOfMemoryError") << prefix;
    EXPECT_THAT(found[0].frames, SizeIs(1)) << prefix;
  }
}

TEST(PythonTracebackTest, ACutOffOneIsNone) {
  EXPECT_THAT(ParseTracebacks(Lines("Traceback (most recent call last):")),
              IsEmpty());
  EXPECT_THAT(ParseTracebacks(Lines(
                  "Traceback (most recent call last):\n  File \"a\", line 1")),
              IsEmpty());
}

TEST(PythonTracebackTest, IsBounded) {
  std::vector<std::string> lines;
  for (int i = 0; i < 500; ++i) {
    lines.push_back("Traceback (most recent call last):");
    lines.push_back("E" + std::to_string(i) + ": x");
  }

  const auto found = ParseTracebacks(lines);

  EXPECT_LE(found.size(), 64u);
  EXPECT_EQ(found.back().type, "E499");
}

}  // namespace
}  // namespace steadyrun::agent
