"""docs/targets.md: one model, one hash on every target, and the table is what running them says."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from rnnrt.converters import amalgamate

import list_targets

ROOT = Path(__file__).parents[1]
DOCUMENT = ROOT / "docs" / "targets.md"


def test_one_hash_everywhere(tool: Callable[[str], str]) -> None:
    """Every target is run; the table names them all and every instruction set of the library."""
    for target in list_targets.TARGETS:
        for command in (target.compiler, target.emulator):
            if command:
                tool(command.split()[0])
    found, stated = list_targets.find(), list_targets.documented(DOCUMENT)
    (expected,) = set(json.loads((ROOT / "tests/golden/hashes.json").read_text())[list_targets.MODEL.stem])
    assert set(found.values()) == {expected}, found
    assert set(stated.values()) == {expected}, stated
    assert set(found) <= set(stated), "run scripts/list_targets.py docs/targets.md"
    assert {name for name, _ in stated} == {name for name, _ in found} == {t.name for t in list_targets.TARGETS}
    missing = sorted(set(amalgamate.isas()) - {isa for _, isa in stated})
    assert f"Not run by any machine or emulator at hand: {', '.join(missing) or 'none'}." in DOCUMENT.read_text()
