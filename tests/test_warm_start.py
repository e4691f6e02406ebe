"""distill.warm_start: a student goes on from a checkpoint exactly, heads included, or says why it cannot."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from core import checkpoint, manifest
from core.errors import UserError
from core.model import SentenceEncoder
from core.pretrained import load_encoder
from core.rows import Taxonomy
from core.schema import Student
from core.tokenizer import TextTokenizer
from core.torch_encoder import TorchEncoder
from distill.classifier import TorchHeads
from distill.encoder_teacher import EncoderTeacher as Teacher
from distill.warm_start import load_heads, refuse_teacher_itself, start, verify

SHAPE = {"layers": 2, "hidden_size": 32, "attention_heads": 4, "intermediate_size": 64}


def student(folder: Path, **changed: Any) -> Student:
    given: Mapping[str, Any] = {"init": "checkpoint", "name_or_path": folder, "projection": False}
    return Student.model_validate({**SHAPE, **given, **changed})


@pytest.fixture
def plain(tmp_path: Path, tiny_checkpoint: Path) -> Path:
    """The same encoder as `save_pretrained` leaves it: no manifest, no heads."""
    import shutil

    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        shutil.copyfile(tiny_checkpoint / name, tmp_path / name)
    return tmp_path


def test_the_encoder_is_the_checkpoint_s_with_the_dropout_asked_for(tiny_checkpoint: Path, plain: Path) -> None:
    wanted = load_encoder(tiny_checkpoint).state_dict()
    for folder in (tiny_checkpoint, plain):
        begun = start(student(folder, dropout=0.25), 48)
        assert begun.encoder.spec.dropout == 0.25
        found = begun.encoder.state_dict()
        assert found.keys() == wanted.keys()
        assert all(torch.equal(found[name], wanted[name]) for name in wanted)
        assert not begun.new_projection
    assert start(student(tiny_checkpoint), 48).digest == manifest.read(tiny_checkpoint).digest
    assert start(student(plain), 48).digest == manifest.file_hash(plain / "model.safetensors")


def test_a_projection_that_it_lacks_is_new_and_as_wide_as_the_teacher(tiny_checkpoint: Path) -> None:
    begun = start(student(tiny_checkpoint, projection=True), 48)
    assert begun.new_projection
    assert begun.encoder.spec.embedding_size == 48
    words = "embeddings.word_embeddings.weight"
    assert torch.equal(
        begun.encoder.transformer.state_dict()[words], load_encoder(tiny_checkpoint).transformer.state_dict()[words]
    )


def test_its_own_projection_is_kept(tiny_encoder: SentenceEncoder, tmp_path: Path, tokenizer_folder: Path) -> None:
    from core.model import build
    from core.pretrained import write_encoder

    projecting = build(replace(tiny_encoder.spec, projection=48))
    write_encoder(tmp_path, projecting, 24, tokenizer_folder)
    begun = start(student(tmp_path, projection=True), 48)
    assert not begun.new_projection
    assert begun.encoder.projection is not None
    assert projecting.projection is not None
    assert torch.equal(begun.encoder.projection.weight, projecting.projection.weight)
    assert not start(student(tmp_path, projection=True), 32).new_projection  # a teacher of another width: by similarity
    with pytest.raises(UserError, match=r"has a projection to 48 dimensions: write student\.projection=true"):
        verify(student(tmp_path))
    other = Teacher(TorchEncoder(tiny_encoder, TextTokenizer.open(tokenizer_folder, 24)), "another")
    refuse_teacher_itself(begun, other)


def test_what_cannot_be_gone_on_from_is_refused(tiny_checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"student\.name_or_path: .*nowhere is no folder"):
        verify(student(tmp_path / "nowhere"))
    with pytest.raises(UserError, match=r"another shape .*: write student\.layers=2 student\.attention_heads=4$"):
        verify(student(tiny_checkpoint, layers=3, attention_heads=8))
    with pytest.raises(UserError, match=r"another shape .*: write student\.architecture=mpnet$"):
        verify(student(tiny_checkpoint, architecture="convolution"))
    with pytest.raises(UserError, match=r"config\.json"):
        verify(student(tmp_path))
    teacher = Teacher.open(tiny_checkpoint)
    with pytest.raises(UserError, match="is the teacher itself, so there is nothing to distil"):
        refuse_teacher_itself(start(student(tiny_checkpoint), 32), teacher)


def test_a_damaged_checkpoint_is_refused(tiny_checkpoint: Path, tmp_path: Path) -> None:
    import shutil

    broken = tmp_path / "broken"
    shutil.copytree(tiny_checkpoint, broken)
    content = bytearray((broken / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (broken / "model.safetensors").write_bytes(content)
    with pytest.raises(UserError, match=r"model\.safetensors does not match its SHA-256"):
        start(student(broken), 32)


def test_its_heads_are_taken_over_for_the_same_classes_only(
    tiny_checkpoint: Path, plain: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    known = checkpoint.load_classifier(tiny_checkpoint, manifest.read(tiny_checkpoint).fields)
    taxonomy: Taxonomy = known.taxonomy
    heads = TorchHeads(32, taxonomy)
    load_heads(heads, plain, taxonomy)
    assert not heads.binary.weight.any()  # it has none
    fewer = replace(taxonomy, subfamilies=taxonomy.subfamilies[:-1])
    others = TorchHeads(32, fewer)
    load_heads(others, tiny_checkpoint, fewer)
    assert not others.binary.weight.any()
    assert "its heads are for other families or sub-families; new ones are trained" in capsys.readouterr().out
    projected = TorchHeads(48, taxonomy)
    load_heads(projected, tiny_checkpoint, taxonomy, new_embedding=True)
    assert not projected.binary.weight.any()
    assert "its heads are for another embedding" in capsys.readouterr().out
    load_heads(heads, tiny_checkpoint, taxonomy)
    assert capsys.readouterr().out == ""
    torch.testing.assert_close(
        torch.from_numpy(heads.to_linear()["family"].weight), torch.from_numpy(known.heads["family"].weight)
    )
