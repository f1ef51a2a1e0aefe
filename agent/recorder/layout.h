#ifndef STEADYRUN_AGENT_RECORDER_LAYOUT_H_
#define STEADYRUN_AGENT_RECORDER_LAYOUT_H_

/* The flight recorder: one memory-mapped file per rank, created by the agent,
 * written by the training process, read by the agent. It outlives both. This
 * header is the one definition of its layout; it is C, so that trainers in C
 * and C++ include it, and agent/python/steadyrun/_layout.py mirrors it (a test
 * compares the two). Little-endian, naturally aligned, 64-bit platforms.
 *
 *   offset 0      header page, written by the agent before the rank starts
 *   offset 4096   writer page, written by the training process
 *   offset 5120   standstill, by the training process (version 1 files of older
 *                 libraries hold zeros there: nothing is told)
 *   offset 8192   command page, written by the agent
 *   offset 12288  name table: 64 metric names of 64 bytes, by the trainer
 *   offset 16384  event ring: 64 slots of 1024 bytes, by the trainer
 *   offset 81920  step ring: record_count slots of 256 bytes, by the trainer
 *
 * Publication: a slot is filled, then its `seq` is stored with release order,
 * then the page's counter. A reader loads the counter with acquire order,
 * copies the slot, and takes it only if `seq` names the slot's turn before and
 * after the copy. One writer each way; nobody ever waits.
 *
 * Clocks: *_mono_ns is CLOCK_MONOTONIC (the same for all processes of a node),
 * *_unix_ns is CLOCK_REALTIME. */

#include <stdint.h>

#define SRUN_RECORDER_MAGIC 0x3143455252555253ull /* "SRURREC1" in memory */
#define SRUN_RECORDER_VERSION 1u
#define SRUN_WRITER_OFFSET 4096u
#define SRUN_STANDSTILL_OFFSET 5120u
#define SRUN_GROUP_BYTES 56u
#define SRUN_GROUP_COUNT 8u
#define SRUN_FRAME_BYTES 144u
#define SRUN_FRAME_COUNT 16u
#define SRUN_COMMAND_OFFSET 8192u
#define SRUN_NAMES_OFFSET 12288u
#define SRUN_NAME_BYTES 64u
#define SRUN_NAME_COUNT 64u
#define SRUN_EVENTS_OFFSET 16384u
#define SRUN_EVENT_BYTES 1024u
#define SRUN_EVENT_COUNT 64u
#define SRUN_STEPS_OFFSET 81920u
#define SRUN_STEP_BYTES 256u
#define SRUN_STEP_COUNT 1024u /* Default ring; a power of two. */
#define SRUN_NAMED_PER_STEP 20u

/* Absent float: this NaN's bits. */
#define SRUN_ABSENT_BITS 0x7fc0deadu

struct srun_header {
  uint64_t magic;
  uint32_t version;
  uint32_t step_count; /* Slots in the step ring. */
  int64_t attempt;
  uint64_t incarnation;
  int32_t rank;
  int32_t local_rank;
  int32_t world_size;
  int32_t reserved;
  char run[72]; /* Zero-terminated. */
};

struct srun_writer {
  uint64_t steps_written;    /* Step records published so far. */
  uint64_t events_written;   /* Event slots published so far. */
  int64_t step;              /* Last completed step; -1 none. */
  uint64_t progress_mono_ns; /* Last step or phase change. */
  uint32_t phase;            /* enum Phase of model.proto. */
  uint32_t pid;              /* 0: no training code has attached yet. */
  uint64_t phase_mono_ns;    /* When this phase began. */
  uint64_t phase_seq;        /* Counts phase changes. */
  uint64_t command_ack_seq;  /* Newest command word read. */
  uint64_t errors;           /* Exceptions swallowed by the library. */
  uint32_t names_used;       /* Entries of the name table. */
  uint32_t finished;         /* 1: the training code is done. */
};

/* How many collectives of a communicator a rank has entered. `group` is equal
 * on all members, and of no other communicator. */
struct srun_position {
  uint64_t entered;
  char group[SRUN_GROUP_BYTES]; /* Zero-terminated; empty: an unused slot. */
};

/* Where a rank stands. The first groups_used positions are kept current by the
 * training code: one store each time; a new one is there when groups_used,
 * stored with release order after the name, counts it.
 * The other positions and the stack (zero-terminated lines, innermost frame
 * first) are written only while the rank does not advance, and say nothing once
 * it has: `seq` 0, the rest, then `seq`, then mono_ns. */
struct srun_standstill {
  uint64_t seq;     /* Grows; 0: none yet, or being replaced. */
  uint64_t mono_ns; /* It was so then. */
  uint32_t frames;
  uint32_t groups_used;
  struct srun_position positions[SRUN_GROUP_COUNT];
  char stack[SRUN_FRAME_COUNT][SRUN_FRAME_BYTES];
};

/* Written with `seq` 0 first, then the rest, then `seq` (release): a copy is
 * whole if `seq` is the same before and after it, and not 0. */
struct srun_command {
  uint64_t seq;    /* Grows; 0: none yet, or being replaced. */
  uint32_t action; /* enum srun_action */
  uint32_t reserved;
  int64_t step;           /* Act at the end of this step. */
  uint64_t agent_mono_ns; /* Agent's last look, for `steadyrun doctor`. */
};

enum srun_action {
  SRUN_ACTION_NONE = 0,
  SRUN_ACTION_SAVE = 1,      /* Save at the end of `step`, go on. */
  SRUN_ACTION_SAVE_STOP = 2, /* Save at the end of `step`, leave the loop. */
};

/* Slot i of turn n holds record i + n * step_count; seq = record number + 1. */
struct srun_step {
  uint64_t seq;
  int64_t step;
  uint64_t end_mono_ns;
  uint64_t end_unix_ns;
  float step_seconds;
  float loss;
  float grad_norm;
  float tokens;
  float compute_seconds;
  float learning_rate;
  float loss_scale;
  float data_seconds;
  uint32_t named_count; /* <= SRUN_NAMED_PER_STEP */
  uint32_t reserved;
  struct {
    uint32_t name; /* Index in the name table. */
    float value;
  } named[SRUN_NAMED_PER_STEP];
  uint64_t reserved2[3];
};

enum srun_event_kind {
  SRUN_EVENT_CHECKPOINT_SAVED = 1, /* text = path */
  SRUN_EVENT_FINISHED = 2,         /* text = sha256 of the parameters, or "" */
};

struct srun_event {
  uint64_t seq; /* As in srun_step. */
  uint32_t kind;
  int32_t shards; /* How many ranks save this checkpoint. */
  int64_t step;
  uint64_t unix_ns;
  float seconds; /* Time spent in the checkpoint phase. */
  uint32_t text_bytes;
  char text[984];
};

#ifdef __cplusplus
static_assert(sizeof(srun_header) == 120);
static_assert(sizeof(srun_writer) == 80);
static_assert(sizeof(srun_position) == 64);
static_assert(sizeof(srun_standstill) == 2840);
static_assert(SRUN_STANDSTILL_OFFSET + sizeof(srun_standstill) <=
              SRUN_COMMAND_OFFSET);
static_assert(sizeof(srun_command) == 32);
static_assert(sizeof(srun_step) == SRUN_STEP_BYTES);
static_assert(sizeof(srun_event) == SRUN_EVENT_BYTES);
#endif

#endif /* STEADYRUN_AGENT_RECORDER_LAYOUT_H_ */
