"""Checkpoints of the authors' code, read and written."""

import pickle
import re

import pytest
import torch

from emorl.model import BigDecoder, DualGRU, EfficientMORL, Geco, IodineDecoder, PlainGRU, SmallDecoder
from emorl.released import from_released, load_released, save_released, to_released

D, F = 8, 6  # slot and feature dimensions
HVAE = "hvae_networks."
DUAL_GRU = {
    **{f"weight_{side}_{k}": (2 * D, D) for side in ("ih", "hh") for k in (1, 2)},
    **{f"weight_{side}_{k}": (D, D) for side in ("in", "hn") for k in (1, 2)},
    **{f"bias_{side}": (4 * D,) for side in ("ih", "hh")},
    **{f"bias_{side}": (2 * D,) for side in ("in", "hn")},
}
SMALL = [(32, D, 5, 5), (32, 32, 5, 5), (32, 32, 5, 5), (4, 32, 3, 3)]
IODINE = [(64, D, 3, 3), *[(64, 64, 3, 3)] * 3, (4, 64, 3, 3)]
BIG = [(D, 64, 5, 5), *[(64, 64, 5, 5)] * 4, (64, 4, 3, 3)]  # transposed: in, out


def linear(name, out, into, bias=True):
    return {f"{name}.weight": (out, into)} | ({f"{name}.bias": (out,)} if bias else {})


def norm(name, dim):
    return {f"{name}.weight": (dim,), f"{name}.bias": (dim,)}


def gru(name, dim, into):
    weights = {f"{name}.weight_ih_l0": (3 * dim, into), f"{name}.weight_hh_l0": (3 * dim, dim)}
    return weights | {f"{name}.bias_ih_l0": (3 * dim,), f"{name}.bias_hh_l0": (3 * dim,)}


def layers(name, weights, transposed=False):
    shapes = {}
    for i, weight in enumerate(weights):
        shapes |= {f"{name}.{2 * i}.weight": weight, f"{name}.{2 * i}.bias": (weight[1 if transposed else 0],)}
    return shapes


def released_shapes(dual_gru=True, decoder=SMALL):
    """The released parameters of a tiny model."""
    hvae = layers("encoder_pt_1", [(F, 3, 5, 5), *[(F, F, 5, 5)] * 3])
    hvae |= norm("encoder_pt_2.0", F) | linear("encoder_pt_2.1", F, F) | linear("encoder_pt_2.3", F, F)
    hvae |= linear("pos_embed_projection", F, 4)
    hvae |= {"init_posterior": (1, 2 * D)}
    hvae |= norm("norm_slots", D) | linear("to_q", D, D, bias=False)
    hvae |= linear("to_k", D, F, bias=False) | linear("to_v", D, F, bias=False)
    if dual_gru:
        hvae |= {f"gru.cell.{name}": shape for name, shape in DUAL_GRU.items()}
    else:
        hvae |= linear("project_update", 2 * D, D) | gru("gru", 2 * D, 2 * D)
    for half in ("mu", "softplus"):
        hvae |= norm(f"norm_{half}_pre_ff", D)
        hvae |= linear(f"mlp_{half}.0", 2 * D, D) | linear(f"mlp_{half}.2", D, 2 * D)
    hvae |= linear("indep_prior.z_linear.0", 128, D)
    hvae |= linear("indep_prior.z_mu", D, 128) | linear("indep_prior.z_softplus", D, 128)
    hvae |= linear("image_decoder.pos_embed_projection", D, 4)
    hvae |= layers("image_decoder.decode", decoder, transposed=decoder is BIG)
    refinenet = linear("encoding.0", 128, 4 * D) | linear("encoding.2", D, 128) | gru("recurrence", D, D)
    refinenet |= linear("loc", D, D) | linear("softplus", D, D)
    return {HVAE + n: s for n, s in hvae.items()} | {f"refinenet.{n}": s for n, s in refinenet.items()}


def released_parameters(stray=True, geco=True, **kind):
    """Random values under the released names, with what else a released file may hold."""
    torch.manual_seed(0)
    named = {name: 0.2 * torch.randn(shape) for name, shape in released_shapes(**kind).items()}
    if stray:
        named |= {f"{HVAE}gru.cell.zeros_{k}": torch.zeros(D, D) for k in (1, 2)}
    if geco:
        named |= {"geco_C_ema": torch.tensor(-12.5), "geco_beta": torch.tensor(0.75)}
    return named


def write(path, named, prefix="", **changes):
    optimizer = {"state": {0: {"step": torch.tensor(7.0), "exp_avg": torch.randn(3)}}, "param_groups": [{"lr": 4e-4}]}
    content = {"step": 1234, "model": {prefix + n: v for n, v in named.items()}, "model_opt": optimizer, "kl_beta": 1.0}
    torch.save(content | changes, path)
    return path


KINDS = [
    {},
    {"dual_gru": False},
    {"decoder": IODINE},
    {"decoder": BIG},
    {"stray": False},
    {"geco": False},
]


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: "-".join(kind) or "plain")
def test_a_file_comes_back_as_it_was(tmp_path, kind, prefix):
    path = write(tmp_path / "old.pth", released_parameters(**kind), prefix)
    save_released(load_released(path), tmp_path / "new.pth")
    old, new = (torch.load(file, weights_only=True) for file in (path, tmp_path / "new.pth"))
    assert set(new) == set(old) == {"step", "model", "model_opt", "kl_beta"}
    assert set(new["model"]) == set(old["model"])
    for name, value in old["model"].items():
        assert new["model"][name].shape == value.shape
        assert torch.equal(new["model"][name], value)
    assert (new["step"], new["kl_beta"]) == (1234, 1.0)
    assert new["model_opt"]["param_groups"] == [{"lr": 4e-4}]
    assert torch.equal(new["model_opt"]["state"][0]["exp_avg"], old["model_opt"]["state"][0]["exp_avg"])
    assert {file.name for file in tmp_path.iterdir()} == {"old.pth", "new.pth"}


@pytest.mark.parametrize("shape", [(), (1,)])
def test_a_file_comes_back_as_it_was_with_geco(tmp_path, shape):
    named = released_parameters()
    named |= {name: named[name].reshape(shape) for name in ("geco_C_ema", "geco_beta")}
    path = write(tmp_path / "old.pth", named)
    save_released(load_released(path, geco=Geco(-1.2)), tmp_path / "new.pth")
    new = torch.load(tmp_path / "new.pth", weights_only=True)["model"]
    assert set(new) == set(named)
    assert all(torch.equal(new[name], value) for name, value in named.items())  # shapes too


PLACES = {  # ours: released, written by hand from the list of names
    "encoder.convolutions.": "encoder_pt_1.",
    "encoder.mlp.": "encoder_pt_2.",
    "encoder.position.projection.": "pos_embed_projection.",
    "bottom_up.attend.norm.": "norm_slots.",
    "bottom_up.attend.to_query.": "to_q.",
    "bottom_up.attend.to_key.": "to_k.",
    "bottom_up.attend.to_value.": "to_v.",
    "bottom_up.mean_mlp.0.": "norm_mu_pre_ff.",
    "bottom_up.mean_mlp.1.": "mlp_mu.0.",
    "bottom_up.mean_mlp.3.": "mlp_mu.2.",
    "bottom_up.rho_mlp.0.": "norm_softplus_pre_ff.",
    "bottom_up.rho_mlp.1.": "mlp_softplus.0.",
    "bottom_up.rho_mlp.3.": "mlp_softplus.2.",
    "prior.conditional.hidden.": "indep_prior.z_linear.0.",
    "prior.conditional.mean.": "indep_prior.z_mu.",
    "prior.conditional.rho.": "indep_prior.z_softplus.",
    "decoder.position.projection.": "image_decoder.pos_embed_projection.",
    "decoder.layers.": "image_decoder.decode.",
}
REFINEMENT = {"encoding.": "encoding.", "recurrence.": "recurrence.", "mean.": "loc.", "rho.": "softplus."}
PLACES = {ours: HVAE + theirs for ours, theirs in PLACES.items()}
PLACES |= {f"refinement.{ours}": f"refinenet.{theirs}" for ours, theirs in REFINEMENT.items()}


def place_of(name, named):
    """Return the released tensor that belongs to our parameter."""
    (prefix,) = (p for p in PLACES if name.startswith(p))
    released = PLACES[prefix] + name.removeprefix(prefix)
    return named[released if released in named else f"{released}_l0"]


def cell_of(named, k):
    """The k-th (from one) of the two GRU cells in a DualGRU's block, gates ordered reset, update, candidate."""
    block = {name.removeprefix(f"{HVAE}gru.cell."): value for name, value in named.items()}
    first = slice(0, 2 * D) if k == 1 else slice(2 * D, 4 * D)
    candidate = slice(0, D) if k == 1 else slice(D, 2 * D)
    return {
        "weight_ih": torch.cat((block[f"weight_ih_{k}"], block[f"weight_in_{k}"])),
        "weight_hh": torch.cat((block[f"weight_hh_{k}"], block[f"weight_hn_{k}"])),
        "bias_ih": torch.cat((block["bias_ih"][first], block["bias_in"][candidate])),
        "bias_hh": torch.cat((block["bias_hh"][first], block["bias_hn"][candidate])),
    }


@pytest.mark.parametrize(("dual_gru", "decoder"), [(True, SMALL), (False, IODINE), (True, BIG)])
def test_values_land_where_they_belong(tmp_path, dual_gru, decoder):
    named = released_parameters(dual_gru=dual_gru, decoder=decoder)
    model = load_released(write(tmp_path / "a.pth", named)).model
    initial = named[f"{HVAE}init_posterior"][0]
    expected = {"bottom_up.initial_mean": initial[:D], "bottom_up.initial_rho": initial[D:]}
    for k, half in enumerate(("mean", "rho"), 1):
        if dual_gru:
            expected |= {f"bottom_up.cell.{half}.{n}": value for n, value in cell_of(named, k).items()}
    if not dual_gru:
        expected |= {f"bottom_up.cell.project.{n}": named[f"{HVAE}project_update.{n}"] for n in ("weight", "bias")}
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            expected[f"bottom_up.cell.cell.{name}"] = named[f"{HVAE}gru.{name}_l0"]
    for name, value in (*model.named_parameters(), *model.objective.named_buffers("objective")):
        assert torch.equal(value, expected[name] if name in expected else place_of(name, named)), name
    assert expected.keys() <= dict(model.named_parameters()).keys()


@pytest.mark.parametrize(
    ("kind", "cell", "decoder"),
    [
        ({}, DualGRU, SmallDecoder),
        ({"dual_gru": False, "decoder": IODINE}, PlainGRU, IodineDecoder),
        ({"decoder": BIG}, DualGRU, BigDecoder),
    ],
)
def test_a_loaded_model_runs(tmp_path, kind, cell, decoder):
    released = load_released(write(tmp_path / "a.pth", released_parameters(**kind)), num_slots=3, num_layers=2)
    assert isinstance(released.model.bottom_up.cell, cell)
    assert isinstance(released.model.decoder, decoder)
    inference = released.model(torch.rand(2, 3, 16, 16), steps=1)
    inference.loss.backward()
    assert inference.loss.isfinite()
    assert inference.stages[1].slots.shape == (2, 3, D)
    assert len(inference.layers) == 2


def test_what_a_file_says_besides_weights(tmp_path):
    released = load_released(write(tmp_path / "a.pth", released_parameters(), "module.", kl_beta=0.5))
    assert (released.step, released.kl_beta, released.prefix) == (1234, 0.5, "module.")
    assert set(released.extra) == {f"{HVAE}gru.cell.zeros_1", f"{HVAE}gru.cell.zeros_2", "geco_C_ema", "geco_beta"}


def test_geco_goes_on_where_it_was(tmp_path):
    path = write(tmp_path / "a.pth", released_parameters(), step=5000)
    geco = load_released(path, geco=Geco(-1.2)).model.objective.geco
    assert (geco.average.item(), geco.zeta.item(), geco.step.item()) == (-12.5, 0.75, 5000)
    assert geco.active


def test_gradients_are_renamed_like_weights():
    model = EfficientMORL(slot_dim=D, feature_dim=F)
    gradients = {name: torch.randn_like(p) for name, p in model.named_parameters()}
    named = to_released(gradients)
    assert {name: tuple(value.shape) for name, value in named.items()} == released_shapes()
    back = from_released(named)
    assert back.keys() == gradients.keys()
    assert all(torch.equal(back[name], value) for name, value in gradients.items())


@pytest.mark.parametrize("cell", [DualGRU, PlainGRU])
def test_a_model_of_ours_can_be_written_for_the_released_code(cell):
    model = EfficientMORL(slot_dim=D, feature_dim=F, cell=cell, decoder=IodineDecoder)
    named = to_released(model.state_dict())
    expected = released_shapes(dual_gru=cell is DualGRU, decoder=IODINE)
    assert {name: tuple(value.shape) for name, value in named.items()} == expected


class Harmful:
    def __reduce__(self):
        return print, ("code in a checkpoint has run",)


def test_a_file_cannot_run_code(tmp_path, capsys):
    path = write(tmp_path / "a.pth", released_parameters(), kl_beta=Harmful())
    with pytest.raises((pickle.UnpicklingError, ValueError), match=r"Weights only load failed|Expected .*a\.pth"):
        load_released(path)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("missing", ["step", "model", "model_opt", "kl_beta"])
def test_a_file_without_all_its_parts_is_refused(tmp_path, missing):
    path = write(tmp_path / "a.pth", released_parameters())
    content = torch.load(path, weights_only=True)
    del content[missing]
    torch.save(content, path)
    with pytest.raises(ValueError, match=rf"Expected .*a\.pth to contain step, model.* but it lacks \['{missing}'\]"):
        load_released(path)


@pytest.mark.parametrize("content", [torch.zeros(3), [1, 2], {"state_dict": {}}])
def test_another_kind_of_file_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(ValueError, match="to contain step, model, model_opt and kl_beta, but it lacks"):
        load_released(tmp_path / "a.pth")


@pytest.mark.parametrize("named", [{}, {"conv.weight": torch.zeros(3)}])
def test_a_checkpoint_of_another_model_is_refused(tmp_path, named):
    with pytest.raises(ValueError, match="to contain the parameters of the authors' EfficientMORL"):
        load_released(write(tmp_path / "a.pth", named))


REQUIRED = [
    "to_q.weight",
    "gru.cell.weight_in_2",
    "init_posterior",
    "image_decoder.decode.4.bias",
    "encoder_pt_1.0.bias",
]


@pytest.mark.parametrize("name", REQUIRED)
def test_a_missing_parameter_is_named(tmp_path, name):
    named = released_parameters()
    del named[HVAE + name]
    with pytest.raises(ValueError, match=rf"Expected .*a\.pth to.*{re.escape(name)}"):
        load_released(write(tmp_path / "a.pth", named))


def test_a_target_that_finds_itself_has_a_warm_start_before_it(tmp_path):
    path = write(tmp_path / "a.pth", released_parameters())
    assert load_released(path, geco=Geco(-1.2)).model.objective.geco.step > 0
    assert load_released(path, geco=Geco("auto")).model.objective.geco.step == 0


@pytest.mark.parametrize("shape", [(D, D + 1), (D * D,), (2 * D, D // 2)])
def test_a_misshapen_parameter_is_named(tmp_path, shape):
    named = released_parameters() | {f"{HVAE}to_q.weight": torch.zeros(shape)}
    with pytest.raises(ValueError, match=r"to fit the model.*'hvae_networks.to_q.weight'\] missing or misshapen"):
        load_released(write(tmp_path / "a.pth", named))


def test_an_unknown_parameter_is_named(tmp_path):
    named = released_parameters() | {"refinenet.surprise": torch.zeros(3)}
    with pytest.raises(ValueError, match=r"\['refinenet.surprise'\] are unknown"):
        load_released(write(tmp_path / "a.pth", named))


def test_a_file_without_geco_does_not_fit_a_model_with_it(tmp_path):
    path = write(tmp_path / "a.pth", released_parameters(geco=False))
    with pytest.raises(ValueError, match="'geco_C_ema', 'geco_beta'"):
        load_released(path, geco=Geco(-1.2))


def test_a_text_file_is_refused(tmp_path):
    (tmp_path / "a.pth").write_text("not a checkpoint")
    with pytest.raises(ValueError, match=r"Expected .*a\.pth"):
        load_released(tmp_path / "a.pth")
