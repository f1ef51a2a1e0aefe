#!/usr/bin/env python3
"""Trains a small byte-level GPT with DistributedDataParallel on the CPU.

An ordinary PyTorch job: it runs under torchrun, and under Steadyrun, which it
tells of its steps in a few lines. Every step is a pure function of the state
before it, the seed, the step and the rank, so a run that was killed and
resumed any number of times ends with the very bits of one that was not; the
last line it prints is the SHA-256 of the parameters.
"""

import argparse
import glob
import hashlib
import math
import os
import sys
import sysconfig
import time

sys.path.insert(
    0,
    os.path.join(
        os.path.dirname(os.path.abspath(__file__)), "..", "..", "agent",
        "python",
    ),
)

import steadyrun  # noqa: E402

# Before torch is imported: the agent sees a rank that starts, not a silent one.
run = steadyrun.init()

import torch  # noqa: E402
import torch.distributed as dist  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402
from torch.nn.parallel import DistributedDataParallel  # noqa: E402

VOCABULARY = 256  # Bytes.
MAX_CORPUS_BYTES = 1 << 20
HELD_OUT_BYTES = 1 << 15


# --- The model.


class Block(nn.Module):
    def __init__(self, width, heads, context, dropout):
        super().__init__()
        self.heads = heads
        self.norm_1 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.norm_2 = nn.LayerNorm(width)
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)
        self.dropout = nn.Dropout(dropout)
        mask = torch.full((context, context), float("-inf")).triu(1)
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, x):
        batch, length, width = x.shape
        query, key, value = (
            part.view(batch, length, self.heads, -1).transpose(1, 2)
            for part in self.qkv(self.norm_1(x)).split(width, dim=2)
        )
        scores = query @ key.transpose(2, 3) / math.sqrt(query.shape[3])
        weights = torch.softmax(scores + self.mask[:length, :length], dim=3)
        mixed = (weights @ value).transpose(1, 2).reshape(batch, length, width)
        x = x + self.dropout(self.out(mixed))
        hidden = functional.gelu(self.up(self.norm_2(x)))
        return x + self.dropout(self.down(hidden))


class Gpt(nn.Module):
    def __init__(self, width, heads, layers, context, dropout):
        super().__init__()
        self.tokens = nn.Embedding(VOCABULARY, width)
        self.positions = nn.Embedding(context, width)
        self.blocks = nn.ModuleList(
            Block(width, heads, context, dropout) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, VOCABULARY, bias=False)

    def forward(self, tokens, targets):
        places = torch.arange(tokens.shape[1])
        x = self.tokens(tokens) + self.positions(places)
        for block in self.blocks:
            x = block(x)
        logits = self.head(self.norm(x))
        return functional.cross_entropy(
            logits.view(-1, VOCABULARY), targets.reshape(-1)
        )


def parameters_sha256(model):
    digest = hashlib.sha256()
    for name, parameter in sorted(model.named_parameters()):
        digest.update(name.encode())
        digest.update(parameter.detach().contiguous().numpy().tobytes())
    return digest.hexdigest()


# --- The data: real text of this machine, the same for every rank.


def load_corpus():
    """Licences and the standard library's sources, in a fixed order."""
    paths = sorted(
        path
        for path in glob.glob("/usr/share/common-licenses/*")
        if os.path.isfile(path) and not os.path.islink(path)
    )
    paths += sorted(
        glob.glob(os.path.join(sysconfig.get_path("stdlib"), "*.py"))
    )
    corpus = b""
    for path in paths:
        with open(path, "rb") as file:
            corpus += file.read()
        if len(corpus) >= MAX_CORPUS_BYTES:
            break
    return torch.frombuffer(
        bytearray(corpus[:MAX_CORPUS_BYTES]), dtype=torch.uint8
    ).long()


def batch_at(corpus, seed, step, rank, batch, context):
    """The batch of `rank` at `step`: depends on nothing else."""
    generator = torch.Generator()
    generator.manual_seed((seed * 1_000_003 + step) * 4099 + rank)
    starts = torch.randint(
        len(corpus) - context - 1, (batch, 1), generator=generator
    )
    rows = corpus[starts + torch.arange(context + 1)]
    return rows[:, :-1], rows[:, 1:]


# --- Sums that do not depend on how gradients are grouped.


class OrderedMean:
    """A DDP communication hook: the mean of the ranks, added in rank order.

    An all-reduce adds in an order that depends on a gradient's place in its
    bucket, and DDP regroups its buckets after the first step of a process. So
    a resumed run would differ in the last bits. Gathering and adding in rank
    order costs more traffic and gives the same bits always.
    """

    def __init__(self, world_size):
        self.world_size = world_size
        self.seconds = 0.0  # Spent waiting for the others, for reports.
        self.never_comes = False  # The fault spin_rank.

    def __call__(self, bucket):
        while self.never_comes:
            pass
        began = time.monotonic()
        mine = bucket.buffer()
        parts = [torch.empty_like(mine) for _ in range(self.world_size)]
        dist.all_gather(parts, mine)
        total = parts[0]
        for part in parts[1:]:
            total += part
        total /= self.world_size
        future = torch.futures.Future()
        future.set_result(total)
        self.seconds += time.monotonic() - began
        return future


def ordered_mean_hook(state, bucket):
    return state(bucket)


# --- Checkpoints: each rank its own file, whole or not at all.


def save_shard(path, state):
    folder = os.path.dirname(path)
    os.makedirs(folder, exist_ok=True)
    partial = "%s.%d.partial" % (path, os.getpid())
    with open(partial, "wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def checkpoint(directory, step, rank, model, optimizer):
    path = os.path.join(directory, "step-%08d" % step, "rank-%d.pt" % rank)
    state = {"step": step, "rng": torch.get_rng_state()}
    if rank == 0:
        state["model"] = model.state_dict()
        state["optimizer"] = optimizer.state_dict()
    save_shard(path, state)
    return path


def newest_checkpoint(directory, world_size):
    """Pattern of the newest one that all ranks have saved; "" if none."""
    for folder in sorted(glob.glob(os.path.join(directory, "step-*")))[::-1]:
        if len(glob.glob(os.path.join(folder, "rank-*.pt"))) == world_size:
            return os.path.join(folder, "rank-{rank}.pt")
    return ""


def make_adam_state(model, optimizer):
    """Gives Adam its (zero) state, so that all ranks have room to receive."""
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    rates = [group["lr"] for group in optimizer.param_groups]
    decays = [group["weight_decay"] for group in optimizer.param_groups]
    for group in optimizer.param_groups:
        group["lr"] = group["weight_decay"] = 0.0
    optimizer.step()
    for group, rate, decay in zip(optimizer.param_groups, rates, decays):
        group["lr"], group["weight_decay"] = rate, decay
    optimizer.zero_grad(set_to_none=True)


def restore(path, rank, world_size, model, optimizer):
    """Loads this rank's file; model and optimizer come from rank 0."""
    state = torch.load(path, map_location="cpu")
    if rank == 0:
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
    else:
        make_adam_state(model, optimizer)
    if world_size > 1:
        shared = list(model.parameters())
        for parameter in model.parameters():
            slot = optimizer.state[parameter]
            shared += [slot["step"], slot["exp_avg"], slot["exp_avg_sq"]]
        for tensor in shared:
            dist.broadcast(tensor.data, src=0)
    torch.set_rng_state(state["rng"])
    return state["step"]


# --- Faults that only the training code can have.


class Faults:
    """Faults asked for by files in $STEADYRUN_QUICKSTART_FAULTS.

    <kind>.rank<R>.step<S>.<N> is done once, at the first step >= S, and renamed
    before; several that differ in N alone are done in as many attempts.
    <kind>.rank<R>.step<S>.repeat is done at step S, each time.
    Kinds: nan_loss, exit_rank, spin_rank.
    """

    def __init__(self, rank):
        self.folder = os.environ.get("STEADYRUN_QUICKSTART_FAULTS", "")
        self.rank = rank
        self._taken = set()  # (kind, step) in this process's life.

    def due(self, step):
        if not self.folder:
            return ()
        try:
            names = os.listdir(self.folder)
        except OSError:
            return ()
        return [kind for name in sorted(names) for kind in self._take(name, step)]

    def _take(self, name, step):
        parts = name.split(".")
        if parts[-1] in ("done", "partial") or len(parts) < 3:
            return
        if parts[1] != "rank%d" % self.rank:
            return
        at = int(parts[2][len("step"):])
        if parts[3:] == ["repeat"]:
            if step == at:
                yield parts[0]
        elif step >= at and (parts[0], at) not in self._taken:
            path = os.path.join(self.folder, name)
            try:
                os.rename(path, path + ".done")
            except OSError:
                return
            self._taken.add((parts[0], at))
            yield parts[0]


# --- Training.


def learning_rate_at(step, options):
    if step <= options.warmup:
        return options.learning_rate * step / options.warmup
    part = min(1.0, step / options.steps)
    return options.learning_rate * (0.55 + 0.45 * math.cos(math.pi * part))


class Trainer:
    def __init__(self, options, rank, world_size):
        self.options = options
        self.rank = rank
        self.world_size = world_size
        self.faults = Faults(rank)
        corpus = load_corpus()
        self.training_text = corpus[:-HELD_OUT_BYTES]
        self.held_out_text = corpus[-HELD_OUT_BYTES:]
        torch.manual_seed(options.seed)
        self.model = Gpt(
            options.width, options.heads, options.layers, options.context,
            options.dropout,
        )
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=options.learning_rate,
            betas=(0.9, 0.95), weight_decay=0.1,
        )
        # Dropout differs between ranks.
        torch.manual_seed(options.seed * 1_000_003 + rank)
        self.first_step = 1
        path = run.resume.path if run.resume else options.resume
        if path == "newest":
            path = newest_checkpoint(options.checkpoint_dir, world_size)
        if path:
            path = path.replace("{rank}", str(rank))
            done = restore(
                path, rank, world_size, self.model, self.optimizer
            )
            self.first_step = done + 1
            self._say("resumed after step %d from %s" % (done, path))
        self.mean = OrderedMean(world_size)
        # DDP's constructor draws nothing, but to be sure of every bit:
        rng = torch.get_rng_state()
        self.parallel = DistributedDataParallel(
            self.model, broadcast_buffers=False
        )
        self.parallel.register_comm_hook(self.mean, ordered_mean_hook)
        torch.set_rng_state(rng)

    def train(self):
        """The loop; False when asked to stop before the end."""
        options = self.options
        directory = run.checkpoint_dir or options.checkpoint_dir
        slow_first_step = options.first_step_seconds
        for step in range(self.first_step, options.steps + 1):
            if slow_first_step:
                time.sleep(slow_first_step)
                slow_first_step = 0
            loss, norm, seconds = self.train_one_step(step)
            action = run.step(
                step, loss=loss, grad_norm=norm,
                tokens=options.batch * options.context,
                compute_seconds=seconds,
                learning_rate=self.optimizer.param_groups[0]["lr"],
            )
            if not (math.isfinite(loss) and math.isfinite(norm)):
                self._say("step %d: loss %s, gradient norm %s"
                          % (step, loss, norm), everyone=True)
            if step % options.log_every == 0:
                self._say("step %d/%d loss %.4f norm %.3f"
                          % (step, options.steps, loss, norm))
            if options.eval_every and step % options.eval_every == 0:
                self.evaluate(step)
            is_due = (
                options.checkpoint_every
                and step % options.checkpoint_every == 0
            ) or step == options.steps
            if directory and (is_due or (action and action.save)):
                self.save(directory, step)
            if action and action.stop:
                self._say("step %d: stopping as asked" % step)
                return False
        return True

    def train_one_step(self, step):
        options = self.options
        with run.phase("data"):
            tokens, targets = batch_at(
                self.training_text, options.seed, run.resume.data(step),
                self.rank,
                options.batch, options.context,
            )
        if options.step_seconds:  # Not in the phase: it is no wait for data.
            time.sleep(options.step_seconds)
        began = time.monotonic()
        self.mean.seconds = 0.0
        due = self.faults.due(step)
        if "exit_rank" in due:
            raise RuntimeError("injected fault: exit_rank at step %d" % step)
        self.mean.never_comes = "spin_rank" in due
        with run.phase("forward"):
            loss = self.parallel(tokens, targets)
            if "nan_loss" in due:
                loss = loss * float("nan")
        with run.phase("backward"):
            loss.backward()
        with run.phase("optimizer"):
            norm = nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            for group in self.optimizer.param_groups:
                group["lr"] = (learning_rate_at(step, options)
                               * run.resume.learning_rate_factor)
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
        seconds = time.monotonic() - began - self.mean.seconds
        return loss.item(), norm.item(), seconds

    def evaluate(self, step):
        """Loss on text held out, the same batches each time."""
        with run.phase("evaluation"), torch.no_grad():
            self.model.eval()
            total = 0.0
            for index in range(self.options.eval_batches):
                tokens, targets = batch_at(
                    self.held_out_text, 1, index, self.rank,
                    self.options.batch, self.options.context,
                )
                total += self.model(tokens, targets).item()
            self.model.train()
            if self.options.evaluation_seconds:
                time.sleep(self.options.evaluation_seconds)
        self._say("step %d: held-out loss %.4f"
                  % (step, total / self.options.eval_batches))

    def save(self, directory, step):
        with run.phase("checkpoint"):
            if self.options.checkpoint_seconds:
                time.sleep(self.options.checkpoint_seconds)
            path = checkpoint(
                directory, step, self.rank, self.model, self.optimizer
            )
            run.checkpoint_saved(step, path)

    def _say(self, text, everyone=False):
        if self.rank == 0 or everyone:
            print("rank %d: %s" % (self.rank, text), flush=True)


def parse_options(arguments):
    parser = argparse.ArgumentParser(description=__doc__)
    whole, real = int, float
    for name, kind, default, text in (
        ("steps", whole, 1500, "steps of the whole run"),
        ("seed", whole, 1, "of parameters, data order and dropout"),
        ("checkpoint-dir", str, "", "where to save without Steadyrun"),
        ("checkpoint-every", whole, 50, "steps; 0: at the end only"),
        ("eval-every", whole, 250, "steps; 0: never"),
        ("eval-batches", whole, 8, "batches of an evaluation"),
        ("resume", str, "", "file to resume from, {rank} in its name, or newest"),
        ("log-every", whole, 10, "steps between lines"),
        ("width", whole, 64, "of the model"),
        ("heads", whole, 4, "of attention"),
        ("layers", whole, 2, "blocks"),
        ("context", whole, 32, "bytes seen"),
        ("batch", whole, 4, "rows of a rank and step"),
        ("dropout", real, 0.1, "part dropped"),
        ("learning-rate", real, 1e-3, "at its highest"),
        ("warmup", whole, 50, "steps to the highest learning rate"),
        ("step-seconds", real, 0, "sleep in each step"),
        ("first-step-seconds", real, 0, "sleep before the first step"),
        ("checkpoint-seconds", real, 0, "sleep in each checkpoint"),
        ("evaluation-seconds", real, 0, "sleep in each evaluation"),
    ):
        parser.add_argument("--" + name, type=kind, default=default, help=text)
    return parser.parse_args(arguments)


def main(arguments=None):
    options = parse_options(arguments)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    rank = int(os.environ.get("RANK", "0"))
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    os.environ.setdefault("MASTER_ADDR", "127.0.0.1")
    os.environ.setdefault("MASTER_PORT", "29500")
    dist.init_process_group("gloo", rank=rank, world_size=world_size)
    trainer = Trainer(options, rank, world_size)
    if not trainer.train():
        return 0
    digest = parameters_sha256(trainer.model)
    dist.barrier()
    run.finish(parameters_sha256=digest)
    trainer._say("finished %d steps, parameters sha256 %s"
                 % (options.steps, digest))
    dist.destroy_process_group()
    return 0


if __name__ == "__main__":
    sys.exit(main())
