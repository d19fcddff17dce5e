"""GECO, compared with sequences computed by hand."""

import math

import pytest
import torch

from emorl.model import EfficientMORL, Geco, Objective

SETTING = {"target": -1.0, "alpha": 0.5, "step_size": 0.1, "acceleration": 3.0, "warm_start": 2}
# With four channel-pixels C = -4. Each row: nll, then active, average and zeta after the update.
BY_HAND = [
    (-1.0, False, 0.0, 0.55),  # warm start
    (9.0, True, 0.0, 0.55),  # the last step of the warm start: the next one has GECO in its loss
    (-2.0, True, -2.0, 0.55),  # c = -2 sets the average
    (0.0, True, -3.0, 0.85),  # c = -4: -1 - 2; 0.55 + 0.1 * 3
    (-5.0, True, -1.0, 0.95),  # c = 1: -1.5 + 0.5; 0.85 + 0.1 * 1
    (-6.0, True, 0.5, 0.80),  # c = 2: -0.5 + 1; 0.95 - 0.3 * 0.5, the target is met: accelerated
    (-7.0, True, 1.75, 0.55),  # c = 3: 0.25 + 1.5; 0.8 - 0.525 = 0.275 is below the floor
    (-2.25, True, 0.0, 0.55),  # c = -1.75: 0.875 - 0.875
    (0.0, True, -2.0, 0.75),  # c = -4
]


def scalar(value):
    return torch.tensor(value, dtype=torch.float64)


def running(**changes):
    """A GECO past its warm start, in float64."""
    geco = Geco(**SETTING | changes).double()
    geco.step.fill_(geco.warm_start + 1)
    return geco


def test_follows_a_sequence_worked_by_hand():
    geco = Geco(**SETTING).double()
    assert not geco.active
    for nll, active, average, zeta in BY_HAND:
        geco.update(scalar(nll), dims=4)
        assert geco.active == active
        assert (geco.average.item(), geco.zeta.item()) == (pytest.approx(average), pytest.approx(zeta))
    assert geco.step.item() == len(BY_HAND)


def test_continues_from_its_state():
    one, other = Geco(**SETTING).double(), Geco(**SETTING).double()
    for nll, *_ in BY_HAND[:5]:
        one.update(scalar(nll), dims=4)
    assert set(one.state_dict()) == {"average", "zeta", "step"}
    assert not list(one.parameters())
    other.load_state_dict(one.state_dict())
    for nll, active, average, zeta in BY_HAND[5:]:
        other.update(scalar(nll), dims=4)
        assert (other.active, other.average.item()) == (active, pytest.approx(average))
        assert other.zeta.item() == pytest.approx(zeta)


def test_starts_at_the_released_settings():
    geco = Geco(target=-1.224)
    assert (geco.alpha, geco.step_size, geco.acceleration, geco.warm_start) == (0.99, 1e-6, 1.0, 1000)
    assert (geco.average.item(), geco.zeta.item(), geco.step.item()) == (0.0, pytest.approx(0.55), 0)


def test_warm_start_ends_at_step_1000():
    geco = Geco(target=-1.224)
    for step, active in ((999, False), (1000, True), (1001, True)):
        geco.step.fill_(step)
        assert bool(geco.active) is active


def test_value_is_the_moving_average_and_gradient_that_of_the_nll():
    geco = running()
    geco.average.fill_(-3.5)
    geco.zeta.fill_(0.9)
    multiplier = math.log1p(math.exp(0.9))
    nll = scalar(17.0).requires_grad_()
    loss = geco(nll, dims=12)
    loss.backward()
    assert loss.item() == pytest.approx(3.5 * multiplier)
    assert nll.grad.item() == pytest.approx(multiplier)


def test_multiplier_starts_near_one():
    nll = scalar(5.0).requires_grad_()
    running()(nll, dims=12).backward()
    assert nll.grad.item() == pytest.approx(1.0, abs=0.01)


def test_zeta_keeps_the_small_steps_of_the_recipe():
    geco = Geco(target=-1.224)
    geco.step.fill_(1001)
    for _ in range(50):
        geco.update(torch.tensor(-4400.0), dims=3 * 35 * 35)  # c = -98.2
    expected = 0.55 + 1e-6 * sum(98.2 * (1 - 0.99 ** (n + 1)) for n in range(50))
    assert geco.zeta.item() == pytest.approx(expected, rel=1e-5)


def test_update_keeps_no_graph():
    geco, nll = running(), scalar(3.0).requires_grad_()
    geco.update(nll * 2, dims=4)
    assert not any(buffer.requires_grad for buffer in geco.buffers())


def test_update_takes_the_mean_over_processes(monkeypatch):
    monkeypatch.setattr("emorl.model.geco.rank_mean", lambda nll: nll + 10)
    geco = Geco(**SETTING).double()
    geco.step.fill_(2)
    geco.update(scalar(-2.0), dims=4)
    assert geco.average.item() == -12


def test_objective_is_the_weighted_elbo_until_the_warm_start_is_over():
    objective = Objective(Geco(**SETTING).double(), kl_weight=0.25)
    for expected in (7 + 0.25 * 8, 7 + 0.25 * 8, 0.0 + 0.25 * 8):  # the average is still 0 on the third step
        assert objective(scalar(7.0), scalar(8.0), dims=4).item() == expected
        objective.observe(scalar(-2.0).expand(2), dims=4)
        objective.end_step()
    expected = 0.25 * 8 + 2 * math.log1p(math.exp(0.55))
    assert objective(scalar(7.0), scalar(8.0), dims=4).item() == pytest.approx(expected)


def test_zeta_falls_as_low_as_it_may_where_the_target_is_met():
    lowest = math.log(math.expm1(0.25))
    objective = Objective(Geco(**SETTING | {"lowest_zeta": lowest}).double(), kl_weight=0.25)
    for _ in range(60):
        objective.observe(scalar(-5.0).expand(2), dims=4)
        objective.end_step()
    nll, kl = scalar(7.0).requires_grad_(), scalar(8.0).requires_grad_()
    pull = torch.autograd.grad(objective(nll, kl, dims=4), (nll, kl))
    assert [part.item() for part in pull] == pytest.approx([0.25, 0.25])  # the ELBO, a quarter of it


def test_objective_without_geco_is_the_elbo_for_ever():
    objective = Objective()
    for _ in range(3):
        assert objective(scalar(7.0), scalar(8.0), dims=4).item() == 15
        objective.observe(scalar(7.0).expand(2), dims=4)
        objective.end_step()


def test_auto_holds_on_to_what_the_warm_start_reached():
    geco = Geco(**SETTING | {"target": "auto"}).double()
    for nll in (-4.0, -8.0, -16.0):  # per channel-pixel -1, -2, -4: moving average -1, -1.5, -2.75
        geco.update(scalar(nll), dims=4)
    assert geco.goal.item() == pytest.approx(-2.75)
    assert geco.average.item() == pytest.approx(4 * -2.75 + 16.0)
    geco.update(scalar(-40.0), dims=4)
    assert geco.goal.item() == pytest.approx(-2.75)
    resumed = Geco(**SETTING | {"target": "auto"}).double()
    resumed.load_state_dict(geco.state_dict())
    assert resumed.goal.item() == pytest.approx(-2.75)


@pytest.mark.parametrize(("target", "warned"), [(-1.21, True), (-1.20, False), ("auto", False)])
def test_a_target_below_the_floor_of_the_likelihood_is_warned_of(target, warned, caplog):
    EfficientMORL(num_slots=2, slot_dim=4, feature_dim=4, geco=Geco(target))  # log 0.3 = -1.204
    assert ("is below -1.20397" in caplog.text) == warned


@pytest.mark.parametrize(("lowest", "warned"), [(0.55, True), (-2.25, False)])
def test_a_target_of_its_own_wants_a_multiplier_that_can_fall(lowest, warned, caplog):
    EfficientMORL(num_slots=2, slot_dim=4, feature_dim=4, geco=Geco("auto", lowest_zeta=lowest))
    assert ("its multiplier cannot fall" in caplog.text) == warned


def test_an_average_that_would_diverge_is_refused():
    with pytest.raises(ValueError, match=r"^Expected alpha in \[0, 1\), got 1\.0\.$"):
        Geco(-1.0, alpha=1.0)


@pytest.mark.parametrize("target", ["Auto", float("nan"), float("inf"), None])
def test_a_target_that_is_no_number_is_refused(target, unchecked):
    with pytest.raises(ValueError, match=r"^Expected target as a finite number or 'auto', got "):
        Geco(target)
