"""Plans against the definition: every sample once, equal steps, the same from every resume point."""

import numpy as np
import pytest

from datamodules.stream_plan import Share, eval_share, eval_steps, train_share, train_steps


def batches(share: Share, batch_size: int) -> list[list[tuple[int, int]]]:
    """The (shard, sample) pairs of each batch of a share, by reading it naively."""
    line = [(piece.shard, number) for piece in share.pieces for number in range(piece.start, piece.stop)]
    picked = []
    for window in share.windows:
        head, line = line[: window.size], line[window.size :]
        picked += [head[pick] for pick in window.picks]
    assert not line  # nothing is read in vain after the last window
    return [picked[begin : begin + batch_size] for begin in range(0, len(picked), batch_size)]


def dealt(by_worker: list[list]) -> list:
    """Batches in the order in which a DataLoader takes them from its workers."""
    longest = max(map(len, by_worker))
    return [own[turn] for turn in range(longest) for own in by_worker if turn < len(own)]


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
    }


def rank_batches(config: dict, rank: int, first_step: int = 0) -> list:
    workers = config["workers"]
    shares = [
        train_share(
            config["counts"],
            config["batch_size"],
            world=config["world"],
            rank=rank,
            workers=workers,
            worker=(first_step + number) % workers,
            epoch=config["epoch"],
            window=config["window"],
            first_step=first_step,
        )
        for number in range(workers)
    ]
    return dealt([batches(share, config["batch_size"]) for share in shares])


@pytest.mark.parametrize("block", range(4))
def test_train_plan_gives_equal_whole_batches_and_no_sample_twice(block: int) -> None:
    for seed in range(100 * block, 100 * block + 100):
        config = draw(seed)
        steps = train_steps(config["counts"], config["batch_size"], config["world"])
        seen = []
        for rank in range(config["world"]):
            own = rank_batches(config, rank)
            assert [len(batch) for batch in own] == [config["batch_size"]] * steps, config
            seen += [sample for batch in own for sample in batch]
        assert len(set(seen)) == len(seen) == steps * config["batch_size"] * config["world"]
        assert all(number < config["counts"][shard] for shard, number in seen)


@pytest.mark.parametrize("block", range(2))
def test_train_plan_resumes_identically_at_every_step(block: int) -> None:
    for seed in range(25 * block, 25 * block + 25):
        config = draw(seed)
        rank = seed % config["world"]
        whole = rank_batches(config, rank)
        for first_step in range(len(whole) + 1):
            assert rank_batches(config, rank, first_step) == whole[first_step:], (config, first_step)


def test_a_resume_reads_at_most_one_window_too_much() -> None:
    share = train_share([1000, 1000], 10, window=64, first_step=50)
    read = sum(piece.stop - piece.start for piece in share.pieces)
    assert 2000 - 500 <= read < 2000 - 500 + 64


def test_train_plan_reshuffles_shards_samples_and_what_is_left_out() -> None:
    epochs = []
    for epoch in range(20):
        share = train_share([50], 16, epoch=epoch, window=8)
        epochs.append([sample for batch in batches(share, 16) for sample in batch])
    assert len({tuple(epoch) for epoch in epochs}) == 20
    left_out = [set((0, number) for number in range(50)) - set(epoch) for epoch in epochs]
    assert len(set().union(*left_out)) > 20  # of 50; always the same two would be 2
    other = train_share([50], 16, epoch=0, window=8, seed=1)
    assert [sample for batch in batches(other, 16) for sample in batch] != epochs[0]


def test_window_one_keeps_the_order_of_the_shards() -> None:
    (order,) = batches(train_share([40], 40, window=1), 40)
    numbers = [number for _, number in order]
    turn = numbers.index(0)
    assert numbers[turn:] + numbers[:turn] == list(range(40))


@pytest.mark.parametrize("block", range(4))
def test_eval_plan_gives_every_sample_once_in_order(block: int) -> None:
    for seed in range(100 * block, 100 * block + 100):
        config = draw(seed)
        counts, size, world, workers = (config[name] for name in ("counts", "batch_size", "world", "workers"))
        seen, most = [], 0
        for rank in range(world):
            shares = [
                eval_share(counts, size, world=world, rank=rank, workers=workers, worker=worker)
                for worker in range(workers)
            ]
            own = [batch for share in shares for batch in batches(share, size)]
            most = max(most, len(own))
            seen += [sample for batch in own for sample in batch]
        assert seen == [(shard, number) for shard, count in enumerate(counts) for number in range(count)], config
        assert eval_steps(counts, size, world) == most  # no more steps than the fullest rank has batches
