"""What the transfer table compares, and which music each fit is kept from.

Sources are left out one at a time (`one`), or a few unlike ones together (`folds`: six fits
instead of twenty-one, and stricter). Beside them a fifth of the works and artists of the other
sources is left out, to calibrate on and to rank against.
"""

import json
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

from pydantic import TypeAdapter

from data_tools.corpus import Corpus, Enlarged
from data_tools.settings import NeutraliseSettings, ThinningSettings
from discriminator.features import PITCH
from discriminator.settings import (
    CNNSettings,
    OneModel,
    StatisticsSettings,
    TransformerSettings,
    View,
    sized,
)
from gan.engine import derived_seed
from gan.settings import PretrainSettings

SMALLEST = 30  # pieces of a source that is left out in turn
PARTS = 5  # of the works and artists, one left out
# Sources of one fold are unlike each other, so that leaving all out starves nobody of its kin.
FOLDS: tuple[tuple[str, ...], ...] = (
    ("stem-midkar", "stanford-rolls", "nottingham"),
    ("midkar-archive", "leadsheet-chordmelody", "fanhongtao-classical", "vgmidi"),
    ("joplin-kern", "leadsheet-openewld", "pop909", "stem-mckenzie"),
    ("mckenzie", "wildwest", "asap", "bimmuda"),
    ("wjazzd", "justpiano", "jsbach-net", "vgmidi-unlabelled", "stem-misc-jazz"),
    ("pijama", "pianocore-scores", "midkar-archive-hist"),
)  # fmt: skip

_HEARD = NeutraliseSettings(neutral_share=0.4)
# A low rate, a strong decay and few steps: at 0.002 and 0.05 the rarest chords and turns, which no
# other source writes alike, outweighed the common ones (areas of 0.953, not 0.963, in folds).
STATISTICS = PretrainSettings(
    model=StatisticsSettings(), corrupt_share=0.0, steps=750, batch=256, shortest=96, window=4096,
    learning_rate=2e-4, weight_decay=1.0, warmup=50, average=0.99, neutralise=_HEARD,
)  # fmt: skip
_NETWORK = PretrainSettings(
    model=CNNSettings(), corrupt_share=0.0, steps=400, batch=32, shortest=128, window=1024,
    learning_rate=2e-3, warmup=40, average=0.98, neutralise=_HEARD,
)  # fmt: skip

Protocol = Literal["one", "folds"]


@dataclass(frozen=True)
class Model:
    """A line of the table.

    Attributes:
        how: boosted trees on features, a perceptron on kept statistics, or a network on crops.
        protocol: sources left out one at a time, or in folds.
        settings: of training, where it has any.
        least: tokens of the shortest crop a perceptron learns from.
        also: learns from the pieces of a second corpus as well, see `Enlarged`.
        groups: of features that boosted trees see.
        thinned: thinned copies of every piece from which boosted trees learn, too.
    """

    how: Literal["features", "statistics", "network", "gate"]
    protocol: Protocol
    settings: PretrainSettings = STATISTICS
    least: int = 0
    also: bool = False
    groups: tuple[str, ...] = PITCH
    thinned: int = 0

    def told(self) -> str:
        """All of it but what is as by default: settings to come leave it as it is."""
        own = {each.name: getattr(self, each.name) for each in fields(self)}
        own["settings"] = self.settings.model_dump(mode="json", exclude_defaults=True)
        own["settings"]["kind"] = self.settings.model.kind
        kept = {
            each.name: own[each.name] for each in fields(self) if own[each.name] != each.default
        }
        return json.dumps(kept, sort_keys=True, default=str)


def _statistics(
    view: Any = "harmony", protocol: Protocol = "folds", least: int = 384, noise: float = 0.0,
    **changes: Any,
) -> Model:  # fmt: skip
    updates = {"model": StatisticsSettings(view=view, **changes), "corrupt_share": noise}
    return Model("statistics", protocol, STATISTICS.model_copy(update=updates), least)


def _network(model: OneModel, protocol: Protocol = "folds", **changes: Any) -> Model:
    return Model("network", protocol, _NETWORK.model_copy(update={"model": model} | changes))


def _base(model: str, view: str) -> OneModel:
    fields = sized(model, "base") | {"view": view, "bound": 0.0}
    return TypeAdapter[OneModel](OneModel).validate_python(fields)


_CNN = CNNSettings(view="harmony", blocks=4)
_DEEP: dict[str, Any] = {"width": 384, "layers": 2, "dropout": 0.4}
GATE = "gate"
_GATE = STATISTICS.model_copy(update={
    "model": StatisticsSettings(width=256, layers=2, dropout=0.2), "steps": 500,
    "learning_rate": 5e-4, "weight_decay": 0.3, "label_smoothing": 0.005,
})  # fmt: skip
NOISE = 0.1  # share of the not-jazz crops that are corrupted music
_CONV_TRANSFORMER = TransformerSettings(view="harmony")
_FOUR = {
    "features + boosted trees": Model("features", "one"),
    "statistics of harmony": _statistics(protocol="one"),
    "statistics of harmony, deep": _statistics(protocol="one", **_DEEP),
    "CNN on harmony": _network(_CNN, "one"),
}
RAGS = ", and rags"  # composed by `gan data practice --ragtime`
BOUNDED = ", bounded"  # see `Statistics`
_BOUND = 1.0


def _bounded(model: Model) -> Model:
    heard = model.settings.model.model_copy(update={"bound": _BOUND})
    return replace(model, settings=model.settings.model_copy(update={"model": heard}))


_NETWORKS = {name: model for name, model in _FOUR.items() if model.how != "features"}
TIME = " and time"


def _seeing(model: Model, view: View) -> Model:
    sees = model.settings.model.model_copy(update={"view": view})
    return replace(model, settings=model.settings.model_copy(update={"model": sees}))


_TIMED = {
    name.replace("harmony", f"harmony{TIME}"): _seeing(model, "rhythm")
    for name, model in _NETWORKS.items()
}
THINNED = ", thinned"  # see `data_tools.thinning`
_SHARES = (0.8, 0.5, 0.5)  # of the windows of each of `_TIMED`


def _thinned(model: Model, share: float) -> Model:
    thinning = ThinningSettings(thin_share=share)
    return replace(model, settings=model.settings.model_copy(update={"thinning": thinning}))


# One source at a time: the baseline and what is shipped. In folds: what is compared with it.
MODELS = {
    **_FOUR,
    **{f"{name}{RAGS}": replace(model, also=True) for name, model in _FOUR.items()},
    **{f"{name}{BOUNDED}": _bounded(model) for name, model in _NETWORKS.items()},
    **{
        f"{name}{BOUNDED}{RAGS}": replace(_bounded(model), also=True)
        for name, model in (_NETWORKS | _TIMED).items()
    },
    **{
        f"{name}{BOUNDED}{THINNED}{RAGS}": replace(_thinned(_bounded(model), share), also=True)
        for (name, model), share in zip(_TIMED.items(), _SHARES, strict=True)
    },
    f"features with rhythm + boosted trees{RAGS}": Model(
        "features", "one", also=True, groups=(*PITCH, "rhythm")
    ),
    f"features + boosted trees{THINNED}{RAGS}": Model("features", "one", also=True, thinned=2),
    "features + boosted trees (folds)": Model("features", "folds"),
    "statistics of harmony (folds)": _statistics(),
    "statistics of harmony, deep (folds)": _statistics(**_DEEP),
    "statistics of harmony, shown noise": _statistics(noise=NOISE),
    "statistics of harmony, deep, shown noise": _statistics(noise=NOISE, **_DEEP),
    GATE: Model("gate", "folds", _GATE),
    "statistics of harmony and time": _statistics("rhythm"),
    "statistics of harmony, time, velocity": _statistics("touch"),
    "statistics of harmony, crops from 96 tokens": _statistics(least=0),
    "CNN on harmony (folds)": _network(_CNN),
    "CNN on harmony, shown noise": _network(_CNN, corrupt_share=NOISE),
    "CNN on harmony, spotting first": _network(_CNN, spotting_steps=400),
    "CNN on harmony, base": _network(_base("cnn", "harmony"), learning_rate=7e-4),
    "CNN on harmony and time": _network(_CNN.model_copy(update={"view": "rhythm"})),
    "CNN on harmony, time, velocity": _network(_CNN.model_copy(update={"view": "touch"})),
    "CNN on tokens": _network(CNNSettings()),
    "CNN on tokens but velocity, length": _network(CNNSettings(), hide=("velocity", "duration")),
    "CNN on pitches and new chords": _network(
        CNNSettings(), hide=("velocity", "duration", "time_shift")
    ),
    "conv-transformer on harmony": _network(_CONV_TRANSFORMER),
    "conv-transformer on harmony, spotting first": _network(_CONV_TRANSFORMER, spotting_steps=400),
    "conv-transformer on harmony, base": _network(
        _base("conv-transformer", "harmony"), learning_rate=7e-4
    ),
    "conv-transformer on tokens": _network(TransformerSettings()),
    "transformer on harmony": _network(TransformerSettings(view="harmony", stride=1, layers=3)),
}
_MEMBERS = ("statistics of harmony", "statistics of harmony, deep", "CNN on harmony")
_TWO = ("statistics of harmony (folds)", "statistics of harmony, deep (folds)")
_THREE = "ensemble of three"
_HEARING = f"{_THREE} with time{BOUNDED}"
_PLAIN = tuple(f"{name}{BOUNDED}{RAGS}" for name in _TIMED)
_FEWER = tuple(f"{name}{BOUNDED}{THINNED}{RAGS}" for name in _TIMED)
_BEST = (_PLAIN[0], _FEWER[1], _PLAIN[2])
NETWORKS = f"{_HEARING}, one thinned{RAGS}"
SHIPPED = f"{NETWORKS}, and boosted trees"
BASELINES = (
    "features + boosted trees",
    f"features + boosted trees{RAGS}",
    f"features with rhythm + boosted trees{RAGS}",
    f"features + boosted trees{THINNED}{RAGS}",
)
ENSEMBLES = {
    **{
        f"{_THREE}{kind}": tuple(f"{name}{kind}" for name in _MEMBERS)
        for kind in ("", RAGS, BOUNDED, BOUNDED + RAGS)
    },
    f"{_HEARING}{RAGS}": _PLAIN,
    NETWORKS: _BEST,
    SHIPPED: (*_BEST, f"features + boosted trees{RAGS}"),
    f"{_HEARING}, two thinned{RAGS}": (*_FEWER[:2], _PLAIN[2]),
    "ensemble of three and boosted trees": (*_MEMBERS, "features + boosted trees"),
    f"ensemble of three and boosted trees{BOUNDED}{RAGS}": (
        *(f"{name}{BOUNDED}{RAGS}" for name in _MEMBERS),
        f"features + boosted trees{RAGS}",
    ),
    "ensemble of three (folds)": tuple(f"{name} (folds)" for name in _MEMBERS),
    "ensemble of three, shown noise": tuple(f"{name}, shown noise" for name in _MEMBERS),
    "two perceptrons (folds)": _TWO,
    "two perceptrons and a gate (folds)": (*_TWO, GATE),
}


def plan(corpus: Corpus, protocol: str) -> list[tuple[str, ...]]:
    """The sources left out together, in turn."""
    counts: dict[str, int] = {}
    for row in corpus.rows:
        if row["label"] not in ("jazz", "not_jazz"):
            continue
        counts[row["source"]] = counts.get(row["source"], 0) + 1
    if protocol == "one":
        return [(source,) for source in sorted(counts) if counts[source] >= SMALLEST]
    folds = [[source for source in fold if source in counts] for fold in FOLDS]
    unknown = sorted(set(counts) - {source for fold in FOLDS for source in fold})
    for place, source in enumerate(unknown):
        folds[place % len(folds)].append(source)
    return [tuple(fold) for fold in folds if fold]


def parts(
    corpus: Corpus, left: tuple[str, ...], seed: int
) -> tuple[list[int], list[int], list[int]]:
    """Numbers of the pieces to train on, of left-out works and artists, of left-out sources.

    What a second corpus adds is only trained on; its works and artists should be in neither of the
    others, as a program's are.
    Works do not recur between the first and the others. An artist of a left-out source may have
    other pieces in another source: Bach is in five, and leaving him out would leave nothing.
    """
    own = corpus.own if isinstance(corpus, Enlarged) else len(corpus)
    train, works, sources = [], [], []
    for number, row in enumerate(corpus.rows):
        if row["label"] not in ("jazz", "not_jazz"):
            continue
        if number >= own:
            train += [number] if row["source"] not in left else []
        elif row["source"] in left:
            sources.append(number)
        elif derived_seed("part", row["group"]) % PARTS == seed % PARTS:
            works.append(number)
        else:
            train.append(number)
    return train, works, sources
