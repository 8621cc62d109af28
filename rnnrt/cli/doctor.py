"""``rnnrt doctor``: what this installation has, and whether it computes what it should on this machine."""

from __future__ import annotations

import os
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import click
import numpy as np

import rnnrt
from rnnrt._rnnrt import operators
from rnnrt.bench import host
from rnnrt.cli import output
from rnnrt.cli.cells import build_cell
from rnnrt.cli.exits import OPTIONAL, Exit, json_option


@click.command()
@json_option
@click.pass_context
def doctor(ctx: click.Context, as_json: bool) -> None:
    """Show this installation and check that it works.

    Versions, CPU, instruction sets and optional packages.

    The check runs small models, one of each cell in every precision, on every instruction set of this CPU and compares
    the outputs bit by bit. Exit code 1 when they differ.
    """
    isas, machine = rnnrt.isas(), host()
    with output.spinner("self check"):
        checks = self_check(isas)
    chosen, complaint = _chosen()
    ok = complaint is None and all(check["equal"] for check in checks)
    content = {
        "ok": ok,
        "rnnrt": rnnrt.__version__,
        "numpy": np.__version__,
        "machine": machine,
        "isas": isas,
        "isa_chosen": chosen,
        "isa_forced_by_environment": bool(os.environ.get("RNNRT_ISA")),
        "isa_problem": complaint,
        "self_check": checks,
        "operators": sorted(name for _, name, _, _ in operators()),
        "packages": [_package(name, use) for name, use in OPTIONAL.items() if name not in _older()],
    }
    if as_json:
        output.print_json("doctor", content)
    else:
        _print(content)
    if not ok:
        ctx.exit(Exit.VERIFICATION_FAILED)


def _chosen() -> tuple[str | None, str | None]:
    """What a model loaded without further ado uses; or why none can be loaded (RNNRT_ISA)."""
    try:
        return rnnrt.load(build_cell("rnn", 1, 1, None, 0)).isa, None
    except rnnrt.UnsupportedError as error:
        return None, f"RNNRT_ISA: {error}"


def self_check(isas: list[str]) -> list[dict[str, Any]]:
    """Small models on every instruction set: do all give the bits of the last, ``scalar``?"""
    x = np.random.default_rng(0).standard_normal((20, 2, 19)).astype(np.float32)
    found = []
    for cell in ("rnn", "gru", "lstm"):
        for quantize in (None, "f16", "int8", "int4"):
            content = build_cell(cell, 19, 37, quantize, 0)  # no multiples of any vector length
            results = {isa: np.asarray(rnnrt.load(content, isa)(x)) for isa in isas}
            reference = results[isas[-1]]
            differing = [isa for isa, y in results.items() if y.tobytes() != reference.tobytes()]
            fine = not differing and bool(np.isfinite(reference).all()) and bool(reference.any())
            found.append({"model": f"{cell} {quantize or 'f32'}", "equal": fine, "differing": differing})
    return found


def _older() -> tuple[str, ...]:
    """What only an older Python needs."""
    return ("tomli",) if sys.version_info >= (3, 11) else ()


def _package(name: str, use: str) -> dict[str, Any]:
    try:
        found: str | None = version(name)
    except PackageNotFoundError:
        found = None
    return {"name": name, "version": found, "use": use}


def _print(content: dict[str, Any]) -> None:
    console, machine = output.stdout(), content["machine"]
    forced = " (forced by RNNRT_ISA)" if content["isa_forced_by_environment"] else ""
    lines = {
        "rnnrt": f"{content['rnnrt']}, numpy {content['numpy']}, Python {machine['python']}, {machine['platform']}",
        "CPU": f"{machine['cpu']}, {machine['cores']} cores",
        "instruction sets": f"{', '.join(content['isas'])}; in use: {content['isa_chosen']}{forced}",
    }
    if content["isa_problem"]:
        lines["instruction sets"] = f"{', '.join(content['isas'])}; NONE USABLE: {content['isa_problem']}"
    lines["runtime operators"] = ", ".join(content["operators"])
    bad = [check for check in content["self_check"] if not check["equal"]]
    count = len(content["self_check"])
    lines["self check"] = f"{count} models, the same bits on every instruction set" if not bad else "FAILED"
    for key, value in lines.items():
        console.print(f"{key:<18}{value}", markup=False, soft_wrap=True)
    for check in bad:
        console.print(f"  {check['model']}: {', '.join(check['differing']) or 'not finite'}", markup=False)
    rows = [
        (p["name"], p["version"] or "not installed", p["use"], "" if p["version"] else f"pip install {p['name']}")
        for p in content["packages"]
    ]
    console.print(output.table("", ("package", "version", "for", ""), rows))
