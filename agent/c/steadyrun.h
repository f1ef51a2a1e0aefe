#ifndef STEADYRUN_AGENT_C_STEADYRUN_H_
#define STEADYRUN_AGENT_C_STEADYRUN_H_

/* Steadyrun in a training process written in C or C++: the twin of the Python
 * package, header only, C11 or C++11, Linux, GCC or Clang. Compile with the
 * repository's root (or its installed copy) on the include path.
 *
 *   struct srun_run run;
 *   srun_init(&run);
 *   for (int64_t i = run.resume_step + 1 > 1 ? run.resume_step + 1 : 1;
 *        i <= steps; ++i) {
 *     struct srun_values values = srun_no_values();
 *     values.loss = train_one_step();
 *     struct srun_due due = srun_step(&run, i, &values);
 *     if (due.save) {
 *       uint32_t outer = srun_enter(&run, SRUN_PHASE_CHECKPOINT);
 *       save(run.checkpoint_dir, i, path);
 *       srun_checkpoint_saved(&run, i, path, 0);
 *       srun_leave(&run, outer);
 *     }
 *     if (due.stop) break;
 *   }
 *   srun_finish(&run, "");
 *
 * Nothing here allocates, locks, blocks or ends the process, and without an
 * agent every call returns at once. Steps count from 1. One thread per run. */

#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "agent/recorder/environment.h"
#include "agent/recorder/layout.h"

/* enum Phase of proto/steadyrun/v1/model.proto. */
enum srun_phase {
  SRUN_PHASE_STARTUP = 1,
  SRUN_PHASE_STEP = 2,
  SRUN_PHASE_DATA = 3,
  SRUN_PHASE_FORWARD = 4,
  SRUN_PHASE_BACKWARD = 5,
  SRUN_PHASE_OPTIMIZER = 6,
  SRUN_PHASE_CHECKPOINT = 7,
  SRUN_PHASE_EVALUATION = 8,
  SRUN_PHASE_COMPILE = 9,
  SRUN_PHASE_ROLLOUT = 10,
  SRUN_PHASE_REWARD = 11,
  SRUN_PHASE_REFERENCE = 12,
  SRUN_PHASE_WEIGHT_SYNC = 13,
  SRUN_PHASE_SHUTDOWN = 14,
  SRUN_PHASE_OTHER = 15
};

/* Of one step. Start from srun_no_values(): what is not set is absent. */
struct srun_values {
  float loss;
  float grad_norm;
  float tokens;          /* Of this rank. */
  float step_seconds;    /* Absent: measured since the step before. */
  float compute_seconds; /* Without waiting for other ranks. */
  float learning_rate;
  float loss_scale;
  float data_seconds;
  uint32_t named_count; /* At most SRUN_NAMED_PER_STEP. */
  struct {
    uint32_t name; /* From srun_metric(). */
    float value;
  } named[SRUN_NAMED_PER_STEP];
};

/* What is asked of this rank at the end of the step just reported. */
struct srun_due {
  int save;
  int stop;
};

struct srun_run {
  /* Read these. */
  int is_active;               /* An agent's recorder is written. */
  int64_t resume_step;         /* Last step in the checkpoint; -1: none. */
  const char* resume_path;     /* This rank's part of it; "" none. */
  const char* checkpoint_dir;  /* Of this attempt; "" none. */
  int64_t attempt;             /* From 1; 0 no agent. */
  int64_t target_steps;        /* 0 unknown. */
  const char* skip;            /* For srun_data(); "" nothing. */
  double learning_rate_factor; /* Multiply the learning rate by it. */
  uint64_t errors;             /* Calls that could not be carried out. */

  /* The library's own. */
  unsigned char* map;
  uint32_t step_count;
  int32_t world_size;
  uint64_t last_ns;
  uint64_t outside_ns;
  uint64_t checkpoint_ns;
  uint64_t entered_ns;
  uint64_t command_seq;
  uint32_t pending_action;
  int64_t pending_step;
};

static inline float srun_absent(void) {
  const uint32_t bits = SRUN_ABSENT_BITS;
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

static inline struct srun_values srun_no_values(void) {
  struct srun_values values;
  values.loss = values.grad_norm = values.tokens = values.step_seconds =
      values.compute_seconds = values.learning_rate = values.loss_scale =
          values.data_seconds = srun_absent();
  values.named_count = 0;
  return values;
}

static inline uint64_t srun_clock_ns(clockid_t clock) {
  struct timespec now;
  clock_gettime(clock, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static inline struct srun_writer* srun_writer_of(const struct srun_run* run) {
  return (struct srun_writer*)(void*)(run->map + SRUN_WRITER_OFFSET);
}

static inline void srun_error(struct srun_run* run) {
  ++run->errors;
  if (run->is_active) srun_writer_of(run)->errors = run->errors;
}

static inline int64_t srun_number(const char* name, int64_t fallback) {
  const char* text = getenv(name);
  char* end = NULL;
  const long long value = text ? strtoll(text, &end, 10) : 0;
  return text && *text && end && *end == '\0' ? (int64_t)value : fallback;
}

static inline const char* srun_text(const char* name) {
  const char* text = getenv(name);
  return text ? text : "";
}

/* Enters a phase; give what it returns to srun_leave(). */
static inline uint32_t srun_enter(struct srun_run* run, uint32_t phase) {
  if (!run->is_active) return SRUN_PHASE_STEP;
  struct srun_writer* writer = srun_writer_of(run);
  const uint32_t outer = writer->phase;
  const uint64_t now = srun_clock_ns(CLOCK_MONOTONIC);
  const uint64_t spent = now - run->entered_ns;
  if (outer == SRUN_PHASE_CHECKPOINT) run->checkpoint_ns += spent;
  if (outer == SRUN_PHASE_CHECKPOINT || outer == SRUN_PHASE_EVALUATION ||
      outer == SRUN_PHASE_COMPILE) {
    run->outside_ns += spent;
  }
  run->entered_ns = now;
  writer->phase = phase;
  writer->phase_mono_ns = now;
  writer->progress_mono_ns = now;
  ++writer->phase_seq;
  return outer;
}

static inline void srun_leave(struct srun_run* run, uint32_t outer) {
  (void)srun_enter(run, outer);
}

static inline void srun_attach(struct srun_run* run) {
  struct srun_writer* writer = srun_writer_of(run);
  run->is_active = 1;
  writer->step = -1;
  run->entered_ns = srun_clock_ns(CLOCK_MONOTONIC);
  (void)srun_enter(run, SRUN_PHASE_STARTUP);
  __atomic_store_n(&writer->pid, (uint32_t)getpid(), __ATOMIC_RELEASE);
}

/* Maps the recorder at `path`; 0 if it is none of this attempt's. */
static inline int srun_map(struct srun_run* run, const char* path) {
  const int fd = open(path, O_RDWR | O_CLOEXEC);
  if (fd < 0) return 0;
  struct stat stat_of;
  int is_fit = fstat(fd, &stat_of) == 0 &&
               stat_of.st_size >= (off_t)(SRUN_STEPS_OFFSET + SRUN_STEP_BYTES);
  void* map = MAP_FAILED;
  if (is_fit) {
    map = mmap(NULL, (size_t)stat_of.st_size, PROT_READ | PROT_WRITE,
               MAP_SHARED, fd, 0);
  }
  close(fd);
  if (map == MAP_FAILED) return 0;
  const struct srun_header* header = (const struct srun_header*)map;
  run->map = (unsigned char*)map;
  run->step_count = header->step_count;
  run->world_size = header->world_size;
  const uint32_t writer = srun_writer_of(run)->pid;
  /* A living writer: this process only inherited its rank's environment. */
  is_fit = header->magic == SRUN_RECORDER_MAGIC &&
           header->version == SRUN_RECORDER_VERSION && header->step_count > 0 &&
           SRUN_STEPS_OFFSET + (uint64_t)header->step_count * SRUN_STEP_BYTES <=
               (uint64_t)stat_of.st_size &&
           (run->attempt == 0 || header->attempt == run->attempt) &&
           (writer == 0 || writer == (uint32_t)getpid() ||
            kill((pid_t)writer, 0) != 0);
  if (is_fit) return 1;
  munmap(map, (size_t)stat_of.st_size);
  run->map = NULL;
  return 0;
}

/* Reads the environment and, with an agent, opens the recorder. Returns
 * is_active; every other call works either way. */
static inline int srun_init(struct srun_run* run) {
  memset(run, 0, sizeof *run);
  run->resume_path = srun_text(SRUN_ENV_RESUME_PATH);
  run->resume_step =
      *run->resume_path ? srun_number(SRUN_ENV_RESUME_STEP, -1) : -1;
  run->checkpoint_dir = srun_text(SRUN_ENV_CHECKPOINT_DIR);
  run->attempt = srun_number(SRUN_ENV_ATTEMPT, 0);
  run->target_steps = srun_number(SRUN_ENV_TARGET_STEPS, 0);
  run->skip = srun_text(SRUN_ENV_SKIP);
  run->learning_rate_factor = atof(srun_text(SRUN_ENV_LEARNING_RATE_FACTOR));
  if (!(run->learning_rate_factor > 0)) run->learning_rate_factor = 1;
  const char* path = srun_text(SRUN_ENV_RECORDER);
  if (!*path) return 0;
  if (srun_map(run, path)) {
    srun_attach(run);
  } else {
    ++run->errors;
  }
  return run->is_active;
}

/* The number of the data to use at `step`: the step itself, or as many further
 * on as rollbacks have asked to leave out before it. */
static inline int64_t srun_data(const struct srun_run* run, int64_t step) {
  const char* text = run->skip == NULL ? "" : run->skip;
  while (*text) {
    char* end = NULL;
    const int64_t first = (int64_t)strtoll(text, &end, 10);
    if (*end != '-') break;
    const int64_t last = (int64_t)strtoll(end + 1, &end, 10);
    if (last < first) break;
    if (step >= first) step += last - first + 1;
    if (*end != ',') break;
    text = end + 1;
  }
  return step;
}

/* Index of a named metric, entered at its first use; look it up once.
 * UINT32_MAX: malformed, or the table of 64 names is full. */
static inline uint32_t srun_metric(struct srun_run* run, const char* name) {
  if (!run->is_active) return UINT32_MAX;
  struct srun_writer* writer = srun_writer_of(run);
  char* table = (char*)run->map + SRUN_NAMES_OFFSET;
  const size_t size = strlen(name);
  const size_t letters = strspn(
      name,
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./-");
  uint32_t i = 0;
  if (size == 0 || size >= SRUN_NAME_BYTES || letters != size) {
    srun_error(run);
    return UINT32_MAX;
  }
  for (; i < writer->names_used && i < SRUN_NAME_COUNT; ++i) {
    if (strncmp(table + i * SRUN_NAME_BYTES, name, SRUN_NAME_BYTES) == 0) {
      return i;
    }
  }
  if (i >= SRUN_NAME_COUNT) {
    srun_error(run);
    return UINT32_MAX;
  }
  memset(table + i * SRUN_NAME_BYTES, 0, SRUN_NAME_BYTES);
  memcpy(table + i * SRUN_NAME_BYTES, name, size);
  __atomic_store_n(&writer->names_used, i + 1, __ATOMIC_RELEASE);
  return i;
}

static inline struct srun_standstill* srun_standstill_of(
    const struct srun_run* run) {
  return (struct srun_standstill*)(void*)(run->map + SRUN_STANDSTILL_OFFSET);
}

/* Index of a communicator, entered at its first use; look it up once. Its name
 * is equal on all of its members, and of no other communicator: "tp:0-7".
 * UINT32_MAX: empty, longer than 55 bytes, or the table of 8 is full. */
static inline uint32_t srun_communicator(struct srun_run* run,
                                         const char* group) {
  if (!run->is_active) return UINT32_MAX;
  struct srun_standstill* here = srun_standstill_of(run);
  const size_t size = strlen(group);
  uint32_t i = 0;
  if (size == 0 || size >= SRUN_GROUP_BYTES) {
    srun_error(run);
    return UINT32_MAX;
  }
  for (; i < here->groups_used && i < SRUN_GROUP_COUNT; ++i) {
    if (strncmp(here->positions[i].group, group, SRUN_GROUP_BYTES) == 0) {
      return i;
    }
  }
  if (i >= SRUN_GROUP_COUNT) {
    srun_error(run);
    return UINT32_MAX;
  }
  memset(&here->positions[i], 0, sizeof here->positions[i]);
  memcpy(here->positions[i].group, group, size);
  __atomic_store_n(&here->groups_used, i + 1, __ATOMIC_RELEASE);
  return i;
}

/* Call it before each collective of a communicator: of ranks that hang, it
 * tells which one did not come. One store. */
static inline void srun_collective(struct srun_run* run,
                                   uint32_t communicator) {
  if (!run->is_active || communicator >= SRUN_GROUP_COUNT) return;
  uint64_t* entered = &srun_standstill_of(run)->positions[communicator].entered;
  __atomic_store_n(entered, *entered + 1, __ATOMIC_RELAXED);
}

/* Takes the newest save word, if it is whole. */
static inline void srun_read_command(struct srun_run* run) {
  struct srun_command* command =
      (struct srun_command*)(void*)(run->map + SRUN_COMMAND_OFFSET);
  const uint64_t seq = __atomic_load_n(&command->seq, __ATOMIC_ACQUIRE);
  if (seq == 0 || seq == run->command_seq) return;
  const uint32_t action = __atomic_load_n(&command->action, __ATOMIC_RELAXED);
  const int64_t step = __atomic_load_n(&command->step, __ATOMIC_RELAXED);
  __atomic_thread_fence(__ATOMIC_ACQUIRE);
  if (__atomic_load_n(&command->seq, __ATOMIC_RELAXED) != seq) return;
  run->command_seq = seq;
  run->pending_action = action;
  run->pending_step = step;
  srun_writer_of(run)->command_ack_seq = seq;
}

static inline struct srun_due srun_take_due(struct srun_run* run,
                                            int64_t step) {
  struct srun_due due = {0, 0};
  if (run->pending_action == SRUN_ACTION_NONE || step < run->pending_step) {
    return due;
  }
  /* A word for a step that is over is dropped: a late save would be of
   * another step than the other ranks'. */
  if (step == run->pending_step) {
    due.save = run->pending_action == SRUN_ACTION_SAVE ||
               run->pending_action == SRUN_ACTION_SAVE_STOP;
    due.stop = run->pending_action == SRUN_ACTION_SAVE_STOP;
  }
  run->pending_action = SRUN_ACTION_NONE;
  return due;
}

static inline void srun_fill_step(struct srun_run* run, struct srun_step* slot,
                                  int64_t step, uint64_t now,
                                  const struct srun_values* values) {
  uint32_t bits;
  slot->step = step;
  slot->end_mono_ns = now;
  slot->end_unix_ns = srun_clock_ns(CLOCK_REALTIME);
  slot->step_seconds = values->step_seconds;
  memcpy(&bits, &values->step_seconds, sizeof bits);
  if (bits == SRUN_ABSENT_BITS && run->last_ns) {
    slot->step_seconds =
        (float)((double)(now - run->last_ns - run->outside_ns) * 1e-9);
  }
  slot->loss = values->loss;
  slot->grad_norm = values->grad_norm;
  slot->tokens = values->tokens;
  slot->compute_seconds = values->compute_seconds;
  slot->learning_rate = values->learning_rate;
  slot->loss_scale = values->loss_scale;
  slot->data_seconds = values->data_seconds;
  slot->reserved = 0;
  uint32_t count = 0;
  for (uint32_t i = 0; i < values->named_count && i < SRUN_NAMED_PER_STEP;
       ++i) {
    if (values->named[i].name >= SRUN_NAME_COUNT) continue;
    slot->named[count].name = values->named[i].name;
    slot->named[count].value = values->named[i].value;
    ++count;
  }
  slot->named_count = count;
}

/* Reports the end of a step; what is due at exactly this step. */
static inline struct srun_due srun_step(struct srun_run* run, int64_t step,
                                        const struct srun_values* values) {
  struct srun_due none = {0, 0};
  if (!run->is_active) return none;
  struct srun_writer* writer = srun_writer_of(run);
  const uint64_t now = srun_clock_ns(CLOCK_MONOTONIC);
  const uint64_t number = writer->steps_written;
  struct srun_step* slot =
      (struct srun_step*)(void*)(run->map + SRUN_STEPS_OFFSET +
                                 number % run->step_count * SRUN_STEP_BYTES);
  __atomic_store_n(&slot->seq, 0, __ATOMIC_RELAXED);
  __atomic_thread_fence(__ATOMIC_RELEASE);
  srun_fill_step(run, slot, step, now, values);
  __atomic_store_n(&slot->seq, number + 1, __ATOMIC_RELEASE);
  __atomic_store_n(&writer->steps_written, number + 1, __ATOMIC_RELEASE);
  writer->step = step;
  writer->progress_mono_ns = now;
  run->last_ns = now;
  if (writer->phase != SRUN_PHASE_STEP) {
    (void)srun_enter(run, SRUN_PHASE_STEP);
  } else {
    writer->phase_mono_ns = now;
  }
  run->outside_ns = run->checkpoint_ns = 0;
  srun_read_command(run);
  return srun_take_due(run, step);
}

static inline void srun_write_event(struct srun_run* run, uint32_t kind,
                                    int32_t shards, int64_t step, float seconds,
                                    const char* text) {
  const size_t size = text ? strlen(text) : 0;
  if (size > sizeof(((struct srun_event*)0)->text)) {
    srun_error(run);
    return;
  }
  struct srun_writer* writer = srun_writer_of(run);
  const uint64_t number = writer->events_written;
  struct srun_event* slot =
      (struct srun_event*)(void*)(run->map + SRUN_EVENTS_OFFSET +
                                  number % SRUN_EVENT_COUNT * SRUN_EVENT_BYTES);
  __atomic_store_n(&slot->seq, 0, __ATOMIC_RELAXED);
  __atomic_thread_fence(__ATOMIC_RELEASE);
  slot->kind = kind;
  slot->shards = shards;
  slot->step = step;
  slot->unix_ns = srun_clock_ns(CLOCK_REALTIME);
  slot->seconds = seconds;
  slot->text_bytes = (uint32_t)size;
  if (size) memcpy(slot->text, text, size);
  __atomic_store_n(&slot->seq, number + 1, __ATOMIC_RELEASE);
  __atomic_store_n(&writer->events_written, number + 1, __ATOMIC_RELEASE);
}

/* This rank's part of the checkpoint of `step` is complete at `path`, an
 * absolute one. `shards`: how many ranks save a part; 0: all. */
static inline void srun_checkpoint_saved(struct srun_run* run, int64_t step,
                                         const char* path, int32_t shards) {
  if (!run->is_active) return;
  uint64_t spent = run->checkpoint_ns;
  if (srun_writer_of(run)->phase == SRUN_PHASE_CHECKPOINT) {
    spent += srun_clock_ns(CLOCK_MONOTONIC) - run->entered_ns;
  }
  srun_write_event(run, SRUN_EVENT_CHECKPOINT_SAVED,
                   shards > 0 ? shards : run->world_size, step,
                   (float)((double)spent * 1e-9), path);
}

/* The training is done; the last call. `parameters_sha256` may be "". */
static inline void srun_finish(struct srun_run* run,
                               const char* parameters_sha256) {
  if (!run->is_active) return;
  struct srun_writer* writer = srun_writer_of(run);
  (void)srun_enter(run, SRUN_PHASE_SHUTDOWN);
  srun_write_event(run, SRUN_EVENT_FINISHED, 0, writer->step, 0,
                   parameters_sha256);
  __atomic_store_n(&writer->finished, 1, __ATOMIC_RELEASE);
}

#endif /* STEADYRUN_AGENT_C_STEADYRUN_H_ */
