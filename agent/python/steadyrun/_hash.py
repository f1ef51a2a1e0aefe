"""A hash of parameters as two metrics, for the vote among replicas."""

import hashlib

# A metric is a float32, which holds whole numbers below 2^24 exactly.
_HALF_BITS = 24
_HALF_MASK = (1 << _HALF_BITS) - 1


def parameter_hash(parameters, what="params"):
    """48 bits of a hash of `parameters`, as two metrics for run.step().

        run.step(i, loss=loss, **steadyrun.parameter_hash(shards))

    `parameters`: anything with bytes (bytes, memoryview, array, a NumPy array
    on the CPU), or an iterable of such, in the same order on all ranks. All
    ranks that hold the same shard must get equal bytes: hash after the
    optimizer step, and only what is replicated. It reads every byte: call it
    every some hundred steps, on all ranks at the same ones. About 1 GB/s.

    Returns {"hash/<what>/lo": .., "hash/<what>/hi": ..}, each a whole number
    below 2^24. Never raises: what has no bytes makes an empty dict, so that
    this rank has no vote.
    """
    try:
        digest = hashlib.blake2b(digest_size=8)
        if _is_bytes_like(parameters):
            parameters = (parameters,)
        for part in parameters:
            view = memoryview(part)
            if not view.c_contiguous:
                view = memoryview(view.tobytes())
            # The length too: (b"ab", b"c") is not (b"a", b"bc").
            digest.update(view.nbytes.to_bytes(8, "little"))
            digest.update(view.cast("B") if view.nbytes else b"")
        bits = int.from_bytes(digest.digest(), "little")
        return {
            "hash/%s/lo" % what: float(bits & _HALF_MASK),
            "hash/%s/hi" % what: float(bits >> _HALF_BITS & _HALF_MASK),
        }
    except Exception:
        return {}


def _is_bytes_like(value):
    try:
        memoryview(value)
    except TypeError:
        return False
    return True
