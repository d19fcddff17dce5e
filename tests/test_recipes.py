"""The recipes of `configs/`: those of the papers, and those of the shipped weights."""

import json
import re
from importlib import import_module
from inspect import signature
from pathlib import Path

import pytest
import torch
import yaml
from pytorch_lightning.callbacks import Timer
from torch.optim import Adam
from torch.optim.lr_scheduler import ConstantLR

import tiny
from emorl.callbacks import RefinementCurriculum
from emorl.callbacks.curriculum import stretched
from emorl.data.sources.splits import PRESETS
from emorl.history import trainings
from emorl.model import (
    BigDecoder,
    DualGRU,
    GaussianLikelihood,
    Geco,
    IodineDecoder,
    MixtureLikelihood,
    PlainGRU,
    SmallDecoder,
)
from emorl.optim import Muon, WarmupCosineDecay, WarmupExponentialDecay
from emorl.pretrained import load_pretrained
from emorl.stored import load_card, names
from emorl.study.run import read_cases

ROOT = Path(__file__).parents[1]
CONFIGS = ROOT / "configs"
STUDIES = CONFIGS / "studies"
FAST = sorted(path for path in CONFIGS.glob("*/*.yaml") if "fast" in path.stem)
INGREDIENTS = read_cases(STUDIES / "ablations" / "ingredients.yaml")
FURTHER = {
    "clevr6": read_cases(STUDIES / "clevr6-further.yaml"),
    "multi_dsprites": read_cases(STUDIES / "multi-dsprites-further.yaml"),
}
BASELINES = [name for name in names() if "/" in name and not name.startswith("efficient_morl/")]
FULL = {
    "optimizer": Muon,
    "encoder_stride": 2,
    "decoder_stride": 4,
    "initialization": -2,  # of the prior's rho; that of the released weights is 0
    "decoder": "FourierPosition",
    "encoder": "FourierPosition",
    "kl_weight": 0.01,
    "scheduler": WarmupCosineDecay,
    "batch": 16,
    "precision": "bf16-mixed",
    "phases": {0: 1},
}
CHANGES = {
    "full": {},
    "adam": {"optimizer": torch.optim.Adam},
    "encoder-stride-1": {"encoder_stride": 1},
    "decoder-stride-1": {"decoder_stride": 1},
    "reference-initialization": {"initialization": 0},
    "ramps-in-decoder": {"decoder": "RampPosition"},
    "ramps-in-encoder": {"encoder": "RampPosition"},
    "kl-weight-1": {"kl_weight": 1},
    "constant-learning-rate": {"scheduler": ConstantLR},
    "batch-32": {"batch": 32},
    "float32": {"precision": "32-true"},
    "zero-refinement": {"phases": {0: 0}},
}


def read(path):
    return yaml.safe_load(path.read_text())


def only(kind, callbacks):
    (found,) = (callback for callback in callbacks if isinstance(callback, kind))
    return found


def without_length(model):
    """Return the configuration of training, without the schedule's length, which old cards store twice.

    Arguments that a card lacks, as they are newer, have their defaults.
    """
    parts = {part: on_record(model[part]) for part in ("optimizer", "scheduler")}
    parts["scheduler"]["init_args"].pop("total_steps")
    parts["scheduler"] = complete(parts["scheduler"])
    return {**parts, "network": complete(on_record(model["network"]))}


def complete(part):
    """Return a configuration with the plain defaults of all its classes."""
    if not isinstance(part, dict) or "class_path" not in part:
        return part
    module, _, name = part["class_path"].rpartition(".")
    parameters = signature(getattr(import_module(module), name)).parameters.values()
    plain = {each.name: each.default for each in parameters if isinstance(each.default, bool | int | float | None)}
    return {**part, "init_args": plain | {name: complete(value) for name, value in part.get("init_args", {}).items()}}


def on_record(arguments):
    return json.loads(json.dumps(arguments))


@pytest.mark.parametrize(
    ("name", "size", "slots", "decoder", "likelihood", "target", "steps", "phases", "tested"),
    [
        ("tetrominoes", 35, 4, SmallDecoder, (GaussianLikelihood, 0.3), (-1.224, 1), 200000, {0: 3}, 3),
        ("multi-dsprites", 64, 6, IodineDecoder, (GaussianLikelihood, 0.1), None, 300000, {0: 3, 100000: 1}, 1),
        ("clevr6", 96, 7, IodineDecoder, (MixtureLikelihood, 0.1), (-2.206, 1), 300000, {0: 3, 100000: 1}, 1),
        ("clevr10", 128, 11, IodineDecoder, (MixtureLikelihood, 0.1), (-2.1, 5), 300000, {0: 3, 100000: 2}, 2),
    ],
)
def test_released_recipes_are_those_of_the_paper(
    name, size, slots, decoder, likelihood, target, steps, phases, tested, built
):
    cli = built(["--config=configs/base.yaml", f"--config=configs/efficient_morl/{name}.yaml"])
    network, geco = cli.model.network, cli.model.network.objective.geco
    assert (cli.model.image_size, network.num_slots, type(network.decoder)) == (size, slots, decoder)
    assert (type(network.likelihood), network.likelihood.scale) == likelihood
    assert (geco and (geco.target, geco.acceleration)) == target
    assert in_use(cli) == phases
    assert (cli.trainer.max_steps, cli.model.test_refinement_steps) == (steps, tested)
    assert sum(p.numel() for p in network.parameters()) == (467236 if name == "tetrominoes" else 666500)
    assert cli.datamodule.batch_size == 32
    assert (cli.datamodule.image_size, cli.datamodule.crop) == (size, "emorl" if "clevr" in name else "square")
    assert cli.model.crop == cli.datamodule.crop
    configured = cli.model.configure_optimizers()
    optimizer, schedule = configured["optimizer"], configured["lr_scheduler"]["scheduler"]
    assert (type(optimizer), optimizer.defaults["lr"], cli.trainer.gradient_clip_val) == (Adam, 4e-4, 5)
    assert type(schedule) is WarmupExponentialDecay
    factors = [schedule.lr_lambdas[0](step) for step in (0, 9999, 100_000)]
    assert factors == pytest.approx([1e-4, 0.5**0.09999, 0.5])


@pytest.mark.parametrize("preset", ["clevr6", "clevr10"])
def test_a_recipe_has_the_slots_of_its_data(preset):
    for path in CONFIGS.glob(f"*/{preset}.yaml"):
        assert read(path)["model"]["network"]["init_args"]["num_slots"] == PRESETS[preset].max_objects + 1


def test_the_ablations_of_clevr6_change_one_part_each(built):
    cases = read_cases(STUDIES / "ablations" / "clevr6.yaml")
    found = {}
    for case, options in cases.items():
        cli = built(options)
        network = cli.model.network
        found[case] = type(network.bottom_up.cell), type(network.objective.geco), cli.trainer.max_steps, in_use(cli)
    assert found == {
        "full": (DualGRU, Geco, 50000, {0: 3}),
        "without-dual-gru": (PlainGRU, Geco, 50000, {0: 3}),
        "without-geco": (DualGRU, type(None), 50000, {0: 3}),
    }


@pytest.mark.parametrize(
    ("name", "size", "slots", "decoder"),
    [
        ("tetrominoes", 35, 4, SmallDecoder),
        ("multi-dsprites", 64, 6, IodineDecoder),
        ("clevr6", 96, 7, BigDecoder),
    ],
)
def test_recipes_of_slot_attention_are_those_of_the_baseline(name, size, slots, decoder, built):
    cli = built(["--config=configs/base.yaml", f"--config=configs/slot_attention/{name}.yaml"])
    network = cli.model.network
    assert (network.num_slots, network.slot_dim, type(network.decoder)) == (slots, 64, decoder)
    assert (cli.model.image_size, cli.model.refinement_steps, cli.model.test_refinement_steps) == (size, 3, 3)
    assert (cli.datamodule.batch_size, cli.trainer.max_steps, in_use(cli)) == (64, 500_000, {})
    configured = cli.model.configure_optimizers()
    optimizer, schedule = configured["optimizer"], configured["lr_scheduler"]["scheduler"]
    assert (type(optimizer), optimizer.defaults["lr"], type(schedule)) == (Adam, 4e-4, WarmupExponentialDecay)
    factors = [schedule.lr_lambdas[0](step) for step in (0, 100_000)]
    assert factors == pytest.approx([1e-4, 0.5])


@pytest.mark.parametrize(
    ("name", "size", "slots", "dim", "batch", "lr", "parameters"),
    [
        ("tetrominoes", 35, 4, 32, 256, 3e-4, 199_568 - 2 * 800 - 64),
        ("multi-dsprites", 64, 6, 16, 128, 3e-4, 339_152 - 2 * 800 - 4 * 128),
        ("clevr6", 128, 7, 64, 32, 1e-3, 1_177_168 - 2 * 576 - 4 * 256),
    ],
)
def test_recipes_of_iodine_are_those_of_the_authors_code(name, size, slots, dim, batch, lr, parameters, built):
    """K, D, batch, rate: the code of Greff et al. (2019)."""
    cli = built(["--config=configs/base.yaml", f"--config=configs/iodine/{name}.yaml"])
    network = cli.model.network
    assert (cli.model.image_size, network.num_slots, network.slot_dim) == (size, slots, dim)
    assert (cli.model.refinement_steps, cli.model.test_refinement_steps, in_use(cli)) == (5, 5, {})
    assert (cli.datamodule.batch_size, cli.trainer.max_steps, cli.trainer.gradient_clip_val) == (batch, 1_000_000, 5)
    configured = cli.model.configure_optimizers()
    optimizer, schedule = configured["optimizer"], configured["lr_scheduler"]["scheduler"]
    assert (type(optimizer), optimizer.defaults["lr"], optimizer.defaults["betas"]) == (Adam, lr, (0.95, 0.999))
    factors = [schedule.lr_lambdas[0](step) for step in (0, 1_000_000)]
    assert factors == pytest.approx([1, 0.1], rel=1e-5)
    assert sum(p.numel() for p in network.parameters()) == parameters  # without the constant inputs


each_fast = pytest.mark.parametrize("path", FAST, ids=lambda path: f"{path.parent.name}/{path.stem}")


@each_fast
def test_the_learning_rate_reaches_zero_with_the_last_step(path, built):
    """With a length that the recipe does not know."""
    cli = built(["--config=configs/base.yaml", f"--config={path}", "--trainer.max_steps=5000"])
    schedule = cli.model.configure_optimizers()["lr_scheduler"]["scheduler"]
    factor, last = schedule.lr_lambdas[0], cli.trainer.max_steps
    middle = round(last * (1 + schedule.hold) / 2)  # of the cosine
    assert last == 5000
    assert 0 < factor(last - 1) < 1e-3
    assert factor(last) == pytest.approx(0)
    assert factor(middle) == pytest.approx(0.5, rel=1e-2)


@pytest.mark.parametrize("path", sorted((CONFIGS / "efficient_morl").glob("*.yaml")), ids=lambda path: path.stem)
def test_phases_of_a_recipe_end_with_its_run(path):
    content = read(path)
    phases = content["curriculum"]["phases"]
    assert phases[0] == content["model"]["refinement_steps"]
    if len(phases) > 1:
        assert (max(phases), phases[max(phases)]) == (content["trainer"]["max_steps"], None)


def test_a_shorter_run_has_shorter_phases(built):
    recipe = [f"--config={CONFIGS / name}.yaml" for name in ("base", "efficient_morl/multi-dsprites-fast")]
    assert in_use(built([*recipe, "--trainer.max_steps=7600"])) == {0: 1, 7000: 0}
    asked = built([*recipe, "--trainer.max_steps=10000", "--curriculum.phases={0: 2, 7000: 0}"])
    assert in_use(asked) == {0: 2, 7000: 0}


def in_use(cli):
    """Return the phases of the run, scaled to its length."""
    return stretched(only(RefinementCurriculum, cli.trainer.callbacks).phases or {}, cli.trainer.max_steps)


@pytest.fixture
def built(build, monkeypatch):
    monkeypatch.chdir(ROOT)

    def built(options):
        cli = build("fit", *options, "--trainer.accelerator=cpu", "--trainer.logger=false")
        cli.model.trainer = cli.trainer
        return cli

    return built


def test_fine_tuning_trains_shipped_weights_on_the_objective_of_their_last_training(built):
    page = (ROOT / "docs/howto/finetune.md").read_text().replace("\\\n", "")
    (options,) = re.findall(r"^emorl fit (.*--pretrained.*)$", page, re.MULTILINE)
    cli = built(options.split())
    network, shipped = cli.model.network, load_pretrained("multi_dsprites").network
    assert network.objective.geco is None
    assert network.objective.kl_weight == shipped.objective.kl_weight == 0.03
    assert cli.model.configure_optimizers()["lr_scheduler"]["scheduler"].total_steps == cli.trainer.max_steps == 5000
    assert all(torch.equal(p, q) for p, q in zip(network.parameters(), shipped.parameters(), strict=True))


def test_further_training_starts_with_a_different_objective(built, tmp_path):
    trained = tiny.module(network=tiny.network(geco=Geco("auto")))
    trained.network.objective.geco.zeta.fill_(-2)
    network = built([f"--pretrained={tiny.saved(trained, tmp_path / 'a.ckpt')}"]).model.network
    assert all(torch.equal(p, q) for p, q in zip(network.parameters(), trained.network.parameters(), strict=True))
    assert network.objective.geco.zeta == pytest.approx(0.55)


def test_the_released_recipe_and_the_fast_one_have_the_same_time(built):
    cases = read_cases(STUDIES / "hour.yaml")
    for options in cases.values():
        assert only(Timer, built(options).trainer.callbacks).time_remaining() == 3600
    assert list(cases) == ["tetrominoes", "tetrominoes-fast"]


@pytest.mark.parametrize("name", FURTHER)
def test_shipped_weights_are_of_recipes_in_the_repository(name, built):
    first, *later = trainings(load_card(name))
    recipe = run = f"{name.replace('_', '-')}-fast"  # of the first training
    cli = built(["--config=configs/base.yaml", f"--config=configs/efficient_morl/{recipe}.yaml"])
    model = on_record(cli.config.fit.model.as_dict())
    assert without_length(model) == without_length(first["model"])
    assert cli.trainer.max_steps == first["steps"]
    for training, (case, options) in zip(later, FURTHER[name].items(), strict=True):
        assert f"--pretrained=runs/{run}/checkpoints/last.ckpt" in options
        cli, run = built([*options, "--pretrained=null"]), f"{recipe.replace('fast', 'further')}/{case}/seed_0"
        curricula = [
            training.get("curriculum"),  # earlier cards have it among the callbacks
            *(part["init_args"] for part in training["trainer"]["callbacks"] if "Curriculum" in part["class_path"]),
        ]
        (phases,) = (curriculum["phases"] for curriculum in curricula if curriculum)
        phases = {start: steps for start, steps in phases.items() if steps is not None}
        model = on_record(cli.config.fit.model.as_dict())
        assert without_length(model) == without_length(training["model"])
        left = {name: value for name, value in model.items() if name not in ("network", "scheduler")}
        known = {name: value for name, value in training["model"].items() if name not in ("network", "scheduler")}
        assert left == {"test_draws": 1} | known
        assert on_record(in_use(cli)) == phases
        length = training["model"]["scheduler"]["init_args"]["total_steps"]  # of earlier cards
        assert cli.trainer.max_steps == training["steps"] == (length or training["steps"])


@pytest.mark.parametrize("name", BASELINES)
def test_shipped_weights_of_a_baseline_are_of_its_fast_recipe(name, built):
    card, (model, data) = load_card(name), name.split("/")
    cli = built(["--config=configs/base.yaml", f"--config=configs/{model}/{data}-fast.yaml"])
    assert without_length(on_record(cli.config.fit.model.as_dict())) == without_length(card["model"])
    assert cli.trainer.max_steps == card["steps"]


@pytest.mark.parametrize("name", ["tetrominoes", *FURTHER, *BASELINES])
def test_a_card_records_all_trainings(name):
    card = load_card(name)
    records = list(trainings(card))
    assert card["total_steps"] == sum(record["steps"] for record in records)
    assert card["total_minutes"] == sum(record["minutes"] for record in records)
    for record in records:
        lines = record["history"].splitlines()
        assert lines[0].startswith("step,time/minutes,")
        assert len(lines) == 1 + record["steps"] // 1000


@pytest.mark.parametrize("case", CHANGES)
def test_a_case_removes_one_ingredient(case, built):
    cli = built(INGREDIENTS[case])
    network = cli.model.network
    optimizer = cli.model.optimizer(network.parameters())
    found = {
        "optimizer": type(optimizer),
        "encoder_stride": network.encoder.stride,
        "decoder_stride": network.decoder.stride,
        "initialization": float(network.prior.conditional.rho.bias[0].detach()),
        "decoder": type(network.decoder.position.code).__name__,
        "encoder": type(network.encoder.position.code).__name__,
        "kl_weight": network.objective.kl_weight,
        "scheduler": type(cli.model.scheduler(optimizer)),
        "batch": cli.datamodule.batch_size,
        "precision": cli.config.fit.trainer.precision,
        "phases": in_use(cli),
    }
    assert found == FULL | CHANGES[case]
    assert cli.trainer.max_steps == 1500


def test_every_ingredient_is_tested():
    assert INGREDIENTS.keys() == CHANGES.keys()


@pytest.mark.parametrize(
    "options",
    [
        ("--model.network=SlotAttention",),
        ("--model.network.class_path=SlotAttention",),
        ("--model.network", '{"class_path": "emorl.model.SlotAttention"}'),
        ('--model={"network": {"class_path": "SlotAttention"}}',),
    ],
)
def test_a_network_of_another_class_has_its_own_defaults_however_it_is_named(options, build, shards):
    recipe = f"-c={CONFIGS / 'iodine/tetrominoes-fast.yaml'}"
    common = (f"--data.root={shards}", "--trainer.accelerator=cpu", "--trainer.logger=false")
    network = build("fit", recipe, *options, *common).model.network
    assert isinstance(network.decoder, SmallDecoder)
    assert network.slot_dim == 64
