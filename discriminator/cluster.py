"""Scores for millions of files on all cores and GPUs of a Ray cluster, or of this machine.

Ray Data streams three stages: tasks without torch read and tokenise a few parts of the listing
each, actors that hold the model score what was read, and this process writes every part as it is
complete (`discriminator.parts`). Blocks between the stages are small and Ray holds readers back
when scorers lag behind, so memory stays bounded whatever the collection. A file that kills or
blocks its reader costs itself alone: it is read in a process of its own (`reading.read_many`).
Ray repeats what a lost node was doing. Files, listing and model must lie on a file system that all
nodes share.
"""

import logging
import os
import platform
import socket
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_tools.errors import UserError
from data_tools.files import sole_writer
from data_tools.parallel import cores
from data_tools.representation import Representation
from discriminator.parts import Listing, Parts, pieces_of, read_listing, write_listing
from discriminator.reading import Opinion, Piece, Reading, read_many
from discriminator.scores import DIGITS, Score, classifier_digest

if TYPE_CHECKING:
    from discriminator.classifier import Classifier

STORE = 256 * 2**20  # bytes of shared memory for blocks on this machine; a laptop has them
BLOCK = 2**20  # bytes of tokens in a block: some seventy pieces
_PIECES = 128  # handed to a scorer at a time
_PARTS = 8  # at most, that a task reads with one reading process
# The stage that works hardest gets whole cores but for a tenth, which the other one makes do with:
# without a GPU a scorer keeps some thirty readers busy, with one it is the other way round.
_MOST, _LEAST = 0.9, 0.1


@dataclass(frozen=True)
class Summary:
    """What a call has done.

    Attributes:
        scored: pieces that have got a probability.
        failed: files set aside in `errors/`.
        parts: parts written by this call.
        kept: parts that were finished before.
        damaged: whether an archive is, and what lies behind the damage has no row.
    """

    scored: int
    failed: int
    parts: int
    kept: int
    damaged: bool = False


def score_cluster(
    paths: Sequence[Path],
    out: Path,
    model: Path | None = None,
    address: str | None = None,
    *,
    part_size: int = 1000,
    form: str = "parquet",
    readers: int = 0,
    scorers: int = 0,
    gpu_share: float | None = None,
    batch_size: int = 64,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Summary:
    """Scores a collection into `out/scores/` and `out/errors/`, or goes on with a run cut short.

    Args:
        paths: files, folders, archives, manifests, or .txt lists of these.
        out: the run's folder; see `discriminator.parts.Parts`.
        model: a classifier's folder; None takes the shipped one.
        address: of a running Ray cluster ("auto" on one of its nodes, or HOST:PORT), "local" for
            one on this machine alone; None takes RAY_ADDRESS, else "local". A Ray that this
            process has initialised already is used as it is.
        part_size: files of a part.
        form: "parquet", "csv" or "jsonl".
        readers: reading tasks at a time; 0 takes a core each with GPUs, else few.
        scorers: actors that hold the model; 0 takes as many as there are cores, or shares of GPUs.
        gpu_share: of a GPU for a scorer, in (0, 1]; 0 scores on CPUs, None on GPUs where the
            cluster has any, one each.
        batch_size: windows per forward pass.
        progress: told the finished and all parts.

    Raises:
        UserError: Ray is missing or cannot be reached, there is nothing to score, `out` holds
            another run, or the cluster failed; finished parts stay.
    """
    ray = _ray()
    # Here and not above: reading tasks import this module, and do without torch.
    from discriminator.classifier import Classifier

    classifier = Classifier.load(model)
    digest = classifier_digest(classifier)
    out.mkdir(parents=True, exist_ok=True)
    with sole_writer(out):
        draft = write_listing(paths, out / "listing.tmp", part_size)
        files = sum(draft.counts)
        facts = {"classifier": digest, "listing": draft.digest, "files": files}
        parts = Parts(out, form, {**facts, "part_size": part_size})
        listing = Listing(
            draft.path.replace(out / "listing.jsonl"), draft.digest, draft.ends, draft.counts
        )
        total = len(listing.counts)
        missing = [number for number in range(total) if not parts.done(number)]
        kept = total - len(missing)
        progress(kept, total)
        if not missing:
            return Summary(0, 0, 0, kept, parts.damaged())
        with _cluster(ray, address):
            compute = _Compute.of(ray, readers, scorers, gpu_share)
            verdicts = _stream(
                ray, compute, listing, missing, classifier,
                (model.absolute() if model else None, digest, compute.gpu, batch_size),
            )  # fmt: skip
            scored = written = 0
            try:
                for number, rows in _complete(verdicts, listing):
                    parts.write(number, rows)
                    scored += sum(row.p_jazz is not None for row in rows)
                    written += len(rows)
                    missing.remove(number)
                    progress(total - len(missing), total)
            except ray.exceptions.RayError as error:
                raise _stopped(out, error) from error
    return Summary(scored, written - scored, total - kept, kept, parts.damaged())


@dataclass(frozen=True)
class _Compute:
    """How many readers and scorers, and what each takes."""

    readers: int | None
    scorers: tuple[int, int]  # fewest, most
    gpu: float

    @classmethod
    def of(cls, ray: Any, readers: int, scorers: int, gpu_share: float | None) -> "_Compute":
        have = ray.cluster_resources()
        gpus, cpus = have.get("GPU", 0.0), have.get("CPU", 0.0)
        gpu = (1.0 if gpus else 0.0) if gpu_share is None else gpu_share
        if gpu and not gpus:
            raise UserError("the cluster has no GPU; leave out the share of one, or set it to 0")
        most = scorers or max(1, int(gpus / gpu) if gpu else int(cpus))
        few = readers or (None if gpu else max(1, int(cpus) // 8))
        return cls(few, (scorers or 1, most), gpu)


def _stream(
    ray: Any, compute: _Compute, listing: Listing, missing: Sequence[int],
    classifier: "Classifier", scorer: tuple[Path | None, str, float, int],
) -> Iterator[Any]:  # fmt: skip
    """Tables of part, row, p_jazz, verdict, windows and error, in whatever order they come."""
    rows = [{"part": n, "start": listing.span(n)[0], "stop": listing.span(n)[1]} for n in missing]
    tasks = max(-(-len(rows) // _PARTS), min(len(rows), 4 * (compute.readers or cores())))
    context = ray.data.DataContext.get_current().copy()
    context.enable_progress_bars = context.print_on_execution_start = False
    context.target_max_block_size = BLOCK
    fewest, most = compute.scorers
    busy, idle = (_LEAST, _MOST) if compute.gpu else (_MOST, _LEAST)
    with ray.data.DataContext.current(context):
        dataset = (
            ray.data.from_items(rows, override_num_blocks=tasks)
            .map_batches(
                read_parts_of,
                batch_size=None,
                batch_format="pyarrow",
                fn_args=[
                    listing.path.absolute(),
                    Path.cwd(),
                    classifier.representation,
                    # Trees cost as much as the networks: without a GPU scorers have the cores.
                    classifier.opinion if compute.gpu else None,
                ],
                num_cpus=idle,
                compute=ray.data.TaskPoolStrategy(size=compute.readers),
            )
            .map_batches(
                Scorer,
                batch_size=_PIECES,
                batch_format="pyarrow",
                fn_constructor_args=scorer,
                num_cpus=busy,
                num_gpus=compute.gpu or None,
                compute=ray.data.ActorPoolStrategy(min_size=fewest, max_size=most),
            )
        )
        yield from dataset.iter_batches(batch_size=None, batch_format="pyarrow")


def read_parts_of(
    table: Any, listing: Path, base: Path, representation: Representation, opinion: Opinion | None
) -> Iterator[Any]:
    """The reading stage: parts of the listing become tables of tokens, or of reasons."""
    import pyarrow

    if not listing.exists():
        raise UserError(
            f"{listing}: not there on {platform.node()}; files, --out and model must lie on a "
            "file system that all nodes share, under the same paths"
        )
    places: deque[tuple[int, int]] = deque()

    def pieces() -> Iterator[Piece]:
        for part in table.to_pylist():
            items = read_listing(listing, part["start"], part["stop"])
            for row, piece in pieces_of(items, base):
                places.append((part["part"], row))
                yield piece

    columns: tuple[list[Any], ...] = ([], [], [], [], [])
    kinds = {"part": "int64", "row": "int64", "ids": "binary", "error": "string"}
    schema = pyarrow.schema(kinds | {"opinion": "float64"})
    size = 0
    for reading in read_many(pieces(), representation, workers=1, opinion=opinion):
        ids = reading.ids.astype("uint16").tobytes()
        error = reading.error.encode(errors="backslashreplace").decode()
        row = (*places.popleft(), ids, error, reading.opinion)
        for column, value in zip(columns, row, strict=True):
            column.append(value)
        size += len(ids) + 64
        if size >= BLOCK:
            yield pyarrow.table(list(columns), schema=schema)
            columns, size = ([], [], [], [], []), 0
    yield pyarrow.table(list(columns), schema=schema)


class Scorer:
    """The scoring stage, an actor that holds the model.

    Args:
        model: the classifier's folder; None for the shipped one.
        digest: of the classifier that the run began with.
        gpu: the share of a GPU it has; 0 for none.
        batch_size: windows per forward pass.
    """

    def __init__(self, model: Path | None, digest: str, gpu: float, batch_size: int) -> None:
        import torch

        from discriminator.classifier import Classifier

        if not gpu:
            torch.set_num_threads(1)  # there is a scorer for every core
        self.classifier = Classifier.load(model, "cuda" if gpu else "cpu")
        self.batch_size = batch_size
        if classifier_digest(self.classifier) != digest:
            raise UserError(
                f"{platform.node()}: another model or version is installed there; install the "
                "same on all nodes, or give a model on the file system they share"
            )

    def __call__(self, table: Any) -> Any:
        """A table of tokens becomes one of verdicts."""
        import numpy as np
        import pyarrow

        columns = (table[name].to_pylist() for name in ("ids", "error", "opinion"))
        readings = (
            Reading("", np.frombuffer(ids, dtype=np.uint16), error, opinion)
            for ids, error, opinion in zip(*columns, strict=True)
        )
        found = list(self.classifier.verdicts(readings, self.batch_size))
        return pyarrow.table(
            {
                "part": table["part"],
                "row": table["row"],
                "p_jazz": pyarrow.array([one.p_jazz for one in found], pyarrow.float64()),
                "verdict": [one.verdict for one in found],
                "windows": [one.windows for one in found],
                "error": [one.error for one in found],
            }
        )


def _complete(tables: Iterator[Any], listing: Listing) -> Iterator[tuple[int, list[Score]]]:
    """Parts with all their rows, as soon as the last one has come."""
    pending: dict[int, dict[int, dict[str, Any]]] = {}
    for table in tables:
        for found in table.to_pylist():
            pending.setdefault(found["part"], {})[found["row"]] = found
        for part in [n for n, rows in pending.items() if len(rows) == listing.counts[n]]:
            rows = pending.pop(part)
            items = read_listing(listing.path, *listing.span(part))
            yield part, [_score(item.path, rows[row]) for row, item in enumerate(items)]
    assert not pending, f"parts {sorted(pending)} have come in part"


def _score(path: str, found: dict[str, Any]) -> Score:
    p = found["p_jazz"]
    p = None if p is None else round(p, DIGITS)
    return Score(path, p, found["verdict"], found["windows"], found["error"])


@contextmanager
def _cluster(ray: Any, address: str | None) -> Iterator[None]:
    """Joins a cluster, or starts one on this machine that ends with the work."""
    if ray.is_initialized():
        yield
        return
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    size = {"num_cpus": cores(), "object_store_memory": STORE} if address == "local" else {}
    try:
        host, _, port = address.rpartition(":")
        if port.isdigit() and "/" not in host:  # Ray itself would try for minutes
            socket.create_connection((host, int(port)), timeout=5).close()
        ray.init(
            address=address, include_dashboard=False, log_to_driver=False,
            logging_level=logging.ERROR, **size,
        )  # fmt: skip
    except (OSError, ValueError, RuntimeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"no Ray cluster at '{address}' ({reason}); start one by `ray start --head`, or leave "
            "the address out"
        ) from None
    # What stops the work is raised; an actor still starting when all is done is no error.
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        ray.shutdown()


def _ray() -> Any:
    # Nothing is sent to Ray's makers unless the user has said so.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
        import ray.data
    except ImportError:
        raise UserError("scoring on a cluster needs Ray; pip install 'jazz-gan[ray]'") from None
    return ray


def _stopped(out: Path, error: Exception) -> UserError:
    """What stopped the pipeline, in one line."""
    cause: BaseException | None = error
    while cause:
        if isinstance(cause, UserError):
            return cause
        cause = getattr(cause, "cause", None) or cause.__cause__
    reason = str(error).strip().splitlines()[-1]
    return UserError(f"{out}: stopped ({reason}); run the same again, finished parts stay")
