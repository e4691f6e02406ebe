"""The synthetic corpus keeps its promises: deterministic, balanced, distinct and readable."""

import base64
import codecs
import json
import re
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from core.corpus import generate as module
from core.corpus.generate import SLOT, TEMPLATE_FOLDER, generate, normalise, read_templates

SUBFAMILIES = {
    "PI": {"pi_instruction_override", "pi_task_hijack", "pi_context_manipulation"},
    "JB": {"jb_persona", "jb_scenario", "jb_output_constraint", "jb_adversarial_suffix"},
    "CMD": {"cmd_shell", "cmd_code_execution", "cmd_database", "cmd_markup", "cmd_interpreter_abuse"},
    "PII": {"pii_system_prompt", "pii_secret_extraction", "pii_data_extraction"},
    "ENC": {"enc_base_encoding", "enc_cipher", "enc_lookalike", "enc_obfuscation"},
    "RAG": {"rag_instruction_in_content", "rag_poisoned_document", "rag_tool_response"},
    "BENIGN": {"benign"},
}
ROOT = Path(__file__).parent.parent
# Words that a decoded text must contain: every inner text has at least one of them.
COMMON_WORDS = re.compile(r"\b(a|an|and|the|to|you|your|me|of|in|is|for|from|with|this|these|bring)\b", re.I)
DECODERS = {
    "base64": (
        r"(?:[A-Za-z0-9+/]{4}){4,}(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?",
        lambda found: base64.b64decode(found, validate=True).decode(),
    ),
    "hex": (r"(?:[0-9a-f]{2}){8,}", lambda found: bytes.fromhex(found).decode()),
    "rot13": (r"(?s).+", lambda found: codecs.encode(found, "rot13")),
}


@pytest.fixture(scope="module")
def rows():
    return generate()


@pytest.fixture(scope="module")
def templates():
    listed = read_templates()
    named = {template["id"]: template for template in listed}
    assert len(named) == len(listed)
    return named


def test_same_seed_same_rows_and_another_seed_other_rows(rows):
    assert generate() == rows
    assert generate(14) != rows


def test_rows_have_the_agreed_keys_and_types(rows):
    assert all(list(row) == ["text", "label", "family", "subfamily", "template", "source"] for row in rows)
    assert all(row["source"] == "synthetic" for row in rows)
    assert all(row["text"] == row["text"].strip() and row["text"] for row in rows)


def test_size_and_share_of_attacks(rows):
    assert 2400 <= len(rows) <= 2800
    assert 0.40 <= sum(row["label"] for row in rows) / len(rows) <= 0.45


def test_label_follows_family(rows):
    assert all(row["label"] == (row["family"] != "BENIGN") for row in rows)


def test_families_and_subfamilies_are_the_agreed_ones(rows):
    found = defaultdict(set)
    for row in rows:
        found[row["family"]].add(row["subfamily"])
    assert found == SUBFAMILIES


def test_every_subfamily_has_enough_templates_and_rows(rows, templates):
    row_counts = Counter(row["subfamily"] for row in rows)
    template_counts = Counter(template["subfamily"] for template in templates.values())
    assert min(row_counts.values()) >= 40
    assert min(template_counts.values()) >= 8
    assert template_counts["benign"] >= 200


def test_texts_are_distinct_after_normalisation(rows):
    repeated = [text for text, count in Counter(normalise(row["text"]) for row in rows).items() if count > 1]
    assert repeated == []


def test_a_template_belongs_to_one_subfamily_and_makes_its_rows(rows, templates):
    counts = Counter(row["template"] for row in rows)
    assert max(counts.values()) <= 8
    assert counts == {name: template["rows"] for name, template in templates.items()}
    for row in rows:
        template = templates[row["template"]]
        assert (row["family"], row["subfamily"]) == (template["family"], template["subfamily"])


def test_no_slot_is_left_unfilled(rows):
    assert [row["text"] for row in rows if SLOT.search(row["text"])] == []


def test_every_template_text_is_written_once(templates):
    repeated = [text for text, count in Counter(t["text"] for t in templates.values()).items() if count > 1]
    assert repeated == []


def test_mean_length_keeps_training_short(rows):
    lengths = [len(row["text"].split()) for row in rows]
    assert sum(lengths) / len(lengths) <= 30
    assert max(lengths) <= 130


@pytest.mark.parametrize("transform", sorted(DECODERS))
@pytest.mark.parametrize("family", ["ENC", "BENIGN"])
def test_encoded_texts_decode_to_readable_text(rows, templates, transform, family):
    pattern, decode = DECODERS[transform]
    encoded = [
        row["text"]
        for row in rows
        if row["family"] == family and f"<<{transform}:" in templates[row["template"]]["text"]
    ]
    assert len(encoded) >= 4
    for text in encoded:
        # The longest match is the encoded part; the carrier around it is made of short words.
        decoded = decode(max(re.findall(pattern, text), key=len))
        assert decoded.isprintable() or "\n" in text
        assert COMMON_WORDS.search(decoded), text


def test_benign_rows_use_every_transformation_that_attacks_use(templates):
    used = defaultdict(set)
    for template in templates.values():
        for prefix, _, _ in SLOT.findall(template["text"]):
            used[template["family"]].update(prefix.split(":")[:-1])
    assert used["ENC"] - {"capital"} <= used["BENIGN"]
    assert len(used["ENC"]) >= 10


def test_json_texts_are_valid_json(rows):
    texts = [row["text"] for row in rows if re.match(r'\{"|\[\{', row["text"]) and row["text"][-1] in "]}"]
    assert len(texts) > 40
    for text in texts:
        json.loads(text)


def test_template_files_need_no_slot_that_is_missing_and_have_no_stray_key(templates):
    allowed = {"rows", "text", "slots", "id", "family", "subfamily"}
    assert all(set(template) <= allowed for template in templates.values())
    assert {path.stem for path in TEMPLATE_FOLDER.glob("*.yaml")} == set(SUBFAMILIES) | {"slots"}


def test_command_writes_the_rows(tmp_path, rows):
    target = tmp_path / "corpus.jsonl"
    command = [sys.executable, "-m", "core.corpus.generate", "--out", str(target)]
    subprocess.run(command, cwd=ROOT, check=True)
    assert [json.loads(line) for line in target.read_text(encoding="utf-8").split("\n")[:-1]] == rows
    assert list(tmp_path.iterdir()) == [target]


def test_command_explains_an_unwritable_path_in_one_line(tmp_path, rows, monkeypatch, capsys):
    monkeypatch.setattr(module, "generate", lambda seed: rows)
    monkeypatch.setattr(sys, "argv", ["generate", "--out", str(tmp_path / "missing" / "corpus.jsonl")])
    with pytest.raises(SystemExit) as stopped:
        module.main()
    message = capsys.readouterr().err
    assert stopped.value.code == 2
    assert message.startswith("error: cannot write ")
    assert message.count("\n") == 1
