"""The contract's own helpers."""

import numpy as np
import pytest
import torch

from methods.base import Method, mean_over


@pytest.mark.parametrize(
    ("samples", "drop_last", "sizes"),
    [(10, True, [4, 4]), (10, False, [4, 4, 2]), (8, True, [4, 4]), (3, True, [3]), (0, True, []), (5, False, [4, 1])],
)
def test_shuffled_batches(samples, drop_last, sizes, make_task):
    """As CoOp cuts them: the incomplete last one is dropped where there are at least `batch_size` samples."""
    task = make_task(np.zeros((12, 2)), np.zeros(12, dtype=int), batch_size=4, drop_last=drop_last)
    index = torch.arange(2, 2 + samples)
    batches = task.shuffled(index)
    assert [len(batch) for batch in batches] == sizes
    drawn = torch.cat(batches).tolist() if batches else []
    assert len(set(drawn)) == len(drawn)
    assert set(drawn) <= set(index.tolist())


def test_shuffled_draws_a_new_order_every_time(make_task):
    task = make_task(np.zeros((64, 2)), np.zeros(64, dtype=int), batch_size=64)
    one, other = (task.shuffled(torch.arange(64))[0] for _ in range(2))
    assert not torch.equal(one, other)
    again = make_task(np.zeros((64, 2)), np.zeros(64, dtype=int), batch_size=64)
    assert torch.equal(again.shuffled(torch.arange(64))[0], one)


def test_drawn_seeds_follow_the_generator(make_task):
    task, again = (make_task(np.zeros((2, 2)), [0, 1]) for _ in range(2))
    seeds = [task.draw_seed() for _ in range(5)]
    assert seeds == [again.draw_seed() for _ in range(5)]
    assert len(set(seeds)) == 5


def test_logits_are_scale_times_cosine_of_every_context_and_view():
    from methods.base import Batch

    generator = torch.Generator().manual_seed(0)
    text, images = torch.randn(2, 5, 3, generator=generator), torch.randn(4, 6, 3, generator=generator)
    batch = Batch(text, images, torch.zeros(6, dtype=torch.long), torch.arange(6), 7.0, 0, generator)
    assert batch.logits.shape == (2, 4, 6, 5)
    assert batch.logits[1, 2, 3, 4].item() == pytest.approx(7 * float(text[1, 4] @ images[2, 3]), rel=1e-5)
    torch.testing.assert_close(batch.z, batch.logits[0, 0])
    torch.testing.assert_close(batch.p_y, batch.z.softmax(1)[:, 0])


def test_only_keeps_the_chosen_samples(make_batch):
    batch = make_batch(np.arange(12.0).reshape(4, 3), [0, 1, 2, 0])
    _ = batch.logits  # computed before, and not to be carried over
    part = batch.only(torch.tensor([True, False, False, True]))
    assert part.labels.tolist() == [0, 0]
    assert part.index.tolist() == [0, 3]
    assert part.z.tolist() == [[0, 1, 2], [9, 10, 11]]


def test_mean_over_is_the_mean_of_the_kept():
    loss = torch.tensor([1.0, 2.0, 6.0, float("inf")])
    assert mean_over(torch.tensor([True, False, True, False]), loss).mean().item() == pytest.approx(3.5)
    assert mean_over(torch.zeros(4, dtype=torch.bool), loss).mean().item() == 0


def test_a_method_without_a_loss_says_so(make_batch):
    with pytest.raises(NotImplementedError, match="defines no loss"):
        Method().loss(make_batch(np.zeros((1, 2)), [0]))
