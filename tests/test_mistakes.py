"""Mistyped options and values, in every command: one line on stderr with a suggestion, and status 2."""

import shlex

import pytest

from emorl.data.cli import main as data
from emorl.evaluation.cli import main as evaluate
from emorl.study.cli import main as study

FILES = {
    "key.yaml": "model:\n  optimzer:\n    class_path: torch.optim.Adam\n",
    "trainer.yaml": "trainer:\n  max_stpes: 4\n",
    "network.yaml": "model: {network: {class_path: emorl.model.EfficientMORL, init_args: {num_slot: 4}}}\n",
    "value.yaml": "model:\n  crop: sqare\n",
    "class.yaml": "model:\n  network: emorl.model.EfficientMRL\n",
    "callback.yaml": "trainer:\n  callbacks:\n  - class_path: emorl.callbacks.Clok\n",
    "muon.yaml": "model:\n  optimizer:\n    class_path: emorl.optim.Muon\n    init_args:\n      lr: 1\n",
    "broken.yaml": "model: [\n",
    "data.yaml": "train: 5\nvall: 4\n",
}
AVERAGED = "--trainer.callbacks+=emorl.callbacks.AveragedWeights"
LR = "--model.optimizer.init_args.lr"
EMORL = [
    (f"fit {LR}r 1", f"unknown option {LR}r; did you mean {LR}?"),
    ("fit --model.optimizer.lrr 1", f"unknown option --model.optimizer.lrr; did you mean {LR}?"),
    ("fit --model.optimzer.init_args.lr 1", f"did you mean {LR}?"),
    ("fit --optimizer.lr=1", f"unknown option --optimizer.lr; did you mean {LR}?"),
    ("fit --lr 1", f"unknown option --lr; did you mean {LR}?"),
    ("fit -c muon.yaml --model.optimizer.init_args.momentm 1", "did you mean --model.optimizer.init_args.momentum?"),
    ("fit --pretraned tetrominoes", "did you mean --pretrained?"),
    ("fit --trainer.max_step 3", "unknown option --trainer.max_step; did you mean --trainer.max_steps?"),
    ("fit --data.train 800", "unknown option --data.train"),
    ("predict --outptu_dir x", "did you mean --output_dir?"),
    ("fit --model.network.init_args.num_slot 3", "did you mean --model.network.init_args.num_slots?"),
    ("fit --model.network.decoder.strde 3", "did you mean --model.network.init_args.decoder.init_args.stride?"),
    ("fit --model.network SlotAttention --model.network.num_slts 3", "--model.network.init_args.num_slots?"),
    (f"fit {AVERAGED} --trainer.callbacks.decay x", "--trainer.callbacks.decay: expected float or null, got 'x'"),
    (f"fit {AVERAGED} --trainer.callbacks.dcay 1", "unknown option --trainer.callbacks.dcay"),
    ("fit --model.optimizer.lr nan", "--model.optimizer.lr: expected float, got 'nan'"),
    ("fit -c muon.yaml --model.optimizer.lr nan", "--model.optimizer.lr: expected float, got 'nan'"),
    (
        "fit --model.network.geco Geco --model.network.geco.target x",
        "geco.target: expected float or one of auto or null, got 'x'",
    ),
    ("fit --zzzz 1", "unknown option --zzzz; see emorl fit --help"),
    ("fit --model.network torch.nn.Linear", "--model.network: expected a subclass of SlotModel or null, got"),
    ("fit --curriculum.phases '{0: null}'", "Expected null in 'phases' only at the end"),
    ("fit --curriculum.kl_weights '{0: 0.1, 3.7: 1}'", "Expected whole numbers as the steps of 'kl_weights', got"),
    ("predict strayword", "unexpected argument 'strayword'; did you mean --output_dir strayword?"),
    ("fit strayword", "unexpected argument 'strayword'"),
    ("fit tetrominoes-fast", "unexpected argument 'tetrominoes-fast'; did you mean -c tetrominoes-fast?"),
    ("fit --trainer.max_steps 3 value.yaml", "unexpected argument 'value.yaml'; did you mean -c value.yaml?"),
    ("test tetrominoes", "unexpected argument 'tetrominoes'; did you mean --pretrained tetrominoes?"),
    ("predict a/last.ckpt", "unexpected argument 'a/last.ckpt'; did you mean --ckpt_path a/last.ckpt?"),
    ("fit --classes a.B c.D", "unexpected argument 'c.D'; give several values as a list: --classes '[a.B, c.D]'"),
    ("fit --classes=a.B c.D", "unexpected argument 'c.D'; give several values as a list: --classes '[a.B, c.D]'"),
    ("fit -c key.yaml", "key.yaml: unknown key model.optimzer.class_path; did you mean model.optimizer?"),
    ("fit -c trainer.yaml", "trainer.yaml: unknown key trainer.max_stpes; did you mean trainer.max_steps?"),
    (
        "fit --config=network.yaml",
        "network.yaml: unknown key model.network.num_slot; did you mean model.network.init_a",
    ),
    ("fit -c value.yaml", "value.yaml: model.crop: expected one of square, center"),
    ("fit -c class.yaml", "class.yaml: model.network: expected a class, got 'emorl.model.EfficientMRL'; did you mean"),
    ("fit -c callback.yaml", "callback.yaml: trainer.callbacks: expected a class, got 'emorl.callbacks.Clok'; did you"),
    (
        "fit -c broken.yaml",
        "broken.yaml: expected a YAML file, got a file of another format, or with a mis",
    ),
    ("fit --model.crop sqare", "got 'sqare'; did you mean square?"),
    ("fit --data.train_labels [segmentaton]", "got 'segmentaton'; did you mean segmentation?"),
    ("fit --trainer.precision bf16-mixd", "did you mean bf16-mixed?"),
    (
        "fit --model.network SlotAttenton",
        "--model.network: expected a class, got 'SlotAttenton'; did you mean SlotAtte",
    ),
    ("fit --model.network emorl.model.SlotAttenton", "did you mean emorl.model.SlotAttention?"),
    (
        "fit --model.network mine.Model",
        "'mine.Model': there is no module mine; put the folder of mine on PYTHONPATH",
    ),
    ("fit --model.network SlotModl", "got 'SlotModl'; give "),
    ("fit --model.network.decoder SmalDecoder", "--model.network.decoder: expected a class, got 'SmalDecoder'; did"),
    ("fit --model.optimizer torch.optim.Adm", "got 'torch.optim.Adm'; did you mean torch.optim.Adam?"),
    ("fit --model.optimizer torch.optm.Adam", "got 'torch.optm.Adam'; did you mean Adam?"),
    ("fit --trainer.logger CSVLoger", "did you mean CSVLogger?"),
    ("fit --trainer.callbacks+=emorl.callbacks.Clok", "did you mean emorl.callbacks.Clock?"),
    ("fit --trainer.strategy ddpp", "got 'ddpp'; did you mean ddp?"),
    ("fit --trainer.accelerator gpuu", "got 'gpuu'; did you mean gpu?"),
    ("fit --trainer.max_steps abc", "--trainer.max_steps: expected int, got 'abc'"),
    ("fit --trainer.enable_progress_bar maybe", "expected bool or null, got 'maybe'"),
    ("fit --pretrained tetrominos", "did you mean tetrominoes?"),
    ("test --pretrained slot_atention/tetrominoes", "did you mean slot_attention/tetrominoes?"),
    ("fti", "got 'fti'; did you mean fit?"),
    ("-c tetrominoes-fast fit", "got -c; options follow the subcommand: emorl fit -c tetrominoes-fast"),
    ("--config=mine.yaml test --output_dir x", "the subcommand: emorl test --config=mine.yaml --output_dir x"),
    (
        "-c mine.yaml",
        "got -c; options follow the subcommand: one of fit, validate, test, predict, recipes, export, exp",
    ),
    ("--out x recipes copy", "got --out; options follow the subcommand: emorl recipes --out x copy"),
    ("fit --data.recursive maybe", "--data.recursive: expected bool, got 'maybe'"),
    ("fit --data.recursve maybe", "unknown option --data.recursve; did you mean --data.recursive?"),
    ("fit --zzzz maybe", "unknown option --zzzz; see emorl fit --help"),
]
OTHERS = [
    (data, "generate tetrominoes x --trai 3", "unknown option --trai; did you mean --train?"),
    (study, "a b --see 3", "unknown option --see; did you mean --seeds?"),
    (evaluate, "report a b c --score_siz 3", "unknown option --score_siz; did you mean --score_size?"),
    (data, "genrate", "expected one of generate, convert, export, info, verify, preview, got 'genrate'; did you mean"),
    (
        data,
        "generate tetrominos x",
        "generate: error: expected one of tetrominoes, multi_dsprites, clevr, got",
    ),
    (data, "generate tetrominoes x --trian 5", "unknown option --trian; did you mean --train?"),
    (data, "generate tetrominoes x --variant standrd", "got 'standrd'; did you mean standard?"),
    (data, "generate tetrominoes x --config data.yaml", "data.yaml: unknown key vall; did you mean val?"),
    (data, "generate tetrominoes x --train=-3", "--train: expected a whole number, 0 or more, got -3"),
    (data, "generate tetrominoes x --train 1.5", "--train: expected a whole number, 0 or more, got 1.5"),
    (data, "preview a b.png", "unexpected argument 'b.png'; did you mean --output b.png?"),
    (data, "info a b", "error: unexpected argument 'b'"),
    (data, "generate clevr x --size 0", "--size: expected a whole number above 0 or null, got 0"),
    (data, "generate clevr x --size=-4", "--size: expected a whole number above 0 or null, got -4"),
    (data, "generate clevr x --size big", "--size: expected a whole number above 0 or null, got big"),
    (data, "convert folder a b --size 0", "--size: expected a whole number above 0 or null, got 0"),
    (evaluate, "slots a b c --test_draws 0", "--test_draws: expected a whole number above 0 or null, got 0"),
    (evaluate, "slots a b c --steps=-1", "--steps: expected a whole number, 0 or more, or null, got -1"),
    (
        data,
        "generate tetrominoes",
        "the following arguments are required: out; see emorl-data generate tetrominoes --help",
    ),
    (evaluate, "drwas", "got 'drwas'; did you mean draws?"),
    (evaluate, "draws --cuont 3 a b c", "emorl-evaluate draws: error: unknown option --cuont; did you mean --count?"),
    (evaluate, "representation a b c --scenes 3", "unknown option --scenes; did you mean --count?"),
    (evaluate, "draws tetrominos b c", "did you mean tetrominoes?"),
    (study, "a b --sed 3", "emorl-study: error: unknown option --sed; did you mean --seeds?"),
    (data, "--train 3 generate tetrominoes x", "emorl-data: error: expected a subcommand, got --train; options follow"),
    (evaluate, "-c mine.yaml draws a b c", "options follow the subcommand: emorl-evaluate draws -c mine.yaml a b c"),
    (data, "generate --train 3 tetrominoes x", "the subcommand: emorl-data generate tetrominoes --train 3 x"),
    (
        data,
        "convert folder a b --recursive maybe",
        "error: expected true, false or no value after --recursive, got",
    ),
    (data, "convert folder a --recursive b c", "error: unexpected argument 'c'"),
    (evaluate, "draws a b c --classes a.B c.D", "give several values as a list: --classes '[a.B, c.D]'"),
    (study, "a", "the following arguments are required: out; see emorl-study --help"),
]


@pytest.fixture(autouse=True)
def _files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, content in FILES.items():
        (tmp_path / name).write_text(content)


def error_of(capsys):
    lines = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("Seed set to")]
    assert len(lines) == 1, lines
    assert ": error: " in lines[0]
    return lines[0]


@pytest.mark.parametrize(("words", "expected"), EMORL, ids=[words for words, _ in EMORL])
def test_emorl_says_what_was_meant(words, expected, emorl, capsys):
    with pytest.raises(SystemExit) as caught:
        emorl(*shlex.split(words))
    assert caught.value.code == 2
    assert expected in error_of(capsys)


@pytest.mark.parametrize("words", ["fit strayword", "validate strayword", "fit --outptu_dir x"])
def test_an_option_that_the_subcommand_refuses_is_not_suggested(words, emorl, capsys):
    with pytest.raises(SystemExit):
        emorl(*words.split())
    assert "output_dir" not in error_of(capsys)


@pytest.mark.parametrize(("main", "words", "expected"), OTHERS, ids=[words for _, words, _ in OTHERS])
def test_the_other_commands_say_what_was_meant(main, words, expected, capsys):
    try:
        status = main(words.split())
    except SystemExit as exit_:
        status = exit_.code
    assert status == 2
    assert expected in error_of(capsys)


EMPTY = [  # as by a variable of the shell that is not set
    ("fit", "-c", "tetrominoes-fast", "--data.root", ""),
    ("fit", "--data.root="),
    ("fit", "-c", ""),
    ("fit", "--config="),
    ("test", "--pretrained", ""),
    ("test", "--ckpt_path="),
    ("predict", "--pretrained=tetrominoes", "--output_dir", ""),
    ("fit", "--data.cache", ""),
    ("explore", "--out", ""),
    ("explore", ""),
    ("export", "tetrominoes", ""),
    ("recipes", "copy", "--out", ""),
]


@pytest.mark.parametrize("words", EMPTY, ids=" ".join)
def test_an_empty_value_is_told_with_its_option(words, emorl, capsys):
    with pytest.raises(SystemExit) as caught:
        emorl(*words)
    assert caught.value.code == 2
    options = [word.rstrip("=") for word in words if word.startswith("-") and not word.startswith("--pretrained=")]
    where = options[-1] if options else "arguments"
    assert f" error: {where}: expected a value, got an empty one; give one" in error_of(capsys)


def test_an_empty_folder_is_not_the_working_directory(tmp_path, capsys):
    assert data(["generate", "tetrominoes", "", "--train", "1"]) == 2
    assert "arguments: expected a value, got an empty one" in error_of(capsys)
    assert {path.name for path in tmp_path.iterdir()} == FILES.keys()


def test_a_logger_may_have_no_name(emorl, capsys):
    options = ("--trainer.logger.save_dir=runs", "--trainer.logger.name", "", "--print_config")
    with pytest.raises(SystemExit) as caught:
        emorl("fit", "--trainer.logger", "CSVLogger", *options)
    assert caught.value.code in (0, None)
    assert "name: ''" in capsys.readouterr().out
