"""The processes of one training run: which one this is, and what they say together.

`torchrun` starts them and tells each its place; without it there is one, and nothing here costs
anything. Gradients are averaged by DistributedDataParallel; the few numbers that all must agree on
go through here.
"""

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar
from uuid import uuid4

import torch
import torch.distributed as dist
from torch import Tensor

from data_tools.errors import UserError

Value = TypeVar("Value")
REST = 0.25  # seconds
ASKING = 0.05
# What gloo and NCCL say of it.
GONE = ("closed by peer", "reset by peer", "Broken pipe", "remote process exited")
PATIENCE = timedelta(hours=1)  # the others wait while one samples or writes


@dataclass(frozen=True)
class Ranks:
    """One of `world` processes.

    Attributes:
        rank: which, over all nodes.
        world: how many there are.
    """

    rank: int = 0
    world: int = 1

    @property
    def main(self) -> bool:
        """Whether this one writes files and speaks."""
        return self.rank == 0

    def own(self) -> tuple[int, ...]:
        """What tells this rank's draws from the first one's."""
        return () if self.main else (self.rank,)

    def share(self, count: int) -> range:
        """This rank's part of `count` places."""
        return range(self.rank, count, self.world)

    def weight(self, mine: int, whole: float) -> float:
        """What this rank's mean over `mine` of `whole` things counts for, where ranks are averaged.

        One where all ranks have as many.
        """
        return self.world * mine / whole

    def total(self, value: Tensor) -> Tensor:
        """The sum of a tensor over all ranks."""
        if self.world > 1:
            value = value.clone()
            dist.all_reduce(value)
        return value

    def any(self, mine: bool) -> bool:
        """Whether it is so on any rank."""
        if self.world == 1:
            return mine
        device = "cuda" if dist.get_backend() == "nccl" else "cpu"
        return bool(self.total(torch.tensor(float(mine), device=device)))

    def gather(self, value: Value) -> list[Value]:
        """Every rank's value, in order."""
        if self.world == 1:
            return [value]
        found: list[Value | None] = [None] * self.world
        dist.all_gather_object(found, value)
        return found  # type: ignore[return-value]

    def hand_round(self, values: Sequence[Tensor]) -> None:
        """Puts the first rank's values in place of everybody's."""
        for value in values if self.world > 1 else ():
            dist.broadcast(value, 0)

    def wait(self) -> None:
        """Until all have come here."""
        if self.world > 1:
            dist.barrier()


ALONE = Ranks()


def round_of(store: dist.Store, rank: int, world: int) -> str:
    """A name that these processes share, and none that were started before them.

    torchrun keeps its store when it starts dead ranks again, and without a prefix of their own the
    new ones would look for the old ones at the addresses they left there. Its count of restarts is
    none: each node has its own. So the first rank makes one up, for all who ask with a word of
    their own; what the dead have asked is answered too, but heard by nobody.
    """
    own = uuid4().hex
    if rank:
        store.set(f"asks/{rank}", own)
        name = store.get(f"answer/{own}").decode()
        store.set(f"heard/{name}/{rank}", "")
        return name
    others = set(range(1, world))
    until = time.monotonic() + PATIENCE.total_seconds()
    while others:
        if time.monotonic() > until:
            raise UserError(f"ranks {sorted(others)} never came; see what they said")
        for each in others:
            if store.check([f"asks/{each}"]):
                store.set(f"answer/{store.get(f'asks/{each}').decode()}", own)
        others -= {each for each in others if store.check([f"heard/{own}/{each}"])}
        time.sleep(ASKING)
    return own


@contextmanager
def joined(device: torch.device) -> Iterator[Ranks]:
    """Joins the processes that `torchrun` started, and leaves them at the end."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield ALONE
        return
    backend = "nccl" if device.type == "cuda" else "gloo"
    if device.type == "cuda":
        torch.cuda.set_device(device)
    rank = int(os.environ["RANK"])
    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    agents = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    store = dist.TCPStore(address, port, world, rank == 0 and not agents, PATIENCE)
    own = dist.PrefixStore(round_of(store, rank, world), store)
    dist.init_process_group(backend, store=own, rank=rank, world_size=world, timeout=PATIENCE)
    try:
        yield Ranks(rank, world)
        # A thread of gloo's lets go of what was last sent a moment later, and aborts the process
        # should the interpreter be gone by then. DistributedDataParallel keeps these threads to the
        # end and nothing tells when they rest; asleep we leave them the interpreter.
        dist.barrier()
        time.sleep(REST)
    except RuntimeError as error:
        if not any(words in str(error) for words in GONE):
            raise
        if rank:
            raise SystemExit(1) from None  # what ended the other is to be read, and not this
        why = str(error).splitlines()[0][:120]
        raise UserError(
            "another process of this run has ended, or cannot be reached; see what it said, if it "
            f"could ({why})"
        ) from None
    finally:
        dist.destroy_process_group()
