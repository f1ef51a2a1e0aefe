#pragma once

namespace steadyrun {

// A file system for SQLite that fails when told to: everything passes through
// to the real one, and writes and syncs are counted on the way. One for the
// whole process, installed as the default by the first use.
class FaultVfs {
 public:
  static FaultVfs& Get();

  // Nothing fails, counting starts again.
  void Reset();
  // Every write that makes a file longer, or comes after `writes` more writes,
  // finds the disk full until Reset.
  void FailWritesAfter(int writes);
  // The sync after `syncs` more fails with an I/O error, once.
  void FailSyncAfter(int syncs);
  // The write after `writes` more fails with an I/O error, once.
  void FailOneWriteAfter(int writes);

  int Writes() const;
  int Syncs() const;

 private:
  FaultVfs();
};

}  // namespace steadyrun
