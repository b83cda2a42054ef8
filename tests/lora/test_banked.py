"""Banked layers: every row gets its own adapter, and nothing of anybody else's."""

import pytest
import torch
from torch import nn

from atelier.contracts.settings import Targets
from atelier.lora.bank import AdapterWeights, Bank
from atelier.lora.banked import BankedConv2d, BankedLinear, bank_for, reference_delta, shape_of
from tests.lora.test_bank import weights

SLOTS = 6
POPULARITY = {
    "distinct": [0, 1, 2, 3, 4, 5],
    "uniform": [0, 0, 1, 1, 2, 2],
    "skewed": [0, 0, 0, 0, 0, 3],
    "identical": [2, 2, 2, 2, 2, 2],
    "with rows of the base": [6, 1, 6, 6, 0, 1],
    "pairs apart": [4, 4, 5, 5, 4, 4],
}
LAYERS = {
    "linear": (lambda: nn.Linear(10, 7), (5, 10)),
    "linear without tokens": (lambda: nn.Linear(10, 7), (10,)),
    "convolution 3×3": (lambda: nn.Conv2d(6, 7, 3, padding=1), (6, 8, 8)),
    "convolution 1×1": (lambda: nn.Conv2d(6, 7, 1), (6, 5, 4)),
    "convolution with stride": (lambda: nn.Conv2d(6, 7, 3, stride=2, padding=1), (6, 8, 8)),
}


def banked(kind, *, rank=4):
    torch.manual_seed(0)
    make, sizes = LAYERS[kind]
    layer = make()
    bank = Bank([shape_of("layer", layer, rank)], slots=SLOTS)
    for slot in range(SLOTS):
        own = weights(1 + slot % rank, seed=slot, modules=(bank.shapes["layer"],))
        bank.load(slot, own)
    wrapped = BankedConv2d if isinstance(layer, nn.Conv2d) else BankedLinear
    return wrapped(layer, bank, "layer"), bank, torch.randn(6, *sizes)


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("popularity", POPULARITY)
def test_layers_equal_the_slow_reference(kind, popularity):
    layer, bank, x = banked(kind)
    slots = POPULARITY[popularity]
    factors = [1.0, 0.5, 1.0, 0.0, 2.0, 1.0]
    bound = bank.bind(slots, factors)
    with torch.no_grad(), bank.rows(bound):
        found = layer(x)
    expected = layer.base(x) + reference_delta(
        x, bank.A["layer"], bank.B["layer"], slots, bound.scale_N.tolist(), layer.base
    )
    assert torch.allclose(found, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", LAYERS)
def test_a_row_does_not_depend_on_the_others(kind):
    layer, bank, x = banked(kind)
    with torch.no_grad(), bank.rows(bank.bind(POPULARITY["distinct"])):
        before = layer(x)
    x[1:] = torch.randn_like(x[1:]) * 100
    with torch.no_grad(), bank.rows(bank.bind([0, 3, 3, 2, 6, 1])):
        after = layer(x)
    assert torch.allclose(before[0], after[0], atol=1e-5)


@pytest.mark.parametrize("kind", LAYERS)
def test_nan_in_one_slot_changes_not_one_bit_of_another_row(kind):
    layer, bank, x = banked(kind)
    with torch.no_grad(), bank.rows(bank.bind(POPULARITY["distinct"])):
        before = layer(x)
        bank.storage_SP[2] = float("nan")
        after = layer(x)
    others = [0, 1, 3, 4, 5]
    assert after[2].isnan().all()
    assert torch.equal(before[others], after[others])


@pytest.mark.parametrize("kind", LAYERS)
def test_factor_zero_and_the_empty_slot_are_the_base_exactly(kind):
    layer, bank, x = banked(kind)
    bank.storage_SP[2] = float("nan")
    with torch.no_grad(), bank.rows(bank.bind([2, 2, 2, 6, 6, 6], [0, 0, 0, 1, 1, 1])):
        assert torch.equal(layer(x), layer.base(x))


@pytest.mark.parametrize("kind", LAYERS)
def test_gradients_reach_the_slots_of_the_batch_and_no_other(kind):
    layer, bank, x = banked(kind)
    leaves = bank.leaves()
    with bank.rows(bank.bind([0, 0, 3, 3, 4, 4]), leaves):
        layer(x).square().mean().backward()
    A = leaves.A["layer"]
    assert A.data_ptr() == bank.A["layer"].data_ptr()
    touched = [slot for slot in range(SLOTS + 1) if A.grad[slot].any()]
    assert touched == [0, 3, 4]


def test_a_network_takes_one_bank(base):
    bank_for(base, Targets.ALL, slots=1, rank=2)
    with pytest.raises(ValueError, match="has a bank already"):
        bank_for(base, Targets.ATTENTION, slots=1, rank=2)


def test_a_grouped_convolution_is_refused():
    with pytest.raises(ValueError, match="plain convolutions"):
        shape_of("depthwise", nn.Conv2d(4, 4, 3, groups=4), 2)


@pytest.mark.parametrize("targets", Targets)
def test_an_untrained_bank_leaves_the_network_as_it_was(base, targets):
    torch.manual_seed(1)
    z, t = torch.randn(3, 4, 8, 8), torch.tensor([1, 500, 900])
    texts = base.encode_prompts(["one", "two", "three"])
    with torch.no_grad():
        before = base.denoise(z, t, texts)
        bank = bank_for(base, targets, slots=2, rank=2)
        modules = list(bank.shapes)
        bank.initialise(0, rank=2, alpha=2, modules=modules, seed=3)
        with bank.rows(bank.bind([0, bank.empty, 0])):
            assert torch.equal(base.denoise(z, t, texts), before)


def test_a_persons_row_in_a_mixed_batch_equals_the_row_alone(base):
    bank = bank_for(base, Targets.ALL, slots=3, rank=3)
    for slot in range(3):
        random = weights(1 + slot, seed=slot, modules=tuple(bank.shapes.values())).matrices
        small = {name: (a * 0.1, b * 0.1) for name, (a, b) in random.items()}
        bank.load(slot, AdapterWeights(1 + slot, 1.0, small))
    z, t = torch.randn(4, 4, 8, 8), torch.tensor([1, 500, 900, 20])
    texts = base.encode_prompts(["one", "two", "three", "four"])
    with torch.no_grad():
        with bank.rows(bank.bind([2, 0, bank.empty, 1])):
            together = base.denoise(z, t, texts)
        for row, slot in enumerate([2, 0, bank.empty, 1]):
            with bank.rows(bank.bind([slot])):
                alone = base.denoise(z[row : row + 1], t[row : row + 1], texts.rows([row]))
            assert torch.allclose(together[row], alone[0], atol=1e-5)
