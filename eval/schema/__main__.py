"""Prints the published JSON Schema of report.json: `python -m eval.schema > eval/report.schema.json`."""

from __future__ import annotations

import json
from typing import Any

from eval.schema import VERSION, Report


def published() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of report.json, versioned."""
    about = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:raxe-distill:report:{VERSION}",
    }
    return about | Report.model_json_schema(mode="serialization")


if __name__ == "__main__":
    print(json.dumps(published(), indent=1))
