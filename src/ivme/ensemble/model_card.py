"""The model card: what an ensemble is, what it reaches, and what it must not be used for.

Made from the record of an evaluation and the ensemble's own description, so that it states nothing
that was not measured or written down in training.
"""

import re
from collections.abc import Mapping
from typing import Any

from ivme.ensemble.ensemble_folder import TABULAR, EnsembleFolder
from ivme.ensemble.ensemble_json import GroupEntry
from ivme.ensemble.transformer_settings import is_language_model
from ivme.measure.records import Record
from ivme.report.document import Block, Document, Note, Paragraph, Part, Section, Table
from ivme.report.facts import fact_table
from ivme.report.markdown import render_markdown
from ivme.report.sections.ensemble import (
    domain_table,
    ensemble_findings,
    headline,
    judge_table,
    length_table,
    member_table,
    share_only,
    share_text,
)
from ivme.report.wording import date_text

AUTHORSHIP = frozenset(("ai", "human", "machine", "generated"))  # names of labels, lower case

GENERAL_LIMITS = (
    (
        "Texts unlike those in training",
        "A classifier knows the domains, languages and years that it was trained on. On others its "
        "figures are lower, and its probabilities are too sure. Evaluate it on texts of your own.",
    ),
)
AUTHORSHIP_LIMITS = (
    (
        "Non-native writers",
        "Plain words and regular sentences are what machines write too, so people who write in a "
        "language that is not their first are taken for machines more often. Not measured here: "
        "the data do not say who is a native speaker.",
    ),
    (
        "Technical prose",
        "Abstracts, manuals, legal texts and forms follow rules that leave little room for a style "
        "of one's own; both kinds of mistakes are more frequent there.",
    ),
    (
        "Generators that it has not seen",
        "A newer model, another prompt, or a higher temperature may go undetected. A text that was "
        "paraphrased, translated or edited by hand may too.",
    ),
    (
        "Mixed texts",
        "One answer stands for the whole text. Of a text that is written in part by each, it says "
        "nothing reliable.",
    ),
)
NO_PROOF = (
    "An answer is no proof of who wrote a text. It is a probability that rests on how words are "
    "used, and it is wrong for some texts of every kind, as the tables above show. Never accuse, "
    "grade, reject or dismiss anyone on it alone: ask the writer, look at drafts, and let a person "
    "decide who can be asked for reasons."
)


_TABULAR_KINDS = {
    "DRF": "random forest on n-grams and style",
    "GBM": "gradient boosting on n-grams and style",
    "GLM": "logistic regression on n-grams; trained by H2O, on style too",
}


def model_card(ensemble: EnsembleFolder, record: Record) -> str:
    """Return the card as Markdown; record: of an evaluation of this very ensemble."""
    names = [str(ensemble.label_names[label]) for label in ensemble.labels]
    part = Part(
        title=f"Model card: {' or '.join(names)}",
        summary=f"Written {date_text(record.created_at)} by ivme {record.versions['ivme']} for the "
        f"ensemble with content hash {ensemble.content_hash[:16]}.",
        blocks=(*_warnings(record), *ensemble_findings(record)),
        sections=(
            _description(ensemble, names),
            _training(ensemble),
            _reached(record),
            _limits(ensemble, record, names),
            *_proof(names),
        ),
    )
    content, _ = render_markdown(Document(title=part.title, parts=(part,)), ".")
    return content


def is_about_authorship(names: list[str]) -> bool:
    """Return whether the labels say who wrote a text, as "AI" or "Human (demo)" does."""
    return any(AUTHORSHIP & set(re.findall(r"\w+", name.lower())) for name in names)


def _warnings(record: Record) -> list[Block]:
    return [Note(text=text, word="Mind", is_warning=True) for text in record.notes]


def _description(ensemble: EnsembleFolder, names: list[str]) -> Section:
    rows = tuple(
        (name, *_kind(ensemble, group, name), _weight(ensemble, name))
        for group in ensemble.groups
        for name in group.members
    )
    table = Table(
        caption="Members",
        columns=("Member", "Kind", "Runs on", "Weight in stacking"),
        rows=rows,
        numeric=frozenset((3,)),
    )
    text = (
        f"{len(rows)} classifiers read a text and each chooses one of {len(names)} labels: "
        f"{', '.join(names)}. The majority decides; {_probability(ensemble)}. Texts do not leave "
        "the machine that it runs on."
    )
    return Section(title="What it is", blocks=(Paragraph(text=text), table))


def _probability(ensemble: EnsembleFolder) -> str:
    if ensemble.stacking is None:
        return "the probability beside it is the mean of the members, and not calibrated"
    return "the calibrated probability beside it comes from stacking, which weighs the members"


def _kind(ensemble: EnsembleFolder, group: GroupEntry, name: str) -> tuple[str, str]:
    """Return what a member is, and what it runs on, as training and compiling noted it."""
    if group.kind == TABULAR:
        return _TABULAR_KINDS.get(name, "on n-grams"), "compiled, without Java"
    trained = ensemble.training.get("members", {}).get(name, {})
    settings = trained.get("training", {}).get("settings", {})
    how = "on a language model that stays as it is," if is_language_model(name) else "fine-tuned"
    base = f"transformer, {how} from {settings['base']}" if settings.get("base") else ""
    compiled = ensemble.training.get("compiled", {}).get(name, {})
    variant = compiled.get("variant") or trained.get("plan", {}).get("variant", "its plan")
    return base or "transformer, small, from scratch", variant


def _weight(ensemble: EnsembleFolder, name: str) -> str:
    if ensemble.stacking is None:
        return "not trained"
    return f"{ensemble.stacking.weights_of(ensemble.member_names)[name]:.2f}"


def _training(ensemble: EnsembleFolder) -> Section:
    training = ensemble.training
    versions = training.get("versions", {})
    facts = {
        "training texts": _data(ensemble, training.get("train")),
        "validation texts": _data(ensemble, training.get("valid")),
        "trainer of trees and linear member": training.get("members", {})
        .get(TABULAR, {})
        .get("trainer"),
        "seed": training.get("seed"),
        "replaced since": training.get("compiled", {}).get("members"),
        "versions": ", ".join(f"{name} {one}" for name, one in versions.items()) or None,
    }
    known = {name: value for name, value in facts.items() if value is not None}
    return Section(title="How it was trained", blocks=(fact_table("How it was trained", known),))


def _data(ensemble: EnsembleFolder, side: Mapping[str, Any] | None) -> str | None:
    """Return where texts are from, and how many there are of each label."""
    if side is None:
        return None
    counts = (f"{n:,} {ensemble.label_names[label]}" for label, n in side["texts"].items())
    return f"{side['source']}: {', '.join(counts)}"


def _reached(record: Record) -> Section:
    blocks: list[Block] = [
        Paragraph(
            text=f"On {record.settings['data']}. TPR and FPR: shares of the texts found, at the "
            "thresholds that were fixed in training for 1% and 5% false positives. Intervals hold "
            "at 95%, for texts like these."
        ),
        judge_table(record),
    ]
    built = (build(record) for build in (domain_table, length_table, member_table))
    blocks += [table for table in built if table is not None]
    return Section(title="What it reaches", blocks=tuple(blocks))


def _limits(ensemble: EnsembleFolder, record: Record, names: list[str]) -> Section:
    limits = AUTHORSHIP_LIMITS if is_about_authorship(names) else ()
    rows = (("Short texts", _short_texts(ensemble, record)), *limits, *GENERAL_LIMITS)
    table = Table(caption="What it cannot do", columns=("With", "It fails because"), rows=rows)
    return Section(title="What it cannot do", blocks=(table,))


def _short_texts(ensemble: EnsembleFolder, record: Record) -> str:
    text = (
        f"Under {ensemble.least_words} words there is too little to go by; answers say so, and are "
        "close to a guess."
    )
    best = headline(record)
    groups: Mapping[str, Any] = best[1]["by_length"] if best else {}
    if len(groups) > 1:
        shortest, longest = (groups[name] for name in (next(iter(groups)), list(groups)[-1]))
        text += (
            f" Measured: {share_text(shortest['accuracy'])} right with {next(iter(groups))} words, "
            f"{share_only(longest['accuracy'])} with {list(groups)[-1]}."
        )
    return text


def _proof(names: list[str]) -> tuple[Section, ...]:
    if not is_about_authorship(names):
        return ()
    return (Section(title="No proof of authorship", blocks=(Paragraph(text=NO_PROOF),)),)
