"""The HTML report: a self-contained page with the numbers of metrics.json."""

import base64
import io
import json
import re
import shutil
from html.parser import HTMLParser

import pytest
import torch
from jsonargparse import auto_cli
from PIL import Image

import tiny
from emorl.callbacks import TestReport
from emorl.data.shards.manifest import Manifest
from emorl.evaluation.inputs import load_scenes
from emorl.evaluation.report.paper import published
from emorl.evaluation.report.report import report
from emorl.evaluation.report.run import read_run
from emorl.evaluation.report.sections import decompositions, examples
from emorl.evaluation.studies.layers import Readings
from emorl.results import LABELS
from emorl.viz import colorize

VOID = {"meta", "img", "br", "hr"}
METRICS = """epoch,step,train/kl,train/nll,train/refinement_steps,train/zero_step/nll,val/fg_ari,val/zero_step/fg_ari
0,49,10.5,200,3.0,210,,
0,99,,,,,0.5,0.25
0,99,11.5,190,1.0,205,,
0,149,12.5,180,1.0,200,,
0"""  # the last row is incomplete
NAMES = ["paper", "scores", "training", "scenes", "distribution", "layers", "traversals", "record"]


class Page(HTMLParser):
    """The elements of a page: (tag, attributes), and the text within each section, table, row and cell."""

    def __init__(self, text):
        super().__init__()
        self.open, self.elements, self.headings, self.headline, self.tables, self.text = [], [], [], [], {}, ""
        self.section = None
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.elements.append((tag, attributes))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "section":
            self.section = attributes["id"]
        if tag == "tbody":
            self.tables.setdefault(self.section, {})
        if tag in ("th", "td"):
            self.cell = ""
        if tag == "tr":
            self.row = []

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
        if tag in ("th", "td"):
            self.row.append(self.cell)
        if tag == "tr" and "tbody" in self.open:
            self.tables[self.section][self.row[0]] = self.row[1:]

    def handle_data(self, data):
        if self.open and self.open[-1] in ("th", "td"):
            self.cell += data
        if self.open and self.open[-1] == "dt":
            self.headline.append((data, ""))
        if self.open and self.open[-1] == "dd":
            self.headline[-1] = (self.headline[-1][0], data)
        if self.open and self.open[-1] in ("h1", "h2"):
            self.headings.append((self.open[-1], data))
        if "style" not in self.open:
            self.text += data

    def attributes(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def module(**arguments):
    return tiny.module(network=tiny.lively(tiny.network()), **arguments)


@pytest.fixture(scope="module")
def out(shards, tmp_path_factory):
    """A report of a run whose name and configuration contain HTML."""
    folder = tmp_path_factory.mktemp("report")
    run = folder / '<b id="x">&amp;'
    model = tiny.saved(module(test_refinement_steps=2), run / "checkpoints" / "last.ckpt")
    (run / "metrics.csv").write_text(METRICS)
    (run / "config.yaml").write_text("name: </pre><script>alert(1)</script> {{ 7 * 7 }}\n")
    (run / "versions.json").write_text(json.dumps({"emorl": "0.0.7", "git": None}))
    auto_cli({"report": report}, args=["report", model, str(shards), str(folder / "out")])
    return folder / "out"


@pytest.fixture(scope="module")
def page(out):
    return Page((out / "report.html").read_text())


def test_the_page_is_complete_and_self_contained(page, out):
    assert page.open == []
    for _, attributes in page.elements:
        assert attributes.get("src", "data:image/png;base64,").startswith("data:image/png;base64,")
        assert attributes.get("href", "#").startswith("#")
        assert "srcset" not in attributes
        assert not any(name.startswith("on") for name in attributes)
    assert not {"script", "link", "iframe", "object", "base"} & {tag for tag, _ in page.elements}
    style = re.search("<style>(.*)</style>", (out / "report.html").read_text(), re.DOTALL)[1]
    assert "url(" not in style
    assert "@import" not in style


def test_every_picture_is_embedded_and_written_as_a_file(page, out):
    files = {path.read_bytes() for path in out.glob("*.png")}
    images = page.attributes("img")
    assert len(images) == len(files) == 3 + 3 + 1 + 2 + 1  # curves, examples, distribution, layers, traversals
    for image in images:
        content = base64.b64decode(image["src"].partition(",")[2], validate=True)
        assert content in files
        with Image.open(io.BytesIO(content)) as picture:
            picture.load()
            assert picture.size == (int(image["width"]), int(image["height"]))
        assert len(image["alt"]) > 20
    names = {path.name for path in out.iterdir() if path.suffix != ".png"}
    assert names == {"report.html", "metrics.json"}  # and no temporary files


def test_headings_lead_to_their_sections(page):
    assert page.headings[0] == ("h1", "EfficientMORL on Tetrominoes")
    assert [tag for tag, _ in page.headings[1:]] == ["h2"] * len(NAMES)
    assert [attributes["id"] for attributes in page.attributes("section")] == NAMES
    assert [attributes["href"] for attributes in page.attributes("a")] == [f"#{name}" for name in NAMES]
    assert {attributes["scope"] for attributes in page.attributes("th")} == {"col", "row"}
    assert page.attributes("html") == [{"lang": "en"}]


def assert_shows(text, score, factor=1):
    """Check a standard error of two significant digits, and a mean that is rounded to it."""
    mean, error = map(float, text.split(" ± "))
    assert mean == pytest.approx(factor * score["mean"], abs=0.06 * factor * score["standard_error"])
    assert error == pytest.approx(factor * score["standard_error"], rel=0.06)
    assert "e" not in text or "e-" in text


def test_numbers_are_those_of_metrics_json(page, out):
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics.keys() == {"I=0", "I=2"}
    table = dict(page.tables["scores"])
    for name, label in LABELS.items():
        for text, key in zip(table.pop(label), ("I=0", "I=2"), strict=True):
            assert_shows(text, metrics[key][name])
    for number in (1, 2, 3):
        text, nothing = table.pop(f"KL, layer {number}")
        assert_shows(text, metrics["I=0"][f"kl_layers/{number}"])
        assert nothing == ""
    assert not table
    for steps in (0, 2):
        assert_shows(page.tables["paper"][f"this model, I = {steps}"][0], metrics[f"I={steps}"]["fg_ari"], factor=100)
    assert [text for _, text in page.headline] == [
        page.tables["scores"][score][column] for score in ("FG-ARI", "MSE") for column in (0, 1)
    ]
    assert page.tables["paper"]["paper: EfficientMORL"] == ["98.2 ± 1.8"]
    assert "standard deviation over five seeds" in page.text


def test_metrics_json_equals_that_of_emorl_test(out, shards, tmp_path):
    trainer = tiny.trainer(tmp_path, callbacks=TestReport(str(tmp_path)))
    trainer.test(module(test_refinement_steps=2), tiny.data(shards), verbose=False)
    expected, found = (json.loads((folder / "metrics.json").read_text()) for folder in (tmp_path, out))
    assert found.keys() == expected.keys()
    for key, scores in expected.items():
        assert found[key].keys() == scores.keys()
        for name, score in scores.items():
            assert found[key][name] == pytest.approx(score, rel=1e-4)


def test_text_is_escaped(page, out, shards):
    assert '<b id="x">&amp;/checkpoints/last.ckpt, scored on 5 scenes' in page.text
    assert "name: </pre><script>alert(1)</script> {{ 7 * 7 }}" in page.text
    assert not {"b", "script"} & {tag for tag, _ in page.elements}


def test_the_page_shows_its_provenance(page, shards):
    record = page.tables["record"]
    assert record["manifest checksum"] == [Manifest.load(shards).checksum]
    assert record["scenes"] == ["5 of the split test"]
    assert record["parameters"] == [str(sum(p.numel() for p in module().network.parameters()))]
    assert record["git"] == ["None"]


def test_without_a_run_and_with_one_scene_and_no_refinement(tmp_path):
    """There are no training curves and no standard errors, and only I = 0."""
    root = tiny.write(tmp_path / "data", test=1)
    report(tiny.saved(module(test_refinement_steps=0), tmp_path / "a.ckpt"), str(root), tmp_path)
    page = Page((tmp_path / "report.html").read_text())
    assert "training" not in {attributes["id"] for attributes in page.attributes("section")}
    mean = json.loads((tmp_path / "metrics.json").read_text())["I=0"]["mse"]["mean"]
    assert page.tables["scores"]["MSE"] == [f"{mean:.4g}"]
    assert "config.yaml" not in page.text
    assert list(page.tables["layers"]) == ["layer 1", "layer 2", "layer 3"]


def test_a_run_is_read_as_it_was_logged(out):
    run = read_run(str(next(out.parent.glob("*/checkpoints/last.ckpt"))))
    assert run.history["train/kl"] == [(49, 10.5), (99, 11.5), (149, 12.5)]
    assert run.history["val/fg_ari"] == [(99, 0.5)]
    assert run.switches == [99]
    assert run.versions == {"emorl": "0.0.7", "git": None}


def test_a_checkpoint_elsewhere_has_no_run(out, tmp_path):
    shutil.copytree(next(out.parent.glob("*/checkpoints")), tmp_path / "elsewhere")
    assert read_run(str(tmp_path / "elsewhere" / "last.ckpt")).config == ""


@pytest.mark.parametrize(
    ("dataset", "variant", "objects", "expected"),
    [
        ("tetrominoes", "standard", 3, 98.2),
        ("multi_dsprites", "colored_on_grayscale", 5, 91.2),
        ("clevr", "standard", 6, 96.2),
    ],
)
def test_the_papers_numbers_are_chosen_by_the_data(dataset, variant, objects, expected):
    assert published(dataset, variant, objects).scores["EfficientMORL"][0] == expected


@pytest.mark.parametrize(
    "data",
    [
        ("clevr", "standard", 10),
        ("clevr", "folder", 6),
        ("tetrominoes", "folder", 3),
        ("multi_dsprites", "binarized", 3),
        ("mine", "", 3),
    ],
)
def test_other_data_have_none(data):
    assert published(*data) is None


def test_examples_are_the_best_the_median_and_the_worst(shards, tmp_path):
    model = module(test_refinement_steps=0).eval()
    fg_ari = torch.tensor([[0.3, 0.9, 0.1, 0.7, 0.5]]).double()
    section = examples(model, load_scenes(str(shards), model), Readings(["layer 3"], [0], fg_ari, fg_ari), tmp_path)
    assert [(picture.path.name, picture.caption) for picture in section.pictures] == [
        ("best.png", "The best scenes by FG-ARI: 1 (0.900), 3 (0.700), 4 (0.500)."),
        ("median.png", "The median scenes by FG-ARI: 3 (0.700), 4 (0.500), 0 (0.300)."),
        ("worst.png", "The worst scenes by FG-ARI: 4 (0.500), 0 (0.300), 2 (0.100)."),
    ]


def test_the_true_segmentation_is_shown_with_the_masks(shards):
    model = module(test_refinement_steps=0).eval()
    scenes = load_scenes(str(shards), model)
    picture = decompositions(model, scenes, [3, 1], ["three", "one"])
    assert torch.equal(tiny.tile(picture, 0, 0, 2, 9), scenes.image[3])
    assert torch.equal(tiny.tile(picture, 1, 4, 2, 9), colorize(scenes.segmentation[1]))
