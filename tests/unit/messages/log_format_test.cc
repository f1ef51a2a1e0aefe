#include "proto/messages/log_format.h"

#include <gmock/gmock.h>

#include <set>

namespace steadyrun {
namespace {

using ::testing::HasSubstr;

TEST(LogFormatTest, EachFormatIsFoundByItsName) {
  std::set<std::string_view> names;
  for (const LogFormat format : kLogFormats) {
    const std::string_view name = LogFormatName(format);
    EXPECT_TRUE(names.insert(name).second) << name;
    EXPECT_EQ(FindLogFormat(name), format) << name;
    EXPECT_THAT(KnownLogFormats(), HasSubstr(std::string(name)));
    EXPECT_THAT(LineLogFormats(), HasSubstr(std::string(name)));
  }
  EXPECT_EQ(FindLogFormat("trl"), LogFormat::kHuggingFace);
  EXPECT_EQ(FindLogFormat("mindspeed-llm"), LogFormat::kMegatron);
  EXPECT_FALSE(FindLogFormat("Megatron"));
  EXPECT_FALSE(FindLogFormat(""));
}

TEST(LogFormatTest, WhatARunMayAskFor) {
  EXPECT_TRUE(CheckLogSource("", "").ok());
  EXPECT_TRUE(CheckLogSource("auto", "").ok());
  EXPECT_TRUE(CheckLogSource("verl", "/logs/{rank}.log").ok());
  EXPECT_TRUE(CheckLogSource("tensorboard", "/runs").ok());
  EXPECT_TRUE(CheckLogSource("deepspeed-csv", "/csv").ok());
}

TEST(LogFormatTest, WhatIsRefusedSaysWhatIsKnown) {
  const std::string unknown(CheckLogSource("vrel", "").message());
  EXPECT_THAT(unknown, HasSubstr("'vrel'"));
  EXPECT_THAT(unknown, HasSubstr("auto, megatron"));
  EXPECT_THAT(unknown, HasSubstr("tensorboard"));
  EXPECT_THAT(std::string(CheckLogSource("tensorboard", "").message()),
              HasSubstr("log_path: found none"));
  EXPECT_THAT(std::string(CheckLogSource("", "/x").message()),
              HasSubstr("without a log_format"));
}

}  // namespace
}  // namespace steadyrun
