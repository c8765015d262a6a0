"""Measured ceilings, kept per machine: measure once, read ever after."""

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ivme.hardware.cache import cache_folder
from ivme.hardware.ceilings import (
    CEILINGS_VERSION,
    FULL_PLAN,
    QUICK_PLAN,
    Ceilings,
    CopyRate,
    ProductRate,
    Progress,
    SizeSamples,
    measure_ceilings,
    usable_accelerators,
)
from ivme.hardware.inventory import Inventory
from ivme.whole_file import write_json

logger = logging.getLogger(__name__)

Measure = Callable[..., Ceilings]


def cached_ceilings(
    inventory: Inventory,
    *,
    quick: bool = False,
    refresh: bool = False,
    notify: Callable[[str], None] = logger.warning,
    progress: Progress | None = None,
    measure: Measure = measure_ceilings,
) -> Ceilings:
    """Return this machine's ceilings, measured now if they are not in the cache.

    quick: a short measurement is enough (a full one in the cache serves too). refresh: measure
    even if cached. notify: told when the cache is damaged or cannot be written, and when the
    machine was too busy: what is not confirmed is not kept, for it would stay wrong.
    """
    wanted = QUICK_PLAN if quick else FULL_PLAN
    if not refresh:
        cached = load_ceilings(inventory, notify=notify)
        if cached and (quick or cached.plan == FULL_PLAN.name):
            return cached
    ceilings = measure(inventory, wanted, progress=progress)
    if not ceilings.is_confirmed:
        notify("the machine is busy: these rates are too low to be ceilings, and are not kept.")
        return ceilings
    try:
        write_json(ceilings_file(inventory), asdict(ceilings))
    except OSError as error:
        notify(f"the measured ceilings are not kept: {error}. Set IVME_CACHE_DIR to a folder.")
    return ceilings


def load_ceilings(
    inventory: Inventory, *, notify: Callable[[str], None] = logger.warning
) -> Ceilings | None:
    """Return the cached ceilings of this machine as it is now, None if there are none."""
    path = ceilings_file(inventory)
    if not path.exists():
        return None
    try:
        ceilings = ceilings_from_dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, KeyError, TypeError, OSError) as error:
        notify(f"{path} is damaged ({type(error).__name__}); measuring again.")
        return None
    devices_known = all(device.is_usable is not None for device in inventory.accelerators)
    if devices_known and ceilings.accelerators != usable_accelerators(inventory):
        return None
    return ceilings


def ceilings_file(inventory: Inventory) -> Path:
    """Return where the ceilings of this machine are kept."""
    return cache_folder() / f"ceilings-v{CEILINGS_VERSION}-{inventory.fingerprint}.json"


def ceilings_from_dict(content: Mapping[str, Any]) -> Ceilings:
    """Return the ceilings that dataclasses.asdict and JSON made this of.

    Raises KeyError, TypeError or ValueError if the content is something else.
    """
    if content["version"] != CEILINGS_VERSION:
        raise ValueError(f"version {content['version']}, not {CEILINGS_VERSION}")
    fields = dict(content)
    fields["accelerators"] = tuple(content["accelerators"])
    fields["products"] = tuple(_product_from_dict(rate) for rate in content["products"])
    fields["copies"] = tuple(
        CopyRate(**{**rate, "seconds": tuple(rate["seconds"])}) for rate in content["copies"]
    )
    return Ceilings(**fields)


def _product_from_dict(content: Mapping[str, Any]) -> ProductRate:
    samples = tuple(
        SizeSamples(size=taken["size"], seconds=tuple(taken["seconds"]))
        for taken in content["samples"]
    )
    return ProductRate(**{**content, "samples": samples})
