#ifndef STEADYRUN_AGENT_RECORDER_ENVIRONMENT_H_
#define STEADYRUN_AGENT_RECORDER_ENVIRONMENT_H_

/* What an agent tells a rank by its environment. With it go the names that
 * torch.distributed and torchrun's scripts read: RANK, WORLD_SIZE, LOCAL_RANK,
 * LOCAL_WORLD_SIZE, GROUP_RANK, NODE_RANK, MASTER_ADDR, MASTER_PORT,
 * TORCHELASTIC_RUN_ID and TORCHELASTIC_RESTART_COUNT (attempt - 1).
 *
 * agent/python/steadyrun/_environment.py mirrors the names below. */

/* Absolute path of this rank's flight recorder. Without it the library does
 * nothing at all. */
#define SRUN_ENV_RECORDER "STEADYRUN_RECORDER"
#define SRUN_ENV_RUN_ID "STEADYRUN_RUN_ID"
#define SRUN_ENV_ATTEMPT "STEADYRUN_ATTEMPT" /* Decimal, from 1. */
/* Where this attempt saves, of this attempt alone; may not exist yet. */
#define SRUN_ENV_CHECKPOINT_DIR "STEADYRUN_CHECKPOINT_DIR"
/* The last step done in the checkpoint to resume from; -1 or not set: start
 * from the beginning. */
#define SRUN_ENV_RESUME_STEP "STEADYRUN_RESUME_STEP"
/* This rank's part of that checkpoint; empty: start from the beginning. */
#define SRUN_ENV_RESUME_PATH "STEADYRUN_RESUME_PATH"
/* "a-b,c-d": numbers of the data left out after rollbacks, ascending. */
#define SRUN_ENV_SKIP "STEADYRUN_SKIP"
/* The trainer multiplies its learning rate by it; unset: 1. */
#define SRUN_ENV_LEARNING_RATE_FACTOR "STEADYRUN_LEARNING_RATE_FACTOR"
/* "0": the library starts no thread, and does not tell where a rank that
 * stands still is. */
#define SRUN_ENV_STANDSTILL "STEADYRUN_STANDSTILL"
#define SRUN_ENV_TARGET_STEPS "STEADYRUN_TARGET_STEPS" /* 0: unknown. */

/* With run and attempt these mark every process of a rank, so that the agent
 * finds what escaped its shim: the identity of the agent's state directory,
 * its path (an agent that lost its identity finds the processes of the one
 * before), and the rank. */
#define SRUN_ENV_STATE_UUID "STEADYRUN_STATE_UUID"
#define SRUN_ENV_STATE_DIR "STEADYRUN_STATE_DIR"
#define SRUN_ENV_RANK "STEADYRUN_RANK"
#define SRUN_ENV_NODE "STEADYRUN_NODE"

#endif /* STEADYRUN_AGENT_RECORDER_ENVIRONMENT_H_ */
