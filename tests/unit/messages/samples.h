#pragma once

#include "proto/messages/messages.h"
#include "steadyrun/v1/agent.pb.h"

namespace steadyrun {

// One of each message, with every field set to something of its own.
NodeState SampleNode();
StepBlock SampleSteps();
RankExited SampleExited();
CheckpointShard SampleShard();
CommandResult SampleResult();
Hello SampleHello();
Command SampleStart();
Command SampleVerify();
Command CommandOf(CommandBody body);

// The same as a good protobuf message, for tests that break one field.
v1::Report ReportProto(ReportBody body);
v1::NodeState NodeProto();

}  // namespace steadyrun
