"""The ablations: each case changes one part of a recipe."""

import math
from pathlib import Path

import pytest

from emorl.callbacks import RefinementCurriculum
from emorl.model import BottomUpPrior, DualGRU, FourierPosition, Geco, PlainGRU, ReversedPlusPlusPrior, ReversedPrior
from emorl.optim import Muon, WarmupCosineDecay
from emorl.study.run import read_cases

ROOT = Path(__file__).parents[1]
CASES = read_cases(ROOT / "configs" / "studies" / "ablations" / "tetrominoes.yaml")
GECO = read_cases(ROOT / "configs" / "studies" / "ablations" / "geco.yaml")
SHORT = "--config=configs/overlays/short.yaml"
FULL = {"prior": ReversedPlusPlusPrior, "cell": DualGRU, "geco": Geco, "layers": 3, "phases": {0: 3}}
CHANGES = {
    "full": {},
    "reversed-prior": {"prior": ReversedPrior},
    "bottom-up-prior": {"prior": BottomUpPrior},
    "without-dual-gru": {"cell": PlainGRU},
    "without-geco": {"geco": type(None)},
    "one-layer": {"layers": 1},
    "two-layers": {"layers": 2},
    "zero-refinement": {"phases": {0: 0}},
    "one-refinement": {"phases": {0: 1}},
}


@pytest.fixture
def built(build, monkeypatch):
    """Parse options of ``emorl fit`` and build the trainer and the module."""
    monkeypatch.chdir(ROOT)

    def built(options):
        cli = build("fit", *options, "--trainer.accelerator=cpu", "--trainer.logger=false", "--trainer.precision=32")
        cli.model.trainer = cli.trainer
        return cli.trainer, cli.model

    return built


def parts(trainer, module):
    """Return what the ablations change."""
    (curriculum,) = (callback for callback in trainer.callbacks if isinstance(callback, RefinementCurriculum))
    network = module.network
    return {
        "prior": type(network.prior),
        "cell": type(network.bottom_up.cell),
        "geco": type(network.objective.geco),
        "layers": network.bottom_up.num_layers,
        "phases": curriculum.phases,
    }


def test_a_case_has_one_option_more_than_the_released_recipe(built):
    assert CASES.keys() == CHANGES.keys()
    recipe = CASES["full"]
    for case, options in CASES.items():
        assert options[: len(recipe)] == recipe
        assert len(options) == len(recipe) + (case != "full")
    trainer, module = built(recipe)
    assert parts(trainer, module) == FULL
    assert trainer.max_steps == 200000


@pytest.mark.parametrize("case", CHANGES)
def test_a_case_changes_one_part_also_with_the_overlay_for_small_budgets(case, built):
    """Which sets none of these parts, so that the case without it changes the same one."""
    trainer, module = built([*CASES[case], SHORT])
    assert parts(trainer, module) == FULL | CHANGES[case]
    assert trainer.max_steps == 2000
    assert isinstance(module.network.decoder.position.code, FourierPosition)
    assert module.hparams["network"]["init_args"]["kl_weight"] == 0.01
    optimizer = module.configure_optimizers()
    assert isinstance(optimizer["optimizer"], Muon)
    schedule = optimizer["lr_scheduler"]["scheduler"]
    assert (type(schedule), schedule.total_steps) == (WarmupCosineDecay, 2000)


@pytest.mark.parametrize(("data", "steps"), [("tetrominoes", (5000, 10000)), ("multi-dsprites", (8000, 38000))])
def test_geco_determines_its_target_or_is_absent(data, steps, built):
    plain, geco = (built(GECO[case]) for case in (data, f"{data}-geco"))
    assert plain[1].network.objective.geco is None
    found = geco[1].network.objective.geco
    assert (found.target, found.warm_start, geco[0].max_steps) == ("auto", *steps)
    assert math.log1p(math.exp(found.lowest_zeta)) == pytest.approx(geco[1].network.objective.kl_weight, rel=0.01)
    assert plain[0].max_steps == geco[0].max_steps
