"""`ivme doctor`: what this machine is, what it can do, and what to do about it."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ivme.cli.printing import notices, results

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from ivme.hardware.advice import Advice
    from ivme.hardware.ceilings import Ceilings, CopyRate, ProductRate
    from ivme.hardware.inventory import Inventory
    from ivme.measure.records import Record

BAR_WIDTH = 12
MARKS = {"warning": ("!", "bold red"), "tip": ("+", "bold green"), "fact": ("-", "bold cyan")}


def doctor(
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the record to this file.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the record alone, as JSON.")] = False,
    quick: Annotated[
        bool, typer.Option("--quick", help="Measure a few seconds, not a quarter minute.")
    ] = False,
    refresh: Annotated[
        bool, typer.Option("--refresh", help="Measure again, whatever the cache holds.")
    ] = False,
) -> None:
    """Show what this machine is and can do, with advice.

    The rates are measured once and kept; --refresh measures them again.
    """
    from ivme.cli.handing_over import check_writable
    from ivme.measure.records import record_to_json, save_record

    check_writable(output)
    record = examine(quick=quick, refresh=refresh, is_shown=not json)
    if output is not None:
        save_record(record, output)
    if json:
        print(record_to_json(record), end="")
    elif output is not None:
        print(f"\nrecord: {output}")


def examine(*, quick: bool, refresh: bool = False, is_shown: bool = True) -> "Record":
    """Return the record of this machine, printed as well if `is_shown`."""
    from dataclasses import asdict

    from ivme.hardware.advice import advise
    from ivme.hardware.ceilings_cache import cached_ceilings
    from ivme.hardware.inventory import read_inventory
    from ivme.measure.records import new_record

    console = notices()
    with console.status("reading the machine") as status:
        inventory = read_inventory(with_torch=True)
        ceilings = cached_ceilings(
            inventory,
            quick=quick,
            refresh=refresh,
            notify=lambda text: console.print(f"ivme: {text}", markup=False, soft_wrap=True),
            progress=lambda text: status.update(f"measuring {text}"),
        )
    advice = _with_traps(advise(inventory, ceilings), inventory)
    if is_shown:
        print_report(results(), inventory, ceilings, advice)
    return new_record(
        "doctor",
        ["ivme", *sys.argv[1:]],
        asdict(inventory)
        | {"ceilings": asdict(ceilings), "advice": [asdict(one) for one in advice]},
        {"quick": quick, "refresh": refresh, "threads": ceilings.threads},
        notes=[one.finding for one in advice if one.severity == "warning"],
    )


def _with_traps(advice: "list[Advice]", inventory: "Inventory") -> "list[Advice]":
    """Return the advice with the traps that wait for engines here, as warnings in front."""
    from ivme.engines.traps import find_machine_traps
    from ivme.hardware.advice import Advice

    traps = [
        Advice(
            severity="warning",
            topic=trap.name,
            finding=f"{trap.found}: {trap.cost}.",
            action=f"{trap.action}.",
        )
        for trap in find_machine_traps(inventory)
    ]
    return [*traps, *advice]


def print_report(
    console: "Console", inventory: "Inventory", ceilings: "Ceilings", advice: "list[Advice]"
) -> None:
    """Print the machine, what it can do, and the advice; 80 columns are enough."""
    _heading(console, "This machine")
    console.print(_machine_table(inventory))
    for device in dict.fromkeys(rate.device for rate in ceilings.products):
        where = f", {ceilings.threads} threads" if device == "cpu" else ""
        _heading(console, f"Matrix products on {device}{where}, % of the fastest")
        console.print(_product_table(console, ceilings, device))
    _heading(console, "Copies, bytes read and written, % of the fastest")
    console.print(_copy_table(console, ceilings))
    console.print(_source_line(ceilings), style="dim")
    _heading(console, "Advice")
    console.print(_advice_table(advice))


def _heading(console: "Console", text: str) -> None:
    console.print(f"\n{text}", style="bold", markup=False)


def _grid(*columns: tuple[str, int | None]) -> "Table":
    """Return a table without lines, of (justify, width) columns."""
    from rich.table import Table

    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column(width=1)  # indents the rest under the heading
    for justify, width in columns:
        table.add_column(justify="right" if justify == "right" else "left", width=width)
    return table


def _machine_table(inventory: "Inventory") -> "Table":
    from rich.text import Text

    table = _grid(("left", 12), ("left", None))
    for name, text in _machine_lines(inventory):
        table.add_row("", Text(name, style="cyan"), Text(text))
    return table


def _machine_lines(inventory: "Inventory") -> list[tuple[str, str]]:
    processor, memory, torch = inventory.processor, inventory.memory, inventory.torch
    virtual = ", virtual machine" if processor.is_virtual_machine else ""
    quota = "" if processor.quota_cores is None else f", quota {processor.quota_cores:g}"
    lines = [
        ("processor", f"{processor.name} ({processor.vendor}, {processor.architecture}{virtual})"),
        (
            "cores",
            f"{processor.usable_cores} usable of {processor.physical_cores} physical, "
            f"{processor.logical_cores} logical{quota}",
        ),
        ("instructions", " ".join(processor.instruction_sets) or "none that matter here"),
        ("caches", _cache_line(inventory)),
        ("memory", f"{_size(memory.available_bytes)} available of {_size(memory.total_bytes)}"),
        ("devices", _device_line(inventory)),
        (
            "system",
            f"{inventory.system.name} {inventory.system.release}, Python {inventory.python}",
        ),
    ]
    if torch is not None:
        lines.append(
            (
                "torch",
                f"{torch.version}: BLAS {torch.blas}, "
                f"{'oneDNN' if torch.has_onednn else 'no oneDNN'}, {torch.cpu_capability}, "
                f"{torch.parallel_backend}",
            )
        )
    others = {k: v for k, v in inventory.versions.items() if k in ("onnxruntime", "openvino")}
    others |= {k: v for k, v in inventory.versions.items() if k == "transformers"}
    lines.append(("libraries", ", ".join(f"{name} {version}" for name, version in others.items())))
    if inventory.environment:
        set_here = [f"{name}={value}" for name, value in inventory.environment.items()]
        lines.append(("environment", " ".join(set_here)))
    return lines


def _cache_line(inventory: "Inventory") -> str:
    data = [cache for cache in inventory.processor.caches if cache.kind != "instruction"]
    return (
        ", ".join(
            f"L{cache.level} {cache.instances} x {_size(cache.size_bytes)}"
            if cache.instances > 1
            else f"L{cache.level} {_size(cache.size_bytes)}"
            for cache in data
        )
        or "the system does not tell"
    )


def _device_line(inventory: "Inventory") -> str:
    texts = []
    for device in inventory.accelerators:
        memory = "" if device.memory_bytes is None else f", {_size(device.memory_bytes)}"
        capability = "" if device.capability is None else f", capability {device.capability}"
        unusable = "" if device.is_usable else f" - not usable: {device.reason}"
        texts.append(f"{device.kind}:{device.index} {device.name}{memory}{capability}{unusable}")
    return "\n".join([*texts, "cpu"] if texts else ["cpu alone: no CUDA or MPS device"])


def _product_table(console: "Console", ceilings: "Ceilings", device: str) -> "Table":
    """Return one row a path: fastest first within its precision, then those that did not run."""
    from rich.text import Text

    rates = [rate for rate in ceilings.products if rate.device == device]
    best = max((rate.operations_per_s or 0.0 for rate in rates), default=0.0)
    table = _grid(
        ("left", 4), ("left", 11), ("left", 26), ("right", 14), ("left", BAR_WIDTH), ("right", 4)
    )
    last = ""
    for rate in sorted(rates, key=_order):
        precision = "" if rate.precision == last else rate.precision
        last = rate.precision
        if rate.operations_per_s is None:
            reason = Text(f"{rate.how}: {rate.unavailable}", style="yellow")
            table.add_row("", precision, rate.library, reason, "none", "", "")
            continue
        share = rate.operations_per_s / best
        table.add_row(
            "",
            Text(precision, style="cyan"),
            rate.library,
            rate.how,
            _operations(rate) if rate.is_confirmed else f"? {_operations(rate)}",
            Text(_bar(console, share), style="green"),
            f"{share:.0%}",
        )
    return table


def _order(rate: "ProductRate") -> tuple[int, float]:
    precisions = ("fp32", "tf32", "bf16", "fp16", "int8")
    return precisions.index(rate.precision), -(rate.operations_per_s or 0.0)


def _copy_table(console: "Console", ceilings: "Ceilings") -> "Table":
    from rich.text import Text

    best = max((rate.bytes_per_s or 0.0 for rate in ceilings.copies), default=0.0)
    table = _grid(
        ("left", 6), ("left", 9), ("left", 26), ("right", 14), ("left", BAR_WIDTH), ("right", 4)
    )
    for rate in ceilings.copies:
        if rate.bytes_per_s is None:
            reason = Text(rate.unavailable or "", style="yellow")
            table.add_row("", rate.level, rate.device, reason, "none", "", "")
            continue
        share = rate.bytes_per_s / best
        bar = Text(_bar(console, share), style="green")
        table.add_row(
            "",
            Text(rate.level, style="cyan"),
            rate.device,
            f"working set {_size(rate.working_set_bytes)}",
            _bandwidth(rate) if rate.is_confirmed else f"? {_bandwidth(rate)}",
            bar,
            f"{share:.0%}",
        )
    return table


def _source_line(ceilings: "Ceilings") -> str:
    text = f"\n  best samples of a {ceilings.plan} measurement, {ceilings.created_at}"
    return text if ceilings.is_confirmed else f"{text}\n  ? the machine was too busy to be sure"


def _advice_table(advice: "list[Advice]") -> "Table":
    from rich.text import Text

    table = _grid(("left", 1), ("left", None))
    for one in advice:
        mark, style = MARKS[one.severity]
        text = Text.assemble((f"{one.topic}: ", "bold"), one.finding, " ", (one.action, "cyan"))
        table.add_row("", Text(mark, style=style), text)
    if not advice:
        table.add_row("", "", "Nothing to improve.")
    return table


def _bar(console: "Console", share: float) -> str:
    """Return a bar of a share of one; blocks where the terminal has them."""
    filled = max(1, round(share * BAR_WIDTH))
    return ("█" if console.encoding.startswith("utf") else "#") * filled


def _operations(rate: "ProductRate") -> str:
    unit = "OP/s" if rate.precision == "int8" else "FLOP/s"
    value = rate.operations_per_s or 0.0
    return f"{value / 1e12:.0f} T{unit}" if value >= 1e13 else f"{value / 1e9:.0f} G{unit}"


def _bandwidth(rate: "CopyRate") -> str:
    return f"{(rate.bytes_per_s or 0.0) / 1e9:.3g} GB/s"


def _size(count: int) -> str:
    """Return bytes as KiB, MiB or GiB."""
    for unit, factor in (("GiB", 1 << 30), ("MiB", 1 << 20)):
        if count >= factor:
            return f"{count / factor:.3g} {unit}"
    return f"{count / 1024:.3g} KiB"
