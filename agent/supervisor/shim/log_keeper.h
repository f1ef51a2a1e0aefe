#pragma once

#include <cstdint>

namespace steadyrun::agent {

// Keeps one log file of a rank writable and bounded without standing between
// the rank and its file (a pipe would let the reader's death or pause stop the
// training).
//
//  - Writable: blocks are reserved ahead of the end of the file, so that the
//    rank's writes succeed on a full disk (a Python print would raise ENOSPC
//    into the training loop). When no more can be reserved, old content is
//    given back to make room.
//  - Bounded: of a long log, only the head and the newest part stay on disk;
//    what lies between becomes a hole. Offsets never change, so a follower
//    reads on undisturbed.
//
// No library, no allocation, no exception: part of the shim.
class LogKeeper {
 public:
  // Opens for append; /dev/null if the file cannot be made (is_lost).
  void Open(const char* path);
  // To be called a few times a second while the rank lives.
  void Tick();
  // Nobody writes any more: gives the reserve back.
  void Close();

  int fd() const { return fd_; }
  bool is_lost() const { return is_lost_; }

 private:
  bool Reserve(std::int64_t size, std::int64_t ahead);
  void GiveBack(std::int64_t size, std::int64_t keep);
  void MakeRoom(std::int64_t size);

  int fd_ = -1;
  bool is_lost_ = false;
  bool can_reserve_ = true;
  std::int64_t last_size_ = 0;
  std::int64_t reserved_end_ = 0;
  std::int64_t given_back_ = 0;  // End of the hole.
};

}  // namespace steadyrun::agent
