"""``emorl-evaluate refinement``: scores by the number of steps at test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jsonargparse.typing import NonNegativeInt, PositiveInt

from emorl.classes import ClassPaths
from emorl.evaluation.inputs import LoadedScenes, chosen_steps, load_model, load_scenes
from emorl.evaluation.outputs import check_out, show, tell, write_figure, write_table
from emorl.evaluation.studies.figures import curves
from emorl.evaluation.studies.scores import cells, stage_scores
from emorl.figures import Figure
from emorl.module import SlotModule

SCORES = ("fg_ari", "ari", "fg_miou", "mse", "nll", "kl")
_COUNT, _STEPS = PositiveInt(320), NonNegativeInt(6)


def refinement(
    model: str,
    data: str,
    out: Path,
    split: str = "test",
    count: PositiveInt = _COUNT,
    steps: NonNegativeInt = _STEPS,
    test_draws: PositiveInt | None = None,
    classes: ClassPaths = (),
) -> None:
    """Score each number of steps at test: of refinement, or of attention in Slot Attention.

    Writes OUT/refinement.csv, refinement.md and refinement.png. A column NAME_se is a standard error over scenes. I
    starts at 0, or at 1 if the model has no slots before its first step. For EfficientMORL, zero-step shares compare
    the bottom-up pass with a row: FG-ARI at I = 0 / FG-ARI at I, and MSE at I / MSE at I = 0. KL at I = 0 is a sum over
    layers; after refinement it is one term.

    Args:
        model: Checkpoint of emorl fit, folder of save_pretrained, or name of shipped weights.
        data: Folder of shards: a local path or a URL.
        out: Folder of the table and the figure.
        split: Split of the data set.
        count: Number of scenes from the start of the split.
        steps: Largest I.
        test_draws: Number of draws per image, of which the one with the lowest bound is kept; by default the model's.
        classes: Classes outside emorl.model that the model of a folder may consist of: own_model.SoftKMeans, or
            several: '[own_model.A, own_model.B]'.

    Example:
        ```console
        emorl-evaluate refinement tetrominoes data/tetrominoes out --steps 6
        ```
    """
    check_out(out)
    module = load_model(model, test_draws, classes)
    steps = chosen_steps(module, steps)
    rows = by_steps(module, load_scenes(data, module, split, count), steps)
    show(rows, "Steps I at test: mean ± standard error over scenes")
    if "fg_ari" in rows[0]:
        print(summary(rows))
    tell([*write_table(rows, out, "refinement"), write_figure(figure(rows), out, "refinement")])


def by_steps(module: SlotModule, scenes: LoadedScenes, steps: int) -> list[dict[str, Any]]:
    """Return a row of scores for each I up to ``steps``, with zero-step shares if the model has slots at I = 0.

    >>> from emorl.data.generate.tetrominoes import Tetrominoes
    >>> from emorl.evaluation.studies.robustness import as_seen
    >>> from emorl.model import SlotAttention
    >>> module = SlotModule(SlotAttention(num_slots=3, slot_dim=8), image_size=16)
    >>> [row["I"] for row in by_steps(module, as_seen(module, list(Tetrominoes(2).records())), steps=2)]
    [1, 2]
    """
    scores = stage_scores(module, scenes, range(module.network.min_steps, steps + 1))
    rows = [{"I": i, "scenes": len(scenes.image)} | cells(score, SCORES) for i, score in scores.items()]
    return rows if rows[0]["I"] else [row | zero_step_shares(rows[0], row) for row in rows]


def zero_step_shares(zero: dict[str, Any], row: dict[str, Any]) -> dict[str, float]:
    """Return the quality at I = 0 as a fraction of a row's: of FG-ARI, if known, and of the inverse of MSE.

    The paper's model reaches 99.1 % of its refined quality with zero steps (Emami et al., ICML 2021, abstract).

    >>> zero_step_shares({"fg_ari": 0.9, "mse": 0.2}, {"fg_ari": 1.0, "mse": 0.1})
    {'fg_ari_zero_step_share': 0.9, 'mse_zero_step_share': 0.5}
    """
    return {
        **({"fg_ari_zero_step_share": _share(zero["fg_ari"], row["fg_ari"])} if "fg_ari" in row else {}),
        "mse_zero_step_share": _share(row["mse"], zero["mse"]),
    }


def summary(rows: list[dict[str, Any]]) -> str:
    """Return a sentence that compares the first row's FG-ARI with the best.

    >>> summary([{"I": 0, "fg_ari": 0.9}, {"I": 1, "fg_ari": 1.0}])
    'FG-ARI 0.9000 at I = 0 is 90.0% of the best, 1.0000 at I = 1'
    """
    first = rows[0]
    best = max(rows, key=lambda row: float(row["fg_ari"]))
    if best["fg_ari"] <= 0:
        return f"FG-ARI is {best['fg_ari']:.4f} at best, at I = {best['I']}: no object is found"
    share = f"{first['fg_ari'] / best['fg_ari']:.1%} of the best, {best['fg_ari']:.4f} at I = {best['I']}"
    return f"FG-ARI {first['fg_ari']:.4f} at I = {first['I']} is {share}"


def _share(part: float, whole: float) -> float:
    return part / whole if whole > 0 else float("nan")


def figure(rows: list[dict[str, Any]]) -> Figure:
    """Draw the scores against I.

    Returns:
        A figure with a panel for each score.

    >>> figure([{"I": 0, "scenes": 2, "mse": 0.5, "mse_se": 0.1}]).axes[0].get_xlabel()
    'steps I at test'
    """
    return curves({"": rows}, "I", "steps I at test", SCORES, f"Refinement, {rows[0]['scenes']} scenes")
