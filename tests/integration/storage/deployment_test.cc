// Who may open which database: owners, versions, identity, damage, audit.

#include <gmock/gmock.h>
#include <sqlite3.h>

#include <filesystem>
#include <fstream>
#include <random>

#include "base/file.h"
#include "server/storage/migrations.h"
#include "tests/integration/storage/fixture.h"

namespace steadyrun {
namespace {

using testing::AllOf;
using testing::HasSubstr;

class DeploymentTest : public StoreTest {
 protected:
  // A shell beside the server.
  void RunSql(const std::string& sql) {
    sqlite3* db = nullptr;
    ASSERT_EQ(sqlite3_open(directory_.Database().c_str(), &db), SQLITE_OK);
    char* error = nullptr;
    EXPECT_EQ(sqlite3_exec(db, sql.c_str(), nullptr, nullptr, &error),
              SQLITE_OK)
        << (error == nullptr ? "" : error);
    sqlite3_free(error);
    sqlite3_close(db);
  }
  std::string OpenError() {
    const absl::Status status = TryOpen();
    EXPECT_FALSE(status.ok());
    return std::string(status.message());
  }
  AuditEntry Entry(int n) {
    return {
        clock_.WallNow(),          "ann", "restart", "r", "reason", "accepted",
        "req-" + std::to_string(n)};
  }
};

TEST_F(DeploymentTest, AMigrationFromNothingMakesTheNewestSchema) {
  Open();
  EXPECT_EQ(store_->history().SchemaVersion(), NewestSchemaVersion());
  EXPECT_TRUE(std::filesystem::exists(directory_.path() + "/cluster-id"));
}

TEST_F(DeploymentTest, TwoServersDoNotOpenOneDatabase) {
  Open();
  const auto second = SqliteStore::Open(options_, &clock_);
  EXPECT_TRUE(absl::IsFailedPrecondition(second.status()));
  EXPECT_THAT(
      std::string(second.status().message()),
      AllOf(HasSubstr("in use by process " + std::to_string(::getpid())),
            HasSubstr("another data_dir")));
  Close();
  Open();
}

TEST_F(DeploymentTest, ANewerSchemaIsRefusedAndLeftAlone) {
  Open();
  Close();
  RunSql("PRAGMA user_version = 99");
  EXPECT_THAT(OpenError(), AllOf(HasSubstr("has schema 99"),
                                 HasSubstr("newer steadyrun-server")));
}

TEST_F(DeploymentTest, ADatabaseOfAnotherProgramIsRefused) {
  RunSql("CREATE TABLE theirs (x); INSERT INTO theirs VALUES (1)");
  EXPECT_THAT(OpenError(), HasSubstr("of another program"));
}

TEST_F(DeploymentTest, AFileThatIsNoDatabaseIsRefused) {
  std::ofstream(directory_.Database()) << std::string(100'000, 'x');
  const absl::Status status = TryOpen();
  EXPECT_TRUE(absl::IsDataLoss(status)) << status;
}

TEST_F(DeploymentTest, AnEmptiedDatabaseDoesNotTakeOverADeployment) {
  Open();
  Apply({MakeRun("r")});
  Close();
  for (const char* suffix : {"", "-wal", "-shm"}) {
    std::filesystem::remove(directory_.Database() + suffix);
  }
  EXPECT_THAT(OpenError(), AllOf(HasSubstr("is empty"), HasSubstr("backup")));
  // Nor at the second try, after the first has made the tables.
  EXPECT_THAT(OpenError(), HasSubstr("is empty"));
  std::filesystem::remove(directory_.path() + "/cluster-id");
  Open();
}

TEST_F(DeploymentTest, ADatabaseOfAnotherDeploymentIsRefused) {
  Open();
  Close();
  ASSERT_TRUE(WriteFileAtomically(directory_.path() + "/cluster-id",
                                  "0123456789abcdef\n")
                  .ok());
  EXPECT_THAT(OpenError(), HasSubstr("is of deployment"));
}

TEST_F(DeploymentTest, ALostClusterIdFileIsWrittenAgain) {
  Open();
  Apply({MakeRun("r")});
  Close();
  std::filesystem::remove(directory_.path() + "/cluster-id");
  Open();
  EXPECT_EQ(LoadAll().runs.size(), 1u);
  EXPECT_TRUE(std::filesystem::exists(directory_.path() + "/cluster-id"));
}

TEST_F(DeploymentTest, DamageInThePagesIsFoundAtTheStart) {
  Open();
  std::vector<Change> changes;
  for (int i = 0; i < 300; ++i) {
    changes.push_back(Decision{"r", AttemptId{1}, i, clock_.WallNow(),
                               "observe", std::string(200, 'x')});
  }
  Apply(changes);
  Close();
  std::fstream file(directory_.Database(),
                    std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(0, std::ios::end);
  const auto size = static_cast<long>(file.tellp());
  for (long at = 8192 * 4; at + 64 < size; at += 8192) {
    file.seekp(at);
    file << std::string(64, '\xff');
  }
  file.close();
  const absl::Status status = TryOpen();
  EXPECT_TRUE(absl::IsDataLoss(status)) << status;
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr("is damaged"), HasSubstr("backup")));
}

// Whatever bytes change: an error that says so, or a database that works.
// Never a crash, never a hang.
TEST_F(DeploymentTest, RandomDamageIsFoundOrHarmless) {
  Open();
  std::vector<Change> changes;
  for (std::int64_t step = 0; step < 50; ++step) {
    changes.push_back(MakeStep("r", 1, step, 8));
  }
  for (int i = 0; i < 20; ++i) changes.push_back(Entry(i));
  changes.push_back(MakeRun("r"));
  Apply(changes);
  Close();
  const absl::StatusOr<std::string> good = ReadFile(directory_.Database());
  ASSERT_TRUE(good.ok());
  std::mt19937_64 random(20);
  int found = 0;
  constexpr int kTrials = 60;
  for (int trial = 0; trial < kTrials; ++trial) {
    SCOPED_TRACE(trial);
    std::string bytes = *good;
    if (trial % 4 == 0) bytes.resize(random() % bytes.size());
    for (int i = 0; i < 8 && !bytes.empty(); ++i) {
      bytes[random() % bytes.size()] = static_cast<char>(random());
    }
    for (const char* suffix : {"-wal", "-shm"}) {
      std::filesystem::remove(directory_.Database() + suffix);
    }
    std::ofstream(directory_.Database(), std::ios::binary) << bytes;
    const absl::Status opened = TryOpen();
    if (!opened.ok()) {
      ++found;
      continue;
    }
    const absl::StatusOr<Snapshot> snapshot = store_->Load(clock_.Both());
    found += snapshot.ok() ? 0 : 1;
    store_->Apply({{Change(MakeRun("r"))}}, clock_.Both()).IgnoreError();
    store_->history().Steps({.run = "r"}).status().IgnoreError();
    store_->history().FindStep("r", Step{7}).status().IgnoreError();
    store_->RunMaintenanceRound().IgnoreError();
    Close();
  }
  EXPECT_GT(found, kTrials / 4);
}

TEST_F(DeploymentTest, AuditRowsCannotBeChangedOrDeleted) {
  Open();
  Apply({Entry(1), Entry(2)});
  sqlite3* db = nullptr;
  ASSERT_EQ(sqlite3_open(directory_.Database().c_str(), &db), SQLITE_OK);
  for (const char* sql :
       {"UPDATE audit SET reason = 'x'", "DELETE FROM audit"}) {
    EXPECT_NE(sqlite3_exec(db, sql, nullptr, nullptr, nullptr), SQLITE_OK);
    EXPECT_THAT(sqlite3_errmsg(db), HasSubstr("append-only"));
  }
  sqlite3_close(db);
}

TEST_F(DeploymentTest, TheAuditChainSpansRestarts) {
  for (int start = 0; start < 3; ++start) {
    Open();
    LoadAll();
    Apply({Entry(2 * start), Entry(2 * start + 1)});
  }
  const auto head = store_->history().VerifyAudit();
  ASSERT_TRUE(head.ok()) << head.status();
  EXPECT_EQ(head->seq, 6);
  const auto rows = store_->history().Audit("", 2);
  ASSERT_EQ(rows->size(), 2u);
  EXPECT_EQ(rows->at(0).seq, 6);
  EXPECT_EQ(rows->at(0).hash, head->hash);
  EXPECT_EQ(rows->at(0).server_epoch, 3u);
}

// Somebody with a shell and time removes the triggers first.
TEST_F(DeploymentTest, EveryEditOfTheAuditIsFound) {
  const std::vector<std::string> edits = {
      "UPDATE audit SET reason = 'other' WHERE seq = 3",
      "UPDATE audit SET actor = 'bob' WHERE seq = 1",
      "UPDATE audit SET at_unix_ms = at_unix_ms + 1 WHERE seq = 5",
      "UPDATE audit SET actor = actor || substr(action, 1, 1),"
      " action = substr(action, 2) WHERE seq = 2",
      "DELETE FROM audit WHERE seq = 4",
      "DELETE FROM audit WHERE seq = 1",
      "UPDATE audit SET hash = prev_hash WHERE seq = 5",
      "UPDATE audit SET seq = seq + 1 WHERE seq = 5"};
  for (const std::string& edit : edits) {
    SCOPED_TRACE(edit);
    ScratchDirectory scratch;
    options_.data_dir = scratch.path();
    Open();
    Apply({Entry(1), Entry(2), Entry(3), Entry(4), Entry(5)});
    Close();
    sqlite3* db = nullptr;
    ASSERT_EQ(sqlite3_open(scratch.Database().c_str(), &db), SQLITE_OK);
    const std::string sql =
        "DROP TRIGGER audit_is_never_changed;"
        "DROP TRIGGER audit_is_never_cut;" +
        edit;
    ASSERT_EQ(sqlite3_exec(db, sql.c_str(), nullptr, nullptr, nullptr),
              SQLITE_OK);
    sqlite3_close(db);
    const absl::Status status = TryOpen();
    EXPECT_TRUE(absl::IsDataLoss(status)) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr("audit"));
  }
}

}  // namespace
}  // namespace steadyrun
