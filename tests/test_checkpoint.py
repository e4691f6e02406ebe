"""core.checkpoint: what is saved comes back bit for bit, damage is named, other libraries read it."""

from __future__ import annotations

import copy
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer
from transformers import BertConfig, BertModel, MPNetConfig, MPNetModel

from core import checkpoint, manifest
from core.checkpoint import Classifier, load_classifier
from core.errors import UserError
from core.folders import new_folder
from core.heads import HEADS, LinearHead
from core.model import SentenceEncoder, build
from core.pipeline import open_pipeline
from core.pretrained import load_encoder, read_spec, write_encoder
from core.rows import Rows
from core.tokenizer import TextTokenizer
from core.torch_encoder import TorchEncoder


@pytest.fixture
def copied(tiny_checkpoint: Path, tmp_path: Path) -> Path:
    """A checkpoint that may be damaged."""
    return Path(shutil.copytree(tiny_checkpoint, tmp_path / "student"))


@pytest.fixture(scope="module")
def projected(tiny_encoder: SentenceEncoder) -> SentenceEncoder:
    """The tiny encoder with a projection to 48 dimensions."""
    torch.manual_seed(3)
    encoder = build(replace(tiny_encoder.spec, projection=48)).eval()
    encoder.transformer.load_state_dict(tiny_encoder.transformer.state_dict())
    return encoder


def heads_of(width: int) -> dict[str, LinearHead]:
    generator = np.random.default_rng(0)
    sizes = zip(HEADS, (1, 2, 3), strict=True)
    return {
        name: LinearHead(
            generator.normal(size=(size, width)).astype(np.float32), generator.normal(size=size).astype(np.float32)
        )
        for name, size in sizes
    }


def same_classifier(left: Classifier, right: Classifier) -> bool:
    """Equal to the last bit."""
    equal = all(
        np.array_equal(left.heads[name].weight, right.heads[name].weight)
        and np.array_equal(left.heads[name].bias, right.heads[name].bias)
        for name in HEADS
    )
    return equal and (left.point, left.taxonomy, left.triggers) == (right.point, right.taxonomy, right.triggers)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("projection", [False, True])
def test_round_trip_is_bit_identical(
    tiny_encoder: SentenceEncoder,
    projected: SentenceEncoder,
    tiny_checkpoint: Path,
    tmp_path: Path,
    dtype: torch.dtype,
    projection: bool,
) -> None:
    encoder = copy.deepcopy(projected if projection else tiny_encoder).to(dtype)
    stored = load_classifier(tiny_checkpoint, manifest.read(tiny_checkpoint).fields)
    classifier = replace(stored, heads=heads_of(encoder.spec.embedding_size))
    written = checkpoint.save(tmp_path / "student", encoder, classifier, 64, tiny_checkpoint, {"seed": 5})
    assert written == manifest.read(tmp_path / "student")
    assert (written.name, written.kind, written.max_length, written.fields["seed"]) == ("student", "torch", 64, 5)
    assert written.fields["embedding_dim"] == encoder.spec.embedding_size
    loaded = load_encoder(tmp_path / "student")
    assert loaded.spec == encoder.spec
    assert loaded.state_dict().keys() == encoder.state_dict().keys()
    for name, value in loaded.state_dict().items():
        assert value.dtype == dtype, name
        assert torch.equal(value, encoder.state_dict()[name]), name
    assert same_classifier(load_classifier(tmp_path / "student", written.fields), classifier)
    assert {path.name for path in tmp_path.iterdir()} == {"student"}


def test_saving_again_gives_the_same_content(
    tiny_encoder: SentenceEncoder, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    before = manifest.read(tiny_checkpoint)
    classifier = load_classifier(tiny_checkpoint, before.fields)
    again = checkpoint.save(tmp_path / "other", tiny_encoder, classifier, 128, tiny_checkpoint, {})
    assert again.digest == before.digest


def test_the_type_can_be_chosen(tiny_checkpoint: Path) -> None:
    assert {value.dtype for value in load_encoder(tiny_checkpoint, torch.float16).parameters()} == {torch.float16}


def test_every_file_is_listed_and_one_flipped_bit_in_any_is_named(copied: Path) -> None:
    listed = manifest.read(copied).fields["files"]
    present = {str(path.relative_to(copied)) for path in copied.rglob("*") if path.is_file()}
    assert set(listed) == present - {manifest.NAME}
    assert {"model.safetensors", "heads.safetensors", "tokenizer.json", "taxonomy.json"} <= set(listed)
    for name in listed:
        whole = (copied / name).read_bytes()
        middle = len(whole) // 2
        (copied / name).write_bytes(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :])
        with pytest.raises(UserError, match=f"{name} does not match its SHA-256"):
            open_pipeline(copied)
        (copied / name).unlink()
        with pytest.raises(UserError, match=f"{name} is missing"):
            open_pipeline(copied)
        (copied / name).write_bytes(whole)
    open_pipeline(copied)


# --- folders that fit no model -------------------------------------------------------------------------------------


def change_config(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_hidden_layers": 1}, r"encoder\.layer\.1\..* has no place in a model of 1 layers"),
        ({"num_hidden_layers": 3}, r"encoder\.layer\.2\..* is missing"),
        ({"hidden_size": 64}, r"word_embeddings\.weight is \(30527, 32\), config\.json asks \(30527, 64\)"),
        ({"intermediate_size": 48}, r"intermediate\.dense\.weight is \(64, 32\), config\.json asks \(48, 32\)"),
        ({"num_attention_heads": 8}, r"relative_attention_bias\.weight is \(32, 4\), config\.json asks \(32, 8\)"),
        ({"vocab_size": 30522}, r"word_embeddings\.weight is"),
        ({"max_position_embeddings": 130}, r"position_embeddings\.weight is"),
    ],
)
def test_weights_of_another_shape_are_refused(copied: Path, changes: dict[str, int], message: str) -> None:
    change_config(copied, **changes)
    with pytest.raises(UserError, match=f"student: the weights have another shape than config.json says: .*{message}"):
        load_encoder(copied)


@pytest.mark.parametrize("weight", [torch.zeros(48, 31), torch.zeros(47, 32), None])
def test_a_projection_of_another_shape_is_refused(
    projected: SentenceEncoder, tokenizer_folder: Path, tmp_path: Path, weight: torch.Tensor | None
) -> None:
    write_encoder(tmp_path, projected, 64, tokenizer_folder)
    save_file(
        {"other": torch.zeros(1)} if weight is None else {"linear.weight": weight},
        tmp_path / "2_Dense" / "model.safetensors",
    )
    with pytest.raises(UserError, match=r"2_Dense.*linear\.weight"):
        load_encoder(tmp_path)


def test_a_bert_folder_is_refused(tmp_path: Path) -> None:
    BertModel(BertConfig(30, 8, 1, 2, 8)).save_pretrained(tmp_path)
    with pytest.raises(UserError, match="holds a bert model; only MPNet encoders"):
        load_encoder(tmp_path)


def test_a_pickle_is_refused_by_name(copied: Path) -> None:
    weights = load_file(copied / "model.safetensors")
    (copied / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"model\.safetensors is missing; save the model"):
        load_encoder(copied)
    torch.save(weights, copied / "pytorch_model.bin")
    with pytest.raises(UserError, match=r"model\.safetensors is missing .*pickle and is never loaded"):
        load_encoder(copied)


def test_cut_weights_are_named(copied: Path) -> None:
    path = copied / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(UserError, match=r"model\.safetensors is damaged"):
        load_encoder(copied)


@pytest.mark.parametrize("content", [None, "", "{", "[]", '{"model_type": "mpnet"}'])
def test_a_broken_configuration_is_named(copied: Path, content: str | None) -> None:
    if content is None:
        (copied / "config.json").unlink()
    else:
        (copied / "config.json").write_text(content)
    with pytest.raises(UserError, match=r"config\.json"):
        read_spec(copied)


def test_a_tokenizer_must_lie_beside_the_weights(tiny_encoder: SentenceEncoder, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "target").mkdir()
    with pytest.raises(UserError, match=r"empty holds no tokenizer\.json"):
        write_encoder(tmp_path / "target", tiny_encoder, 64, tmp_path / "empty")


# --- never half a folder -------------------------------------------------------------------------------------------


def test_a_new_folder_replaces_the_old_one_whole(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "student"
    for content in ("first", "second"):
        with new_folder(target) as temporary:
            (temporary / content).write_text(content)
            assert not (target / content).exists()
    assert [path.name for path in target.iterdir()] == ["second"]
    assert [path.name for path in target.parent.iterdir()] == ["student"]


@pytest.mark.parametrize("failure", [ValueError("disk full"), KeyboardInterrupt()])
def test_a_failure_leaves_the_old_folder_and_no_debris(tmp_path: Path, failure: BaseException) -> None:
    target = tmp_path / "student"
    with new_folder(target) as temporary:
        (temporary / "whole").write_text("old")

    def fail() -> None:
        with new_folder(target) as temporary:
            (temporary / "half").write_text("new")
            raise failure

    with pytest.raises(type(failure)):
        fail()
    assert [(path.name, path.read_text()) for path in target.iterdir()] == [("whole", "old")]
    assert [path.name for path in tmp_path.iterdir()] == ["student"]


def test_the_old_content_outlives_a_failed_exchange(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "student"
    with new_folder(target) as temporary:
        (temporary / "whole").write_text("old")
    rename = os.replace

    def fails_at_the_last_step(source: Path, destination: Path) -> None:
        if destination == target:
            raise OSError(28, "No space left on device")
        rename(source, destination)

    monkeypatch.setattr(os, "replace", fails_at_the_last_step)
    with pytest.raises(OSError, match="No space left"), new_folder(target):
        pass
    assert [path.read_text() for path in tmp_path.rglob("whole")] == ["old"]  # set aside under another name


def test_a_failed_save_leaves_nothing(tiny_encoder: SentenceEncoder, tiny_checkpoint: Path, tmp_path: Path) -> None:
    classifier = load_classifier(tiny_checkpoint, manifest.read(tiny_checkpoint).fields)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError):
        checkpoint.save(tmp_path / "student", tiny_encoder, classifier, 64, tmp_path / "empty", {})
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


# --- other libraries -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("projection", [False, True])
def test_sentence_transformers_reads_it_and_agrees(
    tiny_encoder: SentenceEncoder,
    projected: SentenceEncoder,
    tokenizer_folder: Path,
    tmp_path: Path,
    tiny_rows: Rows,
    projection: bool,
) -> None:
    encoder = projected if projection else tiny_encoder
    write_encoder(tmp_path, encoder, 64, tokenizer_folder)
    model = SentenceTransformer(str(tmp_path), device="cpu")
    kinds = ["Transformer", "Pooling", "Dense", "Normalize"] if projection else ["Transformer", "Pooling", "Normalize"]
    assert [type(module).__name__ for module in model] == kinds
    assert model.max_seq_length == 64
    texts = [*tiny_rows.texts[:20], "", "word " * 300, "Größe 忽略 🙂"]
    ours = TorchEncoder(load_encoder(tmp_path), TextTokenizer.open(tmp_path, 64)).encode(texts)
    theirs = model.encode(texts, batch_size=8)
    assert ours.shape == theirs.shape == (23, encoder.spec.embedding_size)
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_sentence_transformers_reads_a_whole_checkpoint(tiny_checkpoint: Path, tiny_rows: Rows) -> None:
    theirs = SentenceTransformer(str(tiny_checkpoint), device="cpu").encode(list(tiny_rows.texts))
    np.testing.assert_allclose(open_pipeline(tiny_checkpoint).encoder.encode(tiny_rows.texts), theirs, atol=1e-5)


@pytest.mark.parametrize("prefix", ["", "mpnet."])
def test_reads_what_transformers_saves(tmp_path: Path, prefix: str) -> None:
    torch.manual_seed(1)
    config = MPNetConfig(
        vocab_size=99, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24,
        max_position_embeddings=40, layer_norm_eps=1e-7,
    )  # fmt: skip
    model = MPNetModel(config).eval()  # with its pooler, which no sentence embedding needs
    model.save_pretrained(tmp_path)
    if prefix:  # as MPNetForMaskedLM and its like name them
        weights = load_file(tmp_path / "model.safetensors")
        save_file({prefix + name: value for name, value in weights.items()}, tmp_path / "model.safetensors")
    encoder = load_encoder(tmp_path).eval()
    assert encoder.spec.layer_norm_eps == 1e-7
    ids, mask = torch.tensor([[0, 7, 8, 2], [0, 9, 2, 1]]), torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]])
    with torch.no_grad():
        expected = model(ids, mask).last_hidden_state
        torch.testing.assert_close(
            encoder(ids, mask).last_hidden_state[mask.bool()], expected[mask.bool()], atol=1e-5, rtol=0
        )


def test_half_precision_takes_half_the_space(
    tiny_encoder: SentenceEncoder, tokenizer_folder: Path, tmp_path: Path
) -> None:
    sizes = []
    for dtype in (torch.float32, torch.float16):
        folder = tmp_path / str(dtype)
        folder.mkdir()
        write_encoder(folder, copy.deepcopy(tiny_encoder).to(dtype), 64, tokenizer_folder)
        sizes.append((folder / "model.safetensors").stat().st_size)
    assert sizes[1] / sizes[0] == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("1_Pooling", {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, "only mean pooling"),
        ("2_Dense", {"in_features": 32, "out_features": 16, "bias": True}, "plain linear projection"),
        (
            "2_Dense",
            {"in_features": 32, "out_features": 16, "bias": False, "activation_function": "torch.nn.modules.Tanh"},
            "plain linear projection",
        ),
    ],
)
def test_steps_that_the_encoder_would_not_follow_are_refused(
    tiny_checkpoint: Path, tmp_path: Path, name: str, content: dict[str, object], said: str
) -> None:
    folder = tmp_path / "foreign"
    shutil.copytree(tiny_checkpoint, folder)
    (folder / name).mkdir(exist_ok=True)
    (folder / name / "config.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=said):
        read_spec(folder)
