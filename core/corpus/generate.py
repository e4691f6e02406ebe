"""Turn the hand-written templates next to this file into labelled rows of text."""

import argparse
import base64
import codecs
import json
import random
import re
import unicodedata
from collections.abc import Callable
from pathlib import Path

import yaml

TEMPLATE_FOLDER = Path(__file__).parent / "templates"
FAMILIES = ("PI", "JB", "CMD", "PII", "ENC", "RAG", "BENIGN")
# Double angle brackets, because single braces are everywhere in JSON, code and template attacks.
SLOT = re.compile(r"<<((?:[a-z0-9_]+:)*)([a-z_]+)(#\d)?>>")
LOOKALIKES = str.maketrans("aceiopsxyjACEHIKMOPTXB", "асеіорѕхујАСЕНІКМОРТХВ")  # Latin to Cyrillic


def each_character(change: Callable[[str], str], share: float) -> Callable[[str, random.Random], str]:
    """Change about `share` of the characters, since people who disguise a text are rarely thorough."""
    return lambda text, rng: "".join(change(letter) if rng.random() < share else letter for letter in text)


TRANSFORMS: dict[str, Callable[[str, random.Random], str]] = {
    "capital": lambda text, _: text[:1].upper() + text[1:],
    "base64": lambda text, _: base64.b64encode(text.encode()).decode(),
    "hex": lambda text, _: text.encode().hex(),
    "url": lambda text, _: "".join(f"%{byte:02X}" for byte in text.encode()),
    "rot13": lambda text, _: codecs.encode(text, "rot13"),
    "caesar": lambda text, _: text.lower().translate({key: 97 + (key - 94) % 26 for key in range(97, 123)}),
    "atbash": lambda text, _: text.lower().translate({key: 219 - key for key in range(97, 123)}),
    "leet": each_character(lambda letter: letter.translate(str.maketrans("aeiost", "431057")), 0.8),
    "homoglyph": each_character(lambda letter: letter.translate(LOOKALIKES), 0.7),
    "fullwidth": lambda text, _: text.translate({code: code + 0xFEE0 for code in range(33, 127)}),
    "zero_width": each_character(lambda letter: letter + "\u200b", 0.5),
    "spaced": lambda text, _: "   ".join(" ".join(word) for word in text.split()),
    "reversed": lambda text, _: text[::-1],
    "caps_noise": each_character(str.swapcase, 0.5),
}


def normalise(text: str) -> str:
    """Fold what a reader would not see as a difference, so that two rows never say the same thing."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def read_templates() -> list[dict]:
    """Return every template with its id, family and sub-family; a plain string counts as one row."""
    templates = []
    for family in FAMILIES:
        content = yaml.safe_load((TEMPLATE_FOLDER / f"{family}.yaml").read_text(encoding="utf-8"))
        for subfamily, entries in content["subfamilies"].items():
            for position, entry in enumerate(entries, start=1):
                template = {"rows": 1, "text": entry} if isinstance(entry, str) else dict(entry)
                template |= {"id": f"{subfamily}-{position:03d}", "family": family, "subfamily": subfamily}
                templates.append(template)
    return templates


def fill(text: str, values: dict[str, list[str]], decks: dict[str, list[str]], rng: random.Random) -> str:
    """Replace the slots; dealing values from shuffled decks spreads them evenly over the rows."""
    chosen: dict[str, str] = {}

    def replace(match: re.Match[str]) -> str:
        transforms, name, number = match.groups(default="")
        if name + number not in chosen:
            decks[name] = decks.get(name) or rng.sample(values[name], len(values[name]))
            chosen[name + number] = fill(decks[name].pop(), values, decks, rng)
        value = chosen[name + number]
        for transform in reversed(transforms.split(":")[:-1]):  # the one next to the slot comes first
            value = TRANSFORMS[transform](value, rng)
        return value

    return SLOT.sub(replace, text)


def generate(seed: int = 13) -> list[dict[str, str | int]]:
    """Return the corpus; the same seed gives the same rows in the same order."""
    shared = yaml.safe_load((TEMPLATE_FOLDER / "slots.yaml").read_text(encoding="utf-8"))
    rows: dict[str, dict[str, str | int]] = {}
    for template in read_templates():
        rng = random.Random(f"{seed}-{template['id']}")
        decks: dict[str, list[str]] = {}
        wanted = len(rows) + template["rows"]
        for _ in range(20 * template["rows"]):  # a few draws repeat an earlier text and are thrown away
            text = fill(template["text"], shared | template.get("slots", {}), decks, rng)
            rows.setdefault(
                normalise(text),
                {
                    "text": text,
                    "label": int(template["family"] != "BENIGN"),
                    "family": template["family"],
                    "subfamily": template["subfamily"],
                    "template": template["id"],
                    "source": "synthetic",
                },
            )
            if len(rows) == wanted:
                break
        else:
            raise ValueError(f"{template['id']}: cannot make {template['rows']} distinct rows")
    return list(rows.values())


def main() -> None:
    """Write the corpus as JSON lines, in one step, so that a reader never sees half a file."""
    parser = argparse.ArgumentParser(
        prog="python -m core.corpus.generate",
        description=("Write the synthetic corpus as JSON lines (label 1: attack, 0: benign); one seed, one file."),
    )
    parser.add_argument("--out", type=Path, required=True, help="file to write, e.g. corpus.jsonl")
    parser.add_argument("--seed", type=int, default=13, help="picks the values in the texts (default: 13)")
    options = parser.parse_args()
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in generate(options.seed)]
    temporary = Path(f"{options.out}.part")
    try:
        temporary.write_text("".join(lines), encoding="utf-8")
        temporary.replace(options.out)
    except OSError as error:
        if temporary.is_file():
            temporary.unlink()
        parser.exit(2, f"error: cannot write {options.out}: {error.strerror}\n")


if __name__ == "__main__":
    main()
