"""Comparison with numbers of the authors' code, and detection of wrong numbers."""

import copy
import importlib.util
import json
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
FILES = sorted((TESTS / "golden").glob("*.json"))


@pytest.fixture(scope="module")
def check_golden():
    spec = importlib.util.spec_from_file_location("check_golden", TESTS.parent / "tools" / "check_golden.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def content():
    return {path.stem: json.loads(path.read_text()) for path in FILES}


def test_all_files_exist():
    assert len(FILES) == 14


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_reproduces_the_released_code(check_golden, path):
    assert check_golden.main([str(path)]) == 0


def test_reproduces_the_released_code_in_single_precision(check_golden):
    assert check_golden.main([str(TESTS / "golden" / "b_three_steps.json"), "--float32"]) == 0


def shift(by):
    return lambda value: value * (1 + by)


def nan(_):
    return float("nan")


PERTURBED = {
    "loss": ("a_zero_steps", ("steps", 0, "total_loss"), shift(1e-5)),
    "kl": ("a_zero_steps", ("steps", 0, "kl_layers_stage0", 2), shift(1e-5)),
    "nll_nan": ("a_zero_steps", ("steps", 0, "nll_per_stage", 0), nan),
    "gradient_norm": ("a_zero_steps", ("steps", 0, "grad_norm"), shift(1e-4)),
    "gradient": ("a_zero_steps", ("steps", 0, "grads", "hvae_networks.to_q.weight", "dot"), shift(1e-2)),
    "gradient_nan": ("a_zero_steps", ("steps", 0, "grads", "hvae_networks.to_q.weight", "norm"), nan),
    "tensor": ("a_zero_steps", ("steps", 0, "rgb_stage0", "norm"), shift(1e-5)),
    "parameter": ("a_zero_steps", ("params", 0, "seed"), lambda seed: seed + 1),
    "sigma": ("a_zero_steps", ("case", "sigma"), shift(1e-4)),
    "noise": ("a_zero_steps", ("noise",), lambda order: order[::-1]),
    "refinement": ("g_plain_gru_two_layers", ("steps", 0, "delta_norms", 0), shift(1e-5)),
    "later_step": ("k_geco_relaxing", ("steps", 3, "beta"), shift(1e-3)),
    "later_step_nan": ("k_geco_relaxing", ("steps", 3, "total_loss"), nan),
    "baseline": ("j_slot_attention", ("out", "loss"), shift(1e-5)),
    "iodine_loss": ("l_iodine_release", ("total_loss",), shift(1e-8)),
    "iodine_nll": ("m_iodine_sprites", ("steps", 0, "nll", 1), shift(1e-8)),
    "iodine_kl": ("m_iodine_sprites", ("steps", 3, "kl", 0), shift(1e-8)),
    "iodine_lambda": ("n_iodine_own_gradient", ("steps", 2, "lambda", 1, 0, 7), shift(1e-7)),
    "iodine_drawing": ("n_iodine_own_gradient", ("steps", 3, "colours", "dot"), shift(1e-7)),
    "iodine_input": ("n_iodine_own_gradient", ("steps", 2, "inputs", "dmask", "dot"), shift(1e-7)),
    "iodine_input_nan": ("m_iodine_sprites", ("steps", 1, "inputs", "posterior", "norm"), nan),
    "iodine_gradient": ("l_iodine_release", ("gradients", "lstm.bias", "dot"), shift(1e-6)),
    "iodine_gradient_norm": ("m_iodine_sprites", ("grad_norm",), shift(1e-7)),
    "iodine_gradient_mode": ("n_iodine_own_gradient", ("case", "gradient"), lambda _: "batch mean"),
    "iodine_prior": ("l_iodine_release", ("case", "prior_var"), shift(1e-6)),
    "iodine_scale": ("l_iodine_release", ("case", "scale"), shift(1e-6)),
    "iodine_parameter": ("m_iodine_sprites", ("params", 3, "seed"), lambda seed: seed + 1),
    "baseline_gradient": ("j_slot_attention", ("out", "grads", "init_slots", "norm"), shift(1e-3)),
}


@pytest.mark.parametrize(("name", "where", "change"), PERTURBED.values(), ids=PERTURBED)
def test_a_perturbed_file_fails(check_golden, content, tmp_path, name, where, change):
    perturbed = place = copy.deepcopy(content[name])
    *path, last = where
    for key in path:
        place = place[key]
    place[last] = change(place[last])
    file = tmp_path / "perturbed.json"
    file.write_text(json.dumps(perturbed))
    assert check_golden.main([str(file)]) == 1


def test_a_file_that_is_not_there_is_one_line(check_golden, tmp_path, capsys):
    with pytest.raises(SystemExit):
        check_golden.main([str(tmp_path / "a.json")])
    assert capsys.readouterr().err.endswith("a.json: expected a golden file, got no file; check the path\n")


def test_one_bad_file_fails_all(check_golden, content, tmp_path):
    perturbed = copy.deepcopy(content["a_zero_steps"])
    perturbed["steps"][0]["total_loss"] += 1.0
    bad, good = tmp_path / "bad.json", tmp_path / "good.json"
    bad.write_text(json.dumps(perturbed))
    good.write_text(json.dumps(content["a_zero_steps"]))
    assert check_golden.main([str(bad), str(good)]) == 1
