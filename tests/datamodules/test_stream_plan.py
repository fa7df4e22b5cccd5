"""Plans against the definition: every sample once, equal steps, the same from every step on."""

import time
import tracemalloc

import numpy as np
import pytest

from datamodules import stream_plan
from datamodules.stream_plan import Piece, TrainPlan, eval_share, eval_steps, slots_of, train_steps

Samples = list[tuple[int, int]]


def read(pieces: list[Piece]) -> Samples:
    """The (shard, sample) pairs of pieces."""
    return [(piece.shard, number) for piece in pieces for number in range(piece.start, piece.stop)]


def steps(plan: TrainPlan, first_step: int = 0) -> list[Samples]:
    """What fills the slots of each step from `first_step` on, by reading every lane naively."""
    lanes = []
    for lane in range(plan.lanes):
        line, rows = read(plan.pieces(lane, first_step)), []
        for window in plan.windows(lane, first_step):
            head, line = line[: window.size], line[window.size :]
            rows += [[head[pick] for pick in row] for row in window]
        assert not line  # nothing is read in vain after the last window
        lanes.append(rows[first_step % plan.height :] if first_step < plan.steps else [])
    return [sum(step, []) for step in zip(*lanes)]


def draw(seed: int) -> dict:
    rng = np.random.default_rng(seed)
    counts = [int(count) for count in rng.integers(0, 30, rng.integers(1, 9))]
    counts[0] += 1
    return {
        "counts": counts,
        "batch_size": int(rng.integers(1, 9)),
        "world": int(rng.integers(1, 5)),
        "workers": int(rng.integers(1, 7)),  # often more than shards, or than batches
        "window": int(rng.integers(1, 40)),
        "epoch": int(rng.integers(0, 5)),
        "lane": int(rng.integers(5, 40)),
    }


def plan_of(config: dict, monkeypatch: pytest.MonkeyPatch) -> TrainPlan:
    monkeypatch.setattr(stream_plan, "LANE", config["lane"])
    slots = config["batch_size"] * config["world"]
    return TrainPlan(config["counts"], slots, 0, config["epoch"], config["window"])


@pytest.mark.parametrize("block", range(4))
def test_train_plan_fills_every_slot_and_takes_no_sample_twice(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in range(100 * block, 100 * block + 100):
        config = draw(seed)
        plan = plan_of(config, monkeypatch)
        assert plan.steps == train_steps(config["counts"], config["batch_size"], config["world"])
        found = steps(plan)
        assert [len(step) for step in found] == [plan.slots] * plan.steps, config
        seen = sum(found, [])
        assert len(set(seen)) == len(seen)
        assert all(number < config["counts"][shard] for shard, number in seen)


def test_several_lanes_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    assert {plan_of(draw(seed), monkeypatch).lanes for seed in range(400)} >= {1, 2, 3, 4, 5}


@pytest.mark.parametrize("block", range(2))
def test_train_plan_resumes_identically_at_every_step(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in range(25 * block, 25 * block + 25):
        plan = plan_of(draw(seed), monkeypatch)
        whole = steps(plan)
        for first_step in range(plan.steps + 1):
            assert steps(plan, first_step) == whole[first_step:], (seed, first_step)


def test_ranks_and_workers_divide_the_slots() -> None:
    """And a batch is the same part of a step, whether another rank or the next accumulated batch comes after it."""
    for world, workers, accumulate in ((1, 1, 12), (2, 3, 6), (3, 5, 4), (4, 9, 3), (12, 1, 1)):
        parts = {}
        for rank in range(world):
            of_workers = [
                slots_of(60, 5, world=world, rank=rank, workers=workers, worker=worker) for worker in range(workers)
            ]
            assert all(len(parts) == accumulate for parts in of_workers)
            for batch in range(accumulate):
                parts[batch * world + rank] = [slot for worker in of_workers for slot in worker[batch]]
        assert [parts[number] for number in range(12)] == [list(range(at, at + 5)) for at in range(0, 60, 5)]


def test_a_resume_reads_at_most_one_window_too_much() -> None:
    left = len(read(TrainPlan([1000, 1000], 10, window=64).pieces(0, first_step=50)))
    assert 2000 - 500 <= left < 2000 - 500 + 64


def test_train_plan_reshuffles_shards_samples_and_what_is_left_out() -> None:
    epochs = [sum(steps(TrainPlan([50], 16, epoch=epoch, window=16)), []) for epoch in range(20)]
    assert len({tuple(epoch) for epoch in epochs}) == 20
    left_out = [set((0, number) for number in range(50)) - set(epoch) for epoch in epochs]
    assert len(set().union(*left_out)) > 20  # of 50; always the same two would be 2
    assert sum(steps(TrainPlan([50], 16, seed=1, window=16)), []) != epochs[0]


def test_a_window_of_one_step_keeps_the_order_of_the_shards() -> None:
    found = steps(TrainPlan([40], 4, window=1))
    numbers = [min(number for _, number in step) for step in found]
    together = [sorted(number for _, number in step) for step in found if max(step)[1] - min(step)[1] < 4]
    assert len(together) >= 9 and all(run == list(range(run[0], run[0] + 4)) for run in together)
    turn = numbers.index(min(numbers))
    assert numbers[turn:] + numbers[:turn] == sorted(numbers)


def test_batches_of_a_large_corpus_come_from_far_apart() -> None:
    """Of 2 million clips in 2,000 shards, a step of 256 has clips of over 200, where a window has them of two."""
    plan = TrainPlan([1000] * 2000, 256)
    assert plan.lanes == 256 and plan.steps == 7812
    order, start = plan.line
    first = {order[(start + lane * plan.steps * plan.width) // 1000 % 2000] for lane in range(plan.lanes)}
    assert len(first) > 200


@pytest.mark.parametrize("first_step", [0, 700])
def test_a_plan_of_two_million_clips_is_cheap(first_step: int) -> None:
    """64 ranks of 8 workers: one of them opens its lanes within a second and 100 MB, at any step."""
    counts = [1000] * 2000
    tracemalloc.start()
    began = time.process_time()
    plan = TrainPlan(counts, 2048, epoch=3)
    slots = slots_of(2048, 32, world=64, rank=63, workers=8, worker=7)
    lanes = {slot // plan.width for part in slots for slot in part}
    opened = [(plan.pieces(lane, first_step), next(plan.windows(lane, first_step))) for lane in lanes]
    seconds, peak = time.process_time() - began, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(opened) == len(lanes) and all(len(pieces) <= 10 for pieces, _ in opened)
    assert seconds < 1 and peak < 100e6, (seconds, peak)


@pytest.mark.parametrize("block", range(4))
def test_eval_plan_gives_every_sample_once_in_order(block: int) -> None:
    for seed in range(100 * block, 100 * block + 100):
        config = draw(seed)
        counts, size, world, workers = (config[name] for name in ("counts", "batch_size", "world", "workers"))
        seen, most = [], 0
        for rank in range(world):
            shares = [
                read(eval_share(counts, size, world=world, rank=rank, workers=workers, worker=worker))
                for worker in range(workers)
            ]
            most = max(most, sum(-(-len(share) // size) for share in shares))
            seen += sum(shares, [])
        assert seen == [(shard, number) for shard, count in enumerate(counts) for number in range(count)], config
        assert eval_steps(counts, size, world) == most  # no more steps than the fullest rank has batches
