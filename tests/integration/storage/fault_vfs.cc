#include "tests/integration/storage/fault_vfs.h"

#include <sqlite3.h>

#include <atomic>

namespace steadyrun {
namespace {

constexpr int kNever = 1 << 30;

struct Plan {
  std::atomic<int> writes{0};
  std::atomic<int> syncs{0};
  std::atomic<int> full_from{kNever};
  std::atomic<int> failing_sync{kNever};
  std::atomic<int> failing_write{kNever};
};
Plan plan;

sqlite3_vfs* real_vfs;
sqlite3_vfs fault_vfs;

// The real file lies behind ours.
struct File {
  sqlite3_file base;
  sqlite3_file* real() { return reinterpret_cast<sqlite3_file*>(this + 1); }
};
File* Own(sqlite3_file* file) { return reinterpret_cast<File*>(file); }
sqlite3_file* Real(sqlite3_file* file) { return Own(file)->real(); }
const sqlite3_io_methods* Methods(sqlite3_file* file) {
  return Real(file)->pMethods;
}

int Write(sqlite3_file* file, const void* bytes, int size, sqlite3_int64 at) {
  const int index = plan.writes++;
  if (index >= plan.full_from) return SQLITE_FULL;
  if (index == plan.failing_write) return SQLITE_IOERR_WRITE;
  return Methods(file)->xWrite(Real(file), bytes, size, at);
}

int Sync(sqlite3_file* file, int flags) {
  if (plan.syncs++ == plan.failing_sync) return SQLITE_IOERR_FSYNC;
  return Methods(file)->xSync(Real(file), flags);
}

int Close(sqlite3_file* file) { return Methods(file)->xClose(Real(file)); }
int Read(sqlite3_file* file, void* out, int size, sqlite3_int64 at) {
  return Methods(file)->xRead(Real(file), out, size, at);
}
int Truncate(sqlite3_file* file, sqlite3_int64 size) {
  return Methods(file)->xTruncate(Real(file), size);
}
int FileSize(sqlite3_file* file, sqlite3_int64* size) {
  return Methods(file)->xFileSize(Real(file), size);
}
int Lock(sqlite3_file* file, int level) {
  return Methods(file)->xLock(Real(file), level);
}
int Unlock(sqlite3_file* file, int level) {
  return Methods(file)->xUnlock(Real(file), level);
}
int CheckReservedLock(sqlite3_file* file, int* out) {
  return Methods(file)->xCheckReservedLock(Real(file), out);
}
int FileControl(sqlite3_file* file, int op, void* argument) {
  return Methods(file)->xFileControl(Real(file), op, argument);
}
int SectorSize(sqlite3_file* file) {
  return Methods(file)->xSectorSize(Real(file));
}
int DeviceCharacteristics(sqlite3_file* file) {
  return Methods(file)->xDeviceCharacteristics(Real(file));
}
int ShmMap(sqlite3_file* file, int page, int size, int extend,
           void volatile** out) {
  return Methods(file)->xShmMap(Real(file), page, size, extend, out);
}
int ShmLock(sqlite3_file* file, int offset, int n, int flags) {
  return Methods(file)->xShmLock(Real(file), offset, n, flags);
}
void ShmBarrier(sqlite3_file* file) { Methods(file)->xShmBarrier(Real(file)); }
int ShmUnmap(sqlite3_file* file, int remove) {
  return Methods(file)->xShmUnmap(Real(file), remove);
}

const sqlite3_io_methods kMethods = {2,
                                     Close,
                                     Read,
                                     Write,
                                     Truncate,
                                     Sync,
                                     FileSize,
                                     Lock,
                                     Unlock,
                                     CheckReservedLock,
                                     FileControl,
                                     SectorSize,
                                     DeviceCharacteristics,
                                     ShmMap,
                                     ShmLock,
                                     ShmBarrier,
                                     ShmUnmap,
                                     nullptr,
                                     nullptr};

int Open(sqlite3_vfs*, const char* name, sqlite3_file* file, int flags,
         int* out_flags) {
  file->pMethods = nullptr;
  const int code =
      real_vfs->xOpen(real_vfs, name, Real(file), flags, out_flags);
  if (Real(file)->pMethods != nullptr) file->pMethods = &kMethods;
  return code;
}

}  // namespace

FaultVfs& FaultVfs::Get() {
  static FaultVfs* const instance = new FaultVfs();
  return *instance;
}

FaultVfs::FaultVfs() {
  real_vfs = sqlite3_vfs_find(nullptr);
  fault_vfs = *real_vfs;
  fault_vfs.zName = "steadyrun-fault";
  fault_vfs.pNext = nullptr;
  fault_vfs.szOsFile = static_cast<int>(sizeof(File)) + real_vfs->szOsFile;
  fault_vfs.xOpen = Open;
  sqlite3_vfs_register(&fault_vfs, /*makeDflt=*/1);
}

void FaultVfs::Reset() {
  plan.full_from = kNever;
  plan.failing_sync = kNever;
  plan.failing_write = kNever;
  plan.writes = 0;
  plan.syncs = 0;
}

void FaultVfs::FailWritesAfter(int writes) {
  plan.full_from = plan.writes + writes;
}
void FaultVfs::FailSyncAfter(int syncs) {
  plan.failing_sync = plan.syncs + syncs;
}
void FaultVfs::FailOneWriteAfter(int writes) {
  plan.failing_write = plan.writes + writes;
}

int FaultVfs::Writes() const { return plan.writes; }
int FaultVfs::Syncs() const { return plan.syncs; }

}  // namespace steadyrun
