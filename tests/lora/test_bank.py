"""The bank: slots hold what was put into them, rows bind to slots, storage stays where it is."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from atelier.lora.bank import AdapterWeights, Bank, ModuleShape

SHAPES = (
    ModuleShape("to_q", (4, 6), (5, 4)),
    ModuleShape("conv1", (4, 3, 3, 3), (7, 4)),
)


def weights(rank: int, seed: int = 0, modules: tuple[ModuleShape, ...] = SHAPES) -> AdapterWeights:
    random = torch.Generator().manual_seed(seed)
    matrices = {
        shape.name: (
            torch.randn(shape.at_rank(rank).a, generator=random),
            torch.randn(shape.at_rank(rank).b, generator=random),
        )
        for shape in modules
    }
    return AdapterWeights(rank, 2.0 * rank, matrices)


@pytest.fixture
def bank() -> Bank:
    return Bank(SHAPES, slots=3)


def test_what_is_loaded_into_a_slot_can_be_taken_out(bank):
    given = weights(4)
    bank.load(1, given)
    taken = bank.take(1, rank=4, alpha=8.0, modules=list(bank.shapes))
    for name, (a, b) in given.matrices.items():
        assert torch.equal(taken.matrices[name][0], a)
        assert torch.equal(taken.matrices[name][1], b)
    assert bank.scale[1] == 2.0


def test_loading_a_slot_changes_no_other(bank):
    bank.load(0, weights(4, seed=1))
    before = bank.storage_SP[[0, 2, 3]].clone()
    bank.load(1, weights(4, seed=2))
    assert torch.equal(bank.storage_SP[[0, 2, 3]], before)


def test_a_smaller_rank_is_padded_with_zeros_and_means_the_same_product(bank):
    given = weights(2)
    bank.load(0, given)
    a, b = given.matrices["to_q"]
    assert torch.allclose(bank.B["to_q"][0] @ bank.A["to_q"][0], b @ a, atol=1e-6)
    assert not bank.A["to_q"][0, 2:].any()


def test_a_slot_is_zeroed_before_it_changes_hands(bank):
    bank.load(0, weights(4))
    bank.load(0, weights(1, modules=SHAPES[:1]))
    assert not bank.A["conv1"][0].any()
    assert not bank.A["to_q"][0, 1:].any()
    bank.clear(0)
    assert not bank.storage_SP[0].any()
    assert bank.scale[0] == 0


def test_storage_is_never_reallocated(bank):
    addresses = {t.data_ptr() for t in (*bank.A.values(), *bank.B.values(), bank.scale)}
    bank.initialise(0, rank=4, alpha=4, modules=["to_q"], seed=1)
    bank.load(2, weights(3))
    bank.clear(0)
    assert addresses == {t.data_ptr() for t in (*bank.A.values(), *bank.B.values(), bank.scale)}


def test_the_empty_slot_takes_no_adapter(bank):
    for change in (bank.clear, lambda slot: bank.load(slot, weights(4))):
        with pytest.raises(ValueError, match="slot 3"):
            change(bank.empty)


@pytest.mark.parametrize("rank", [0, 5])
def test_a_rank_that_does_not_fit_is_refused(bank, rank):
    with pytest.raises(ValueError, match="holds ranks 1 to 4"):
        bank.initialise(0, rank=rank, alpha=1, modules=["to_q"], seed=0)
    with pytest.raises(ValueError, match="holds ranks 1 to 4"):
        bank.load(0, AdapterWeights(rank, 1.0, {}))


def test_a_module_that_the_bank_lacks_is_refused(bank):
    with pytest.raises(ValueError, match="to_z"):
        bank.load(0, AdapterWeights(1, 1.0, {"to_z": (torch.ones(1, 2), torch.ones(2, 1))}))


def test_a_bank_without_slots_is_refused():
    with pytest.raises(ValueError, match="0 slots"):
        Bank(SHAPES, slots=0)


def test_a_seed_starts_the_same_adapter_in_any_slot(bank):
    for slot in (0, 2):
        bank.initialise(slot, rank=3, alpha=6, modules=["to_q", "conv1"], seed=11)
    assert torch.equal(bank.storage_SP[0], bank.storage_SP[2])
    assert bank.A["to_q"][0, :3].any()
    assert not bank.B["to_q"][0].any()
    assert bank.A["to_q"][0].abs().max() <= 6**-0.5


def test_rows_of_an_unknown_slot_are_refused(bank):
    with pytest.raises(ValueError, match="0 to 3 exist"):
        bank.bind([0, 4])
    with pytest.raises(ValueError, match="1 rows with 2 factors"):
        bank.bind([0], [1.0, 1.0])


def test_a_batch_of_another_size_than_was_bound_is_refused(bank):
    with bank.rows(bank.bind([0, 1])), pytest.raises(ValueError, match="3 rows with 2 rows bound"):
        bank.bound_to(3)
    with pytest.raises(ValueError, match="no rows bound"):
        bank.bound_to(2)


@given(st.lists(st.tuples(st.integers(0, 3), st.floats(0, 2)), min_size=1, max_size=12))
def test_groups_spell_the_rows_and_factor_zero_means_the_base(rows):
    bank = Bank(SHAPES, slots=3)
    bank.scale[:3] = torch.tensor([0.5, 1.0, 2.0])
    bound = bank.bind([slot for slot, _ in rows], [factor for _, factor in rows])
    spelled = bound.slots_G.repeat_interleave(bound.per_group).tolist()
    assert spelled == [slot if factor else bank.empty for slot, factor in rows]
    expected = [float(bank.scale[slot]) * factor for slot, factor in rows]
    assert bound.scale_N.tolist() == pytest.approx(expected)
