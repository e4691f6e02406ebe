"""Recovery: distill.train's stages from a pruned checkpoint with its unpruned parent as teacher; the zeros stay."""

from __future__ import annotations

import shlex
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from core import manifest
from core.config import load
from core.data import Corpus
from core.errors import UserError
from core.model import EncoderSpec, SentenceEncoder, build
from core.pretrained import load_encoder, read_spec, write_encoder
from core.rows import Taxonomy
from core.schema import Experiment, Losses
from core.schema.pruning import PrunedWeights
from core.spec import Excerpt
from distill import fit
from distill.beginning import refuse_cut_heads
from distill.callbacks import StopOnInterrupt
from distill.experiment_run import Run
from distill.stages import make_student, make_teacher
from distill.token_states import Layers
from distill.warm_start import verify
from prune import hidden, magnitude, surgery
from prune import run as pruning

ROOT = Path(__file__).resolve().parents[1]
NO_DATA = (
    "data.train=[README.md]",
    "data.validation=[README.md]",
    "data.test=[]",
    "data.extra={}",
    "data.unlabelled=[]",
)


class Killed(BaseException):
    """Stands for SIGKILL: nothing catches it."""


@pytest.fixture(scope="module")
def pruned(tmp_path_factory: pytest.TempPathFactory, tiny_checkpoint: Path, data: dict[str, list[str]]) -> Path:
    """Unlike heads and neurons in the two layers, and zeros."""
    output = tmp_path_factory.mktemp("pruned")
    asked = {
        "heads": {"remove": 1, "spread": "global"},
        "neurons": {"ratio": 0.3, "spread": "global", "multiple_of": 1},
        "weights": {"ratio": 0.6},
    }
    given = {"name": "p", "output": str(output), "data": data, "checkpoint": str(tiny_checkpoint), "pruning": asked}
    experiment = Experiment.model_validate(given | {"heads": {"max_false_positive_rate": 0.5}})
    assert pruning.work(experiment) == 0
    return output / "pruned"


def recovery(pruned: Path, parent: Path, data: dict[str, list[str]], output: Path, **changed: Any) -> Experiment:
    """The configuration as prune.run names it."""
    spec = read_spec(pruned)
    training = {
        "num_train_epochs": 1, "per_device_train_batch_size": 8, "learning_rate": 1.0e-3, "precision": "fp32",
        "metric_for_best_model": "eval_loss", "logging_steps": 1,
    }  # fmt: skip
    shape = {name: getattr(spec, name) for name in ("layers", "hidden_size", "attention_heads", "intermediate_size")}
    student = {"init": "checkpoint", "name_or_path": str(pruned), "projection": False, "max_length": 128, **shape}
    teacher = {"origin": "pretrained", "name_or_path": str(parent), "training": None}
    given = {"name": "r", "output": str(output), "data": data, "heads": {"max_false_positive_rate": 0.5}}
    given |= {"teacher": teacher, "student": {**student, "training": training, **changed}}
    return Experiment.model_validate(given | {"targets": {"cache_dir": str(output / "cache")}})


def train(experiment: Experiment, corpus: Corpus, resume: bool = False) -> Path:
    provenance = {"seed": experiment.seed, "fingerprints": corpus.fingerprints}
    run = Run(experiment, corpus, Taxonomy.of(corpus.splits["train"]), provenance, resume)
    return make_student(run, make_teacher(run))


def zeros(encoder: SentenceEncoder) -> dict[str, torch.Tensor]:
    matrices = {name: value for name, value in encoder.state_dict().items() if "encoder.layer" in name}
    return {name: value == 0 for name, value in matrices.items() if value.dim() == 2}


@pytest.mark.parametrize("killed_in", [None, 4])
def test_zeros_survive_training_saving_killing_and_resuming(
    pruned: Path,
    tiny_checkpoint: Path,
    tiny_corpus: Corpus,
    data: dict[str, list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    killed_in: int | None,
) -> None:
    class Doomed(StopOnInterrupt):
        def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **_: object) -> None:
            if state.global_step + 1 == killed_in:
                raise Killed

    experiment = recovery(pruned, tiny_checkpoint, data, tmp_path, sparsity={"method": "keep"})
    if killed_in:
        with monkeypatch.context() as patched:
            patched.setattr(fit, "StopOnInterrupt", Doomed)
            with pytest.raises(Killed):
                train(experiment, tiny_corpus)
    made = train(experiment, tiny_corpus, resume=bool(killed_in))
    before, after = load_encoder(pruned), load_encoder(made)
    assert after.spec == replace(before.spec, dropout=0.0)
    assert before.spec.is_cut
    held = zeros(before)
    assert sum(int(part.sum()) for part in held.values()) > 0.59 * sum(part.numel() for part in held.values())
    for name, part in zeros(after).items():
        assert torch.equal(part, held[name]), name
    assert any(not torch.equal(after.state_dict()[name], before.state_dict()[name]) for name in held)
    fields, parent = manifest.read(made).fields, manifest.read(tiny_checkpoint)
    assert fields["parent"] == {"name": "tiny", "digest": parent.digest}
    start = manifest.read(pruned)
    assert fields["started_from"] == {"name": "pruned", "digest": start.digest, "pruned": start.fields["pruned"]}
    assert fields["started_from"]["pruned"]["of"] == fields["parent"]


def test_without_being_told_to_keep_them_the_zeros_go(
    pruned: Path, tiny_checkpoint: Path, tiny_corpus: Corpus, data: dict[str, list[str]], tmp_path: Path
) -> None:
    made = train(recovery(pruned, tiny_checkpoint, data, tmp_path), tiny_corpus)
    left = zeros(load_encoder(made))
    assert sum(int(part.sum()) for part in left.values()) < 0.01 * sum(part.numel() for part in left.values())


def printed(line: str) -> list[str]:
    """What the shell makes of the overrides in a command that was printed, FOLDER left out."""
    return [part for part in shlex.split(line) if part.startswith(("student.", "teacher."))]


def test_the_command_that_is_printed_keeps_the_zeros(
    pruned: Path, tiny_checkpoint: Path, tiny_corpus: Corpus, data: dict[str, list[str]], tmp_path: Path
) -> None:
    fields, held = manifest.read(pruned).fields, zeros(load_encoder(pruned))
    line = pruning.recovery(pruned, read_spec(pruned), tiny_checkpoint, 128, fields["pruned"]["zeros"])
    steps = ["student.training={num_train_epochs: 1, learning_rate: 1.0e-3, precision: fp32}"]
    files = [f"data.{split}={paths}" for split, paths in data.items()]
    rest = ["data.test=[]", "data.extra={}", "data.columns={}", f"output={tmp_path}"]
    rest += [f"targets.cache_dir={tmp_path / 'cache'}", "heads.max_false_positive_rate=0.5"]
    experiment = load(ROOT / "configs" / "plain_64.yaml", [*files, *rest, *steps, *printed(line)])
    for name, part in zeros(load_encoder(train(experiment, tiny_corpus))).items():
        assert torch.equal(part, held[name]), name


def test_the_command_names_the_architecture_and_no_zeros_where_there_are_none(
    tokenizer_folder: Path, tiny_spec: EncoderSpec, tmp_path: Path
) -> None:
    folder, spec = tmp_path / "with a space", replace(tiny_spec, architecture="convolution")
    folder.mkdir()
    write_encoder(folder, build(spec), 64, tokenizer_folder)
    given = printed(pruning.recovery(folder, spec, Path("parent"), 64, zeros=0.0))
    student = load(ROOT / "configs" / "plain_64.yaml", [*NO_DATA, *given]).student
    assert (student.architecture, student.sparsity) == ("convolution", None)
    assert verify(student) == folder  # it refuses what is not the shape of the checkpoint


def test_zeros_that_grow_in_training_reach_cut_layers(
    pruned: Path, tiny_checkpoint: Path, tiny_corpus: Corpus, data: dict[str, list[str]], tmp_path: Path
) -> None:
    """Soft movement on a structurally pruned student: what configs/option_b.yaml does."""
    asked = {"method": "soft_movement", "final_sparsity": 0.9, "score_penalty": 50.0}
    made = train(recovery(pruned, tiny_checkpoint, data, tmp_path, sparsity=asked), tiny_corpus)
    found = zeros(load_encoder(made))
    share = sum(int(part.sum()) for part in found.values()) / sum(part.numel() for part in found.values())
    assert share == pytest.approx(0.9, abs=1e-3)


@pytest.mark.parametrize("name", ["option_b", "option_b_grown", "trimmed_excerpt"])
def test_the_shipped_configurations_prune_and_recover(name: str) -> None:
    """That they say the same shape to both commands."""
    experiment = load(ROOT / "configs" / f"{name}.yaml", NO_DATA)
    student, asked = experiment.student, experiment.pruning
    assert student.init == "checkpoint"
    assert student.name_or_path == experiment.output / asked.name
    assert experiment.teacher.training is None
    assert experiment.needs_teacher
    assert asked.heads.remove > 0


def test_the_recovery_of_a_student_that_reads_excerpts_is_told_so() -> None:
    spec = EncoderSpec(2, 32, 4, 64, layer_heads=((0, 1), (1, 2)), excerpt=Excerpt(16, 5))
    line = pruning.recovery(Path("pruned"), spec, Path("parent"), 64, zeros=0.0)
    student = load(ROOT / "configs" / "trimmed_excerpt.yaml", [*printed(line), *NO_DATA]).student
    assert student.excerpt is not None
    assert student.excerpt.spec == spec.excerpt
    assert "excerpt" not in pruning.recovery(Path("pruned"), replace(spec, excerpt=None), Path("parent"), 64, 0.0)


def test_what_is_cut_off_leaves_the_excerpt_as_it_is() -> None:
    encoder = build(EncoderSpec(3, 32, 4, 64, vocabulary_size=300, excerpt=Excerpt(16, 5))).eval()
    assert encoder.reading is not None
    encoder.reading.token_weights.copy_(torch.arange(300) % 256)
    cut = surgery.keep_neurons(surgery.keep_heads(surgery.keep_layers(encoder, [0, 2]), [[1, 2]] * 2), [[0, 3]] * 2)
    cut = hidden.keep(magnitude.zeroed(cut, PrunedWeights(ratio=0.5)), range(16))
    assert cut.spec.excerpt == encoder.spec.excerpt
    assert cut.reading is not None
    assert torch.equal(cut.reading.token_weights, encoder.reading.token_weights)


@pytest.mark.parametrize(
    ("layers", "terms", "said"),
    [
        (Layers(attention=(1, 2)), {}, r"the student's have 3, 2: set them to 0"),
        (
            Layers(relations=(2,)),
            {},
            r"relation_heads 48 must divide 16, what is left of the student",
        ),
        (Layers(attention=(1,), hidden=(1, 2), relations=(2,)), {"relation_heads": 16}, None),
    ],
)
def test_what_is_left_of_the_heads_must_compare(layers: Layers, terms: dict[str, int], said: str | None) -> None:
    spec = EncoderSpec(2, 32, 4, 64, layer_heads=((0, 1, 3), (1, 2)))
    with pytest.raises(UserError, match=said) if said else nullcontext():
        refuse_cut_heads("student", spec, layers, Losses(**terms))  # type: ignore[arg-type]
