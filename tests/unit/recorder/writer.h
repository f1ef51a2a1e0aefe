#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <string>

#include "agent/recorder/layout.h"
#include "agent/recorder/recorder_file.h"

namespace steadyrun::agent {

// A trainer's side that may write anything at all into its recorder.
class RawWriter {
 public:
  explicit RawWriter(const std::string& path,
                     std::uint32_t step_count = SRUN_STEP_COUNT)
      : step_count_(step_count), bytes_(RecorderBytes(step_count)) {
    const int fd = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
    EXPECT_GE(fd, 0);
    map_ = static_cast<char*>(
        ::mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
    EXPECT_NE(static_cast<void*>(map_), MAP_FAILED);
    ::close(fd);
    writer()->pid = static_cast<std::uint32_t>(::getpid());
  }
  ~RawWriter() { ::munmap(map_, bytes_); }
  RawWriter(const RawWriter&) = delete;
  RawWriter& operator=(const RawWriter&) = delete;

  srun_writer* writer() {
    return reinterpret_cast<srun_writer*>(map_ + SRUN_WRITER_OFFSET);
  }
  srun_standstill* standstill() {
    return reinterpret_cast<srun_standstill*>(map_ + SRUN_STANDSTILL_OFFSET);
  }
  srun_command* command() {
    return reinterpret_cast<srun_command*>(map_ + SRUN_COMMAND_OFFSET);
  }
  srun_step* slot(std::uint64_t number) {
    return reinterpret_cast<srun_step*>(map_ + SRUN_STEPS_OFFSET) +
           number % step_count_;
  }
  srun_event* event(std::uint64_t number) {
    return reinterpret_cast<srun_event*>(map_ + SRUN_EVENTS_OFFSET) +
           number % SRUN_EVENT_COUNT;
  }
  char* bytes() { return map_; }
  std::size_t size() const { return bytes_; }

  void Name(std::uint32_t index, const std::string& name) {
    char* at = map_ + SRUN_NAMES_OFFSET + index * SRUN_NAME_BYTES;
    std::memset(at, 0, SRUN_NAME_BYTES);
    std::memcpy(at, name.data(), std::min<std::size_t>(name.size(), 64));
    writer()->names_used = index + 1;
  }

  srun_step* Step(std::int64_t step, float loss) {
    const std::uint64_t number = writer()->steps_written;
    srun_step* at = slot(number);
    const std::uint32_t absent = SRUN_ABSENT_BITS;
    std::memset(at, 0, sizeof *at);
    for (float* value :
         {&at->step_seconds, &at->grad_norm, &at->tokens, &at->compute_seconds,
          &at->learning_rate, &at->loss_scale, &at->data_seconds}) {
      std::memcpy(value, &absent, sizeof absent);
    }
    at->step = step;
    at->loss = loss;
    at->end_unix_ns = 1'700'000'000'000'000'000u +
                      static_cast<std::uint64_t>(step) * 1'000'000u;
    std::atomic_thread_fence(std::memory_order_release);
    at->seq = number + 1;
    writer()->step = step;
    writer()->steps_written = number + 1;
    return at;
  }
  void Event(std::uint32_t kind, std::int64_t step, const std::string& text) {
    const std::uint64_t number = writer()->events_written;
    srun_event* at = event(number);
    std::memset(at, 0, sizeof *at);
    at->kind = kind;
    at->shards = 2;
    at->step = step;
    at->text_bytes = static_cast<std::uint32_t>(text.size());
    std::memcpy(at->text, text.data(), std::min(text.size(), sizeof at->text));
    at->seq = number + 1;
    writer()->events_written = number + 1;
  }

 private:
  std::uint32_t step_count_;
  std::size_t bytes_;
  char* map_ = nullptr;
};

inline std::string TempPath(const std::string& name) {
  const std::string path = ::testing::TempDir() + "recorder_test." +
                           std::to_string(::getpid()) + "." + name;
  ::unlink(path.c_str());
  ::unlink((path + ".cursor").c_str());
  return path;
}

inline RecorderSpec SpecOf(int rank, std::uint32_t steps = SRUN_STEP_COUNT) {
  RecorderSpec spec;
  spec.run = "run-1";
  spec.attempt = AttemptId{3};
  spec.incarnation = Incarnation{77};
  spec.rank = Rank{rank};
  spec.local_rank = rank;
  spec.world_size = 2;
  spec.step_count = steps;
  return spec;
}

}  // namespace steadyrun::agent
