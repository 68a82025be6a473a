"""The audit itself: every view, every group of fingerprints, every source, and a verdict.

The `fingerprints` row is all that a machine leaves: ticks, tempo, onset grid, velocity, pedal and
length. `timing` and `register` stand beside it: rhythm and range are music, and may tell.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from data_tools.audit import ranking, views
from data_tools.audit.marks import ADVICE, MORE, Mark, marks
from data_tools.audit.ranking import Estimate, Pieces, Table
from data_tools.corpus import Corpus
from data_tools.errors import UserError
from data_tools.fingerprint import columns
from data_tools.settings import NEUTRAL, NeutraliseSettings

FINGERPRINTS = "fingerprints"
MACHINE = ("ticks", "tempo", "grid", "velocity", "pedal", "length")
MUSIC = ("timing", "register")
LIMIT = 0.65  # area on sources left out, up to which fingerprints are held to be harmless
_MOST, _FEWEST = 150, 15  # pieces of a source that are looked at; that a source needs
_WINDOWS = 2  # a piece
_TOLD = 0.9  # area from which a source is told from the rest


@dataclass(frozen=True)
class Finding:
    """What one group of fingerprints tells in one view.

    Attributes:
        view: "files", "tokens" or "neutralised".
        group: of fingerprints.
        in_source: area by cross-validation over groups; all sources are known to the model.
        left_out: mean area over sources the model never met; None where none could be left out.
        unseen: the same against other pieces that are of sources never met, too.
        by_source: the areas behind `left_out`.
    """

    view: str
    group: str
    in_source: Estimate
    left_out: Estimate | None
    unseen: Estimate | None
    by_source: dict[str, Estimate]


@dataclass(frozen=True)
class Told:
    """How well a source's machine is recognised, and by what.

    Attributes:
        source, label, pieces: which ("both" where it holds both labels).
        areas: view to area of telling it from all others by its fingerprints.
        marks: in words.
        advice: what to do.
    """

    source: str
    label: str
    pieces: int
    areas: dict[str, float]
    marks: list[Mark]
    advice: str


@dataclass(frozen=True)
class Report:
    """Everything found; `notes` say what could not be looked at, `verdict` what to do."""

    pieces: int
    looked_at: int
    seed: int
    findings: list[Finding]
    sources: list[Told]
    notes: list[str]
    verdict: str
    harmless: bool

    def find(self, view: str, group: str = FINGERPRINTS) -> Finding | None:
        """The finding of a view and group, None where the view was not taken."""
        wanted = (one for one in self.findings if (one.view, one.group) == (view, group))
        return next(wanted, None)

    def facts(self) -> dict[str, Any]:
        """The same as plain values, for JSON."""
        return asdict(self)


def audit(
    corpus: Corpus,
    exclude_sources: Sequence[str] = (),
    neutralise: NeutraliseSettings = NEUTRAL,
    seed: int = 0,
    wanted: Sequence[str] = views.VIEWS,
    progress: Callable[[str], None] | None = None,
) -> Report:
    """Measures how well fingerprints alone predict the label of a corpus.

    Args:
        corpus: with both labels.
        exclude_sources: sources to leave aside.
        neutralise: how the third view's windows are neutralised.
        seed: of the pieces looked at, the folds, the windows and the models.
        wanted: the views to take.
        progress: called with what is done now, in words.

    Raises:
        UserError: too few pieces of a label or too few groups, or an unknown source.
    """
    say = progress or (lambda text: None)
    kept = corpus.select(exclude_sources=exclude_sources)
    kept = [number for number in kept if corpus.rows[number]["label"] in ("jazz", "not_jazz")]
    numbers = _drawn(corpus, kept, seed)
    pieces = _pieces(corpus, numbers)
    for label, jazz in (("jazz", True), ("not_jazz", False)):
        groups = len(np.unique(pieces.group[pieces.jazz == jazz]))
        if groups < ranking.FOLDS:
            raise UserError(
                f"{corpus.folder}: {groups} groups of works and artists are labelled {label}; an "
                f"audit needs {ranking.FOLDS} of each label"
            )
    folds = ranking.folds_of(pieces, seed)
    tables, notes = _tables(corpus, numbers, wanted, neutralise, seed, say)
    findings = [
        _finding(view, group, table, pieces, folds, seed, say)
        for view, table in tables.items()
        for group in (FINGERPRINTS, *MACHINE, *MUSIC)
        if _varies(table, group)
    ]
    say("sources")
    sources = _sources(corpus, kept, numbers, pieces, tables, seed)
    verdict, harmless = _verdict(findings, _hidden(corpus, tables))
    return Report(len(kept), len(numbers), seed, findings, sources, notes, verdict, harmless)


def _drawn(corpus: Corpus, kept: list[int], seed: int) -> list[int]:
    """At most so many pieces of each source, so that a large one costs no more than a small one."""
    generator = np.random.default_rng([seed, 0])
    by_source: dict[str, list[int]] = {}
    for number in kept:
        by_source.setdefault(corpus.rows[number]["source"], []).append(number)
    chosen = [
        generator.permutation(members)[:_MOST].tolist() for _, members in sorted(by_source.items())
    ]
    return sorted(number for members in chosen for number in members)


def _pieces(corpus: Corpus, numbers: Sequence[int]) -> Pieces:
    rows = [corpus.rows[number] for number in numbers]
    return Pieces(
        np.array([row["label"] == "jazz" for row in rows], dtype=bool),
        np.array([row["source"] for row in rows], dtype=object).astype(str),
        np.unique([row["group"] for row in rows], return_inverse=True)[1]
        if rows else np.zeros(0, dtype=np.int64),
    )  # fmt: skip


def _tables(
    corpus: Corpus,
    numbers: Sequence[int],
    wanted: Sequence[str],
    neutralise: NeutraliseSettings,
    seed: int,
    say: Callable[[str], None],
) -> tuple[dict[str, Table], list[str]]:
    """The views that this corpus allows, and why the others are missing."""
    tables: dict[str, Table] = {}
    notes: list[str] = []
    settings = {"tokens": NeutraliseSettings(), "neutralised": neutralise}
    for view in (view for view in views.VIEWS if view in wanted):

        def told(done: int, view: str = view) -> None:
            if done % 1000 == 0:
                say(f"{view}: {done:,} of {len(numbers) * _WINDOWS:,} windows")

        try:
            if view == "files":
                tables[view] = views.of_files(corpus, numbers)
            else:
                tables[view] = views.of_windows(
                    corpus, numbers, settings[view], seed, _WINDOWS, told
                )
        except UserError as error:
            notes.append(f"{view}: {error}")
    if not tables:
        raise UserError(f"{corpus.folder}: {notes[0]}")
    return tables, notes


def _features(group: str) -> list[int]:
    groups = MACHINE if group == FINGERPRINTS else (group,)
    return [column for name in groups for column in columns(name)]


def _varies(table: Table, group: str) -> bool:
    """Whether a view holds a group at all: tokens on a clock hold no ticks."""
    return bool(np.ptp(table.values[:, _features(group)], axis=0).any())


def _finding(
    view: str,
    group: str,
    table: Table,
    pieces: Pieces,
    folds: np.ndarray,
    seed: int,
    say: Callable[[str], None],
) -> Finding:
    say(f"{view}: {group}")
    part = Table(table.values[:, _features(group)], table.piece)
    scores = ranking.cross_validated(part, pieces, folds, seed)
    inside = ranking.estimate(scores, pieces.jazz, pieces.group, seed)
    found = ranking.left_out(part, pieces, folds, _FEWEST, seed)
    left = ranking.mean_over_sources(found, seed)
    never = ranking.mean_over_sources(ranking.unseen(part, pieces, _FEWEST, seed), seed)
    return Finding(view, group, inside, left, never, found)


def _sources(
    corpus: Corpus,
    kept: list[int],
    numbers: list[int],
    pieces: Pieces,
    tables: dict[str, Table],
    seed: int,
) -> list[Told]:
    """Every source of some size, the one most easily told first."""
    names = [name for name in np.unique(pieces.source) if (pieces.source != name).any()]
    everything = np.array([corpus.rows[number]["source"] for number in kept])
    # Words are about all files where there are fingerprints of them, else about the windows.
    if "files" in tables:
        values, owner = np.asarray(corpus.fingerprints)[kept], everything
    else:
        table = next(iter(tables.values()))
        values, owner = table.values, pieces.source[table.piece]
    hidden = _hidden(corpus, tables)
    told = []
    for name in map(str, names):
        count = int((everything == name).sum())
        if count < _FEWEST:
            continue
        areas = {}
        for view in tables:
            part = Table(tables[view].values[:, _features(FINGERPRINTS)], tables[view].piece)
            areas[view] = ranking.recognised(part, pieces, name, seed)
        jazz = np.unique(pieces.jazz[pieces.source == name])
        label = "both" if len(jazz) == 2 else "jazz" if jazz[0] else "not_jazz"
        found = marks(values, owner == name)
        told.append(Told(name, label, count, areas, found, _advice(found, areas, hidden)))
    return sorted(told, key=lambda one: (-_danger(one), one.source))


def _hidden(corpus: Corpus, tables: dict[str, Table]) -> list[str]:
    """The groups of fingerprints that the corpus's tokens do not hold."""
    if "tokens" in tables:
        return [group for group in ADVICE if not _varies(tables["tokens"], group)]
    chosen = corpus.representation
    hidden = ["ticks", "tempo"] if chosen.settings.time_base == "clock" else []
    hidden += ["velocity"] if not chosen.settings.velocities else []
    return hidden + (["pedal"] if chosen.pedal != "tokens" else [])


def _danger(one: Told) -> float:
    """How much a source gives away: the gap of its plainest machine marks, summed."""
    return sum(mark.share - mark.others for mark in one.marks if mark.group in MACHINE)


def _advice(found: list[Mark], areas: dict[str, float], hidden: list[str]) -> str:
    """What to do about a source's marks; those the tokens do not hold need nothing."""
    groups = [mark.group for mark in found if mark.group in ADVICE]
    steps = [ADVICE[group] for group in groups if group not in hidden]
    gone = [group for group in groups if group in hidden]
    if gone:
        steps.append(f"{' and '.join(gone)}: already not in the tokens")
    left = areas.get("neutralised")
    if left is not None and left >= _TOLD:
        steps.append("even neutralised it is told; train with and without it (--exclude-sources)")
    return "; ".join(dict.fromkeys(steps)) or "nothing to do"


def _verdict(findings: list[Finding], hidden: list[str]) -> tuple[str, bool]:
    """One line to act on, and whether fingerprints are harmless."""
    found = {(one.view, one.group): one for one in findings}
    last = next(
        (
            found[view, FINGERPRINTS]
            for view in reversed(views.VIEWS)
            if (view, FINGERPRINTS) in found
        ),
        None,
    )
    if last is None:
        return "no fingerprints at all: every piece has the same", True
    if last.left_out is None:
        return "nothing could be left out: give pieces of both labels from several sources", False
    where = {
        "files": "in the files", "tokens": "in the tokens", "neutralised": "after neutralising",
    }[last.view]  # fmt: skip
    area = last.left_out.auc
    line = f"fingerprints alone reach {area:.2f} on a source left out {where} (limit {LIMIT})"
    if last.unseen is not None:
        line += f" and {last.unseen.auc:.2f} among unseen sources"
    if area <= LIMIT:
        so = " if training neutralises them too (--neutral-share 1)"
        return f"{line}: harmless{so if last.view == 'neutralised' else ''}", True
    worst = max(
        (
            one
            for one in findings
            if one.view == last.view and one.group in MACHINE and one.left_out
        ),
        key=lambda one: one.left_out.auc if one.left_out else 0.0,
    )
    assert worst.left_out is not None
    if last.view == "files" and worst.group in hidden:
        return (
            f"{line}: {worst.group} tells most ({worst.left_out.auc:.2f}), which the tokens do not "
            "hold; ask the views tokens and neutralised what is left",
            False,
        )
    advice = (MORE if last.view == "neutralised" else ADVICE).get(worst.group, ADVICE[worst.group])
    return (
        f"{line}: {worst.group} tells most ({worst.left_out.auc:.2f}); {advice}, or leave out the "
        "sources named first",
        False,
    )
