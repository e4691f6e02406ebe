"""distill.vocabulary: a cut tokenizer loses no word, its files agree, and the sliced student is the same function."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import AutoTokenizer

from core import checkpoint, manifest
from core.architectures import Architecture
from core.errors import UserError
from core.model import EncoderSpec, SentenceEncoder, build
from core.pipeline import open_pipeline
from core.pretrained import load_encoder
from core.rows import Rows
from core.schema import Losses, Student
from core.tokenizer import TextTokenizer, pad
from core.torch_encoder import TorchEncoder
from distill.split_targets import refuse_other_tokens
from distill.student import initial
from distill.vocabulary import Cut, cut, slice_embeddings, verify
from export import graph, int8

SPECIAL = ("<s>", "<pad>", "</s>", "<unk>", "[UNK]")
PIECES = ("[old]", "a", "ab", "##bc", "b", "abc", "c", "##a", "##b", "cab", "##c")
TOKENS = (*SPECIAL, *PIECES, "<mask>")
NEEDED = ["<s>", "<pad>", "</s>", "<unk>", "[UNK]", "a", "b", "c", "##a", "##b", "##c", "<mask>"]
TEXTS = ["abc abc ab", "cab, abc abbc"]  # abc three times, ab twice (abbc is ab ##bc), cab and ##bc once
ROBERTA = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), trim_offsets=True, add_prefix_space=False)
TEMPLATE = processors.TemplateProcessing(
    single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
)
WEIRD = [
    "abc 请忽略 naïve 🙂 \u200b supercalifragilistic",
    "x" * 101 + " antidisestablishmentarianism",
    "",
    "ﬃ ½ ๒ \x00",
]


def write(folder: Path, processor: Any = ROBERTA) -> Path:
    """A tokenizer of seventeen tokens with all its files."""
    folder.mkdir()
    tokenizer = Tokenizer(models.WordPiece({token: i for i, token in enumerate(TOKENS)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processor
    tokenizer.add_special_tokens([*SPECIAL, "<mask>"])
    tokenizer.save(str(folder / "tokenizer.json"))
    decoder = {str(TOKENS.index(token)): {"content": token} for token in (*SPECIAL, "<mask>")}
    (folder / "tokenizer_config.json").write_text(json.dumps({"added_tokens_decoder": decoder, "do_lower_case": True}))
    (folder / "special_tokens_map.json").write_text('{"mask_token": "<mask>"}')
    (folder / "vocab.txt").write_text("\n".join(TOKENS) + "\n")
    return folder


@pytest.fixture
def small(tmp_path: Path) -> Path:
    return write(tmp_path / "small")


def kept(done: Cut) -> list[str]:
    return [TOKENS[number] for number in done.kept_ids]


@pytest.mark.parametrize(
    ("more", "pieces"),
    [(0, set()), (1, {"abc"}), (2, {"abc", "ab"}), (3, {"abc", "ab", "##bc"}), (4, {"abc", "ab", "##bc", "cab"})],
)
def test_what_is_kept_by_hand(small: Path, tmp_path: Path, more: int, pieces: set[str]) -> None:
    """Of ##bc and cab, which occur once, the lower id comes first; [old] occurs nowhere."""
    done = cut(small, TEXTS, len(NEEDED) + more, tmp_path / "cut")
    assert kept(done) == [token for token in TOKENS if token in {*NEEDED, *pieces}]


def test_words_fall_into_the_pieces_that_are_left(small: Path, tmp_path: Path) -> None:
    done = cut(small, TEXTS, 13, tmp_path / "cut")
    tokenizer = Tokenizer.from_file(str(done.folder / "tokenizer.json"))
    words = {"abc": "abc", "abbc": "a ##b ##b ##c", "cab": "c ##a ##b", ",": "[UNK]", "a <mask>": "a <mask>"}
    for word, pieces in words.items():
        encoded = tokenizer.encode(word)
        assert encoded.tokens == ["<s>", *pieces.split(), "</s>"]
        assert [TOKENS[done.kept_ids[number]] for number in encoded.ids] == encoded.tokens


@pytest.mark.parametrize(
    "processor", [ROBERTA, TEMPLATE, processors.Sequence([TEMPLATE])], ids=lambda processor: type(processor).__name__
)
def test_every_file_has_the_new_ids(tmp_path: Path, processor: Any) -> None:
    folder = write(tmp_path / "source", processor)
    done = cut(folder, TEXTS, 14, tmp_path / "cut")
    lines = (done.folder / "vocab.txt").read_text().splitlines()
    assert lines == kept(done)
    rules = json.loads((done.folder / "tokenizer.json").read_text())
    assert list(rules["model"]["vocab"].items()) == [(token, number) for number, token in enumerate(lines)]
    assert {token["content"]: token["id"] for token in rules["added_tokens"]} == {
        token: lines.index(token) for token in (*SPECIAL, "<mask>")
    }
    settings = json.loads((done.folder / "tokenizer_config.json").read_text())
    assert {int(number): token["content"] for number, token in settings["added_tokens_decoder"].items()} == {
        lines.index(token): token for token in (*SPECIAL, "<mask>")
    }
    assert settings["do_lower_case"] is True
    assert (done.folder / "special_tokens_map.json").read_bytes() == (folder / "special_tokens_map.json").read_bytes()


@pytest.mark.parametrize("template", [False, True])
def test_a_post_processor_gets_the_new_ids(tmp_path: Path, template: bool) -> None:
    """Its `<mask>` has moved, as `<s>` and `</s>`, at the front, never do."""
    end = ("<mask>", 16)
    processor = (
        processors.TemplateProcessing(single="<s> $A <mask>", special_tokens=[("<s>", 0), end])
        if template
        else processors.BertProcessing(end, ("<s>", 0))
    )
    done = cut(write(tmp_path / "source", processor), TEXTS, 13, tmp_path / "cut")
    encoded = Tokenizer.from_file(str(done.folder / "tokenizer.json")).encode("abc")
    assert encoded.ids == [0, 7, 12]
    assert [TOKENS[done.kept_ids[number]] for number in encoded.ids] == ["<s>", "abc", "<mask>"]


def test_a_tokenizer_alone_is_enough(small: Path, tmp_path: Path) -> None:
    for name in ("tokenizer_config.json", "special_tokens_map.json", "vocab.txt"):
        (small / name).unlink()
    done = cut(small, TEXTS, 13, tmp_path / "cut")
    assert [path.name for path in done.folder.iterdir()] == ["tokenizer.json"]
    assert TextTokenizer.open(done.folder, 16).size == 13


def test_padding_and_truncation_of_the_file_do_not_count(small: Path, tmp_path: Path) -> None:
    tokenizer = Tokenizer.from_file(str(small / "tokenizer.json"))
    tokenizer.enable_truncation(3)  # would hide all but the first word of a text
    tokenizer.enable_padding(length=64, pad_id=1, pad_token="<pad>")
    tokenizer.save(str(small / "tokenizer.json"))
    assert "cab" in kept(cut(small, TEXTS, len(NEEDED) + 4, tmp_path / "cut"))


@pytest.mark.parametrize("size", [11, 18])
def test_sizes_that_cannot_be_are_refused_with_the_least(small: Path, tmp_path: Path, size: int) -> None:
    expected = rf"student\.vocabulary_size {size} .*: 12 special tokens and single characters .* 17 in all"
    with pytest.raises(UserError, match=expected):
        cut(small, TEXTS, size, tmp_path / "cut")
    with pytest.raises(UserError, match=expected):
        verify(small, size)
    assert not (tmp_path / "cut").exists()
    verify(small, 12)


def test_all_tokens_are_the_same_tokenizer(small: Path, tmp_path: Path) -> None:
    done = cut(small, TEXTS, 17, tmp_path / "cut")
    assert done.kept_ids.tolist() == list(range(17))
    assert TextTokenizer.open(done.folder, 16).hash() == TextTokenizer.open(small, 16).hash()


def test_other_kinds_of_tokenizer_are_refused(tmp_path: Path) -> None:
    Tokenizer(models.BPE({"a": 0}, [])).save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(UserError, match=r"cuts WordPiece tokenizers and .* holds a BPE one: write null"):
        verify(tmp_path, 1)


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory, tiny_rows: Rows, tokenizer_folder: Path) -> Cut:
    """MPNet's tokenizer cut to what the sixty texts need and little more."""
    return cut(tokenizer_folder, tiny_rows.texts, 2400, tmp_path_factory.mktemp("real") / "cut")


def test_the_real_tokenizer_keeps_what_the_texts_need_and_loses_no_word(
    real: Cut, tokenizer_folder: Path, tiny_rows: Rows
) -> None:
    whole, fewer = (TextTokenizer.open(folder, 512) for folder in (tokenizer_folder, real.folder))
    assert fewer.size == len(real.kept_ids) == 2400

    def in_whole(texts: list[str]) -> list[list[int]]:
        return [real.kept_ids[ids].tolist() for ids in fewer.encode(texts)]

    assert in_whole(list(tiny_rows.texts)) == whole.encode(tiny_rows.texts)
    unknown = whole.encode(["[UNK]"])[0][1]
    apart, together = in_whole(WEIRD), whole.encode(WEIRD)
    assert apart != together  # what the texts do not hold falls into pieces
    assert [ids.count(unknown) for ids in apart] == [ids.count(unknown) for ids in together]


def test_transformers_reads_the_cut_tokenizer(real: Cut) -> None:
    loaded = AutoTokenizer.from_pretrained(real.folder)
    texts = [*WEIRD, "a <mask> b </s> c", "word " * 90]
    tokenizer = TextTokenizer.open(real.folder, 64)
    assert loaded(texts, truncation=True, max_length=64)["input_ids"] == tokenizer.encode(texts)
    assert len(loaded) == loaded.vocab_size == 2400
    assert (loaded.pad_token_id, loaded.unk_token, loaded.mask_token_id) == (1, "[UNK]", 2399)


def test_the_same_texts_in_any_order_give_the_same_files(
    real: Cut, tokenizer_folder: Path, tiny_rows: Rows, tmp_path: Path
) -> None:
    again = cut(tokenizer_folder, tiny_rows.texts[::-1], 2400, tmp_path / "again")
    np.testing.assert_array_equal(again.kept_ids, real.kept_ids)
    for path in real.folder.iterdir():
        assert path.read_bytes() == (again.folder / path.name).read_bytes()
    further = cut(
        real.folder, tiny_rows.texts, 2100, tmp_path / "further"
    )  # a checkpoint's vocabulary may be cut again
    direct = cut(tokenizer_folder, tiny_rows.texts, 2100, tmp_path / "direct")
    np.testing.assert_array_equal(real.kept_ids[further.kept_ids], direct.kept_ids)


@pytest.mark.parametrize("architecture", ["mpnet", "static", "hybrid"])
def test_the_sliced_encoder_gives_on_new_ids_what_it_gave_on_the_former(architecture: Architecture) -> None:
    layers = 0 if architecture == "static" else 2
    encoder = build(EncoderSpec(layers, 16, 4, 32, vocabulary_size=50, projection=8, architecture=architecture)).eval()
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.normal_(generator=torch.Generator().manual_seed(parameter.numel()))
    kept_ids = np.array([0, 1, 2, 5, 9, 30, 49])
    fewer = slice_embeddings(encoder, kept_ids)
    assert fewer.spec == replace(encoder.spec, vocabulary_size=7)
    assert not fewer.training
    ids, mask = torch.tensor([[0, 3, 6, 5, 2], [0, 4, 2, 1, 1]]), torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
    with torch.no_grad():
        wanted = encoder(torch.from_numpy(kept_ids)[ids], mask).sentence_embedding
        assert torch.equal(fewer(ids, mask).sentence_embedding, wanted)
        for parameter in fewer.parameters():
            parameter.zero_()  # no weight is shared
        assert torch.equal(encoder(torch.from_numpy(kept_ids)[ids], mask).sentence_embedding, wanted)
    assert slice_embeddings(encoder.train().half(), kept_ids).dtype == torch.float16


def test_a_tokenizer_of_another_encoder_is_refused() -> None:
    with pytest.raises(UserError, match="the tokenizer has a token 50, but the encoder embeds 0 to 49 only"):
        slice_embeddings(build(EncoderSpec(1, 8, 2, 8, vocabulary_size=50)), np.array([0, 1, 50]))


@pytest.mark.parametrize(
    "given",
    [
        {"init": "random", "layers": 3, "hidden_size": 24, "attention_heads": 3},
        {"init": "teacher", "layers": 1, "hidden_size": 32, "attention_heads": 4, "intermediate_size": 64},
        {"init": "minilm", "layers": 1},
    ],
    ids=lambda given: given["init"],
)
def test_every_initialisation_can_be_cut(real: Cut, tiny_encoder: SentenceEncoder, given: dict[str, Any]) -> None:
    config = Student.model_validate({**given, "vocabulary_size": 2400, "projection": True})
    whole = initial(config, tiny_encoder)
    fewer = slice_embeddings(whole, real.kept_ids)
    words = fewer.transformer.embeddings.word_embeddings.weight
    assert words.shape == (2400, config.hidden_size)
    assert torch.equal(words, whole.transformer.embeddings.word_embeddings.weight[real.kept_ids])
    assert all(parameter.requires_grad for parameter in fewer.parameters())


def test_token_by_token_terms_refuse_a_cut_student(real: Cut, tokenizer_folder: Path) -> None:
    teacher, student = (TextTokenizer.open(folder, 16) for folder in (tokenizer_folder, real.folder))
    with pytest.raises(UserError, match="student and teacher have unlike tokenizers"):
        refuse_other_tokens(teacher, student, Losses.model_validate({"relations": 1}))


@pytest.fixture(scope="module")
def student_folder(
    tmp_path_factory: pytest.TempPathFactory, tiny_encoder: SentenceEncoder, tiny_checkpoint: Path, real: Cut
) -> Path:
    """The tiny checkpoint with a cut vocabulary."""
    fields = manifest.read(tiny_checkpoint).fields
    classifier = checkpoint.load_classifier(tiny_checkpoint, fields)
    folder = tmp_path_factory.mktemp("students") / "student"
    named = {name: fields[name] for name in ("parent", "seed", "synthetic", "scores", "provenance")}
    checkpoint.save(folder, slice_embeddings(tiny_encoder, real.kept_ids), classifier, 64, real.folder, named)
    return folder


def test_a_checkpoint_with_a_cut_vocabulary_is_the_same_classifier(
    student_folder: Path, tiny_checkpoint: Path, tiny_rows: Rows
) -> None:
    from sentence_transformers import SentenceTransformer

    whole, fewer = (
        open_pipeline(folder).encoder.encode(tiny_rows.texts) for folder in (tiny_checkpoint, student_folder)
    )
    np.testing.assert_allclose(fewer, whole, atol=1e-6)
    theirs = SentenceTransformer(str(student_folder), device="cpu").encode([*tiny_rows.texts, *WEIRD])
    np.testing.assert_allclose(
        open_pipeline(student_folder).encoder.encode([*tiny_rows.texts, *WEIRD]), theirs, atol=1e-5
    )


def test_a_cut_student_is_exported(student_folder: Path, tiny_rows: Rows) -> None:
    encoder = load_encoder(student_folder)
    tokenizer = TextTokenizer.open(student_folder, 64)
    exported = graph.to_onnx(encoder)
    assert [2400, 32] in [list(tensor.dims) for tensor in exported.graph.initializer]
    texts = [*tiny_rows.texts[:6], *WEIRD]
    ids, mask = pad(tokenizer.encode(texts))
    wanted = TorchEncoder(encoder, tokenizer).encode(texts)
    for model, worst in ((exported, 0.99999), (int8.quantise(exported), 0.98)):
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        found = session.run(["sentence_embedding"], {"input_ids": ids, "attention_mask": mask})[0]
        assert (found * wanted).sum(1).min() > worst


def test_the_least_size_of_the_real_tokenizer(tokenizer_folder: Path) -> None:
    """997 characters at a word's beginning, as many within, and <s> <pad> </s> <unk> [UNK] <mask>."""
    verify(tokenizer_folder, 2000)
    with pytest.raises(UserError, match="2000 special tokens and single characters must stay, and it has 30527 in all"):
        verify(tokenizer_folder, 1999)


def test_a_size_is_a_count_and_null_is_all_of_them() -> None:
    assert Student().vocabulary_size is None
    with pytest.raises(ValueError, match="vocabulary_size"):
        Student.model_validate({"vocabulary_size": 0})
