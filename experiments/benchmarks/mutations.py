"""Files as a bad disk, a broken program or an enemy would leave them: mutated MIDI, by seed.

Mutations know enough of the format to get past its header: chunks swapped, repeated or spliced from
another file, lengths and counts that lie, time that runs for hours, and plain bit rot.
"""

from collections.abc import Iterator, Sequence

import numpy as np

Chunks = list[tuple[bytes, bytes]]


def chunks_of(data: bytes) -> Chunks:
    """The chunks of a MIDI file, (type, body); what follows the last whole one is its rest."""
    found, place = [], 0
    while place + 8 <= len(data):
        size = int.from_bytes(data[place + 4 : place + 8], "big")
        found.append((data[place : place + 4], data[place + 8 : place + 8 + size]))
        place += 8 + size
    return found


def joined(chunks: Chunks) -> bytes:
    """A file of these chunks, whose lengths are true."""
    return b"".join(kind + len(body).to_bytes(4, "big") + body for kind, body in chunks)


def bit_flips(data: bytes, _: bytes, rng: np.random.Generator) -> bytes:
    """Turns over single bits, few or many."""
    raw = np.frombuffer(data, dtype=np.uint8).copy()
    places = rng.integers(0, len(raw), int(rng.integers(1, 60)))
    np.bitwise_xor.at(raw, places, (1 << rng.integers(0, 8, len(places))).astype(np.uint8))
    return raw.tobytes()


def noise(data: bytes, _: bytes, rng: np.random.Generator) -> bytes:
    """Overwrites a stretch with random bytes."""
    first = int(rng.integers(0, len(data)))
    size = int(rng.integers(1, 200))
    return data[:first] + rng.bytes(size) + data[first + size :]


def truncated(data: bytes, _: bytes, rng: np.random.Generator) -> bytes:
    """Breaks off anywhere."""
    return data[: int(rng.integers(0, len(data)))]


def holed(data: bytes, _: bytes, rng: np.random.Generator) -> bytes:
    """Lacks a stretch."""
    first = int(rng.integers(0, len(data)))
    return data[:first] + data[first + int(rng.integers(1, 50)) :]


def swapped_chunks(data: bytes, _: bytes, rng: np.random.Generator) -> bytes:
    """Has its chunks in another order, the header among them."""
    chunks = chunks_of(data)
    return joined([chunks[i] for i in rng.permutation(len(chunks))])


def repeated_chunks(data: bytes, _: bytes, rng: np.random.Generator) -> bytes:
    """Says a chunk again and again."""
    chunks = chunks_of(data)
    place = int(rng.integers(0, len(chunks)))
    return joined(chunks[:place] + chunks[place : place + 1] * int(rng.integers(2, 40)))


def lying_length(data: bytes, _: bytes, rng: np.random.Generator) -> bytes:
    """A chunk claims to be larger or smaller than it is."""
    places = [i for i in range(len(data) - 8) if data[i : i + 4] in (b"MTrk", b"MThd")]
    place = places[int(rng.integers(0, len(places)))] if places else 0
    lie = int(rng.choice([0, 1, 2**16, 2**24, 2**31 - 1, 2**31, 2**32 - 1, 2**32 - 8]))
    return data[: place + 4] + lie.to_bytes(4, "big") + data[place + 8 :]


def lying_header(data: bytes, _: bytes, rng: np.random.Generator) -> bytes:
    """Claims another format, up to 65,535 tracks, or a resolution that cannot be."""
    field = int(rng.integers(0, 3))
    value = int(rng.choice([0, 1, 2, 3, 0x7FFF, 0x8000, 0xE728, 0xFFFF]))
    return data[: 8 + 2 * field] + value.to_bytes(2, "big") + data[10 + 2 * field :]


def long_waits(data: bytes, _: bytes, rng: np.random.Generator) -> bytes:
    """Puts the longest delta time there is before random places of a track."""
    chunks = chunks_of(data)
    for number, (kind, body) in enumerate(chunks):
        if kind == b"MTrk" and body:
            place = int(rng.integers(0, len(body)))
            longest = b"\xff\xff\xff\x7f\x90\x3c\x40" * int(rng.integers(1, 30))
            chunks[number] = kind, body[:place] + longest + body[place:]
    return joined(chunks)


def spliced(data: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    """Goes on as another file."""
    return data[: int(rng.integers(0, len(data)))] + other[int(rng.integers(0, len(other))) :]


def mixed_chunks(data: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    """Takes each chunk from either of two files."""
    chunks = chunks_of(data) + chunks_of(other)[1:]
    return joined([one for one in chunks if rng.random() < 0.7])


def many_tracks(data: bytes, _: bytes, rng: np.random.Generator) -> bytes:
    """Has thousands of empty tracks."""
    empty = b"MTrk\x00\x00\x00\x04\x00\xff\x2f\x00"
    return data[:10] + b"\xff\xff" + data[12:] + empty * int(rng.integers(1_000, 20_000))


def flooded(data: bytes, _: bytes, rng: np.random.Generator) -> bytes:
    """Has a track of note-ons that never end."""
    track = b"\x00\x90\x3c\x40" + b"\x00\x3c\x40" * int(rng.integers(1_000, 200_000))
    return data[:14] + joined([(b"MTrk", track + b"\x00\xff\x2f\x00")])


def zeroed_tempo(data: bytes, _: bytes, rng: np.random.Generator) -> bytes:
    """Has tempos of no or of the longest time a beat."""
    tempo = b"\x00\xff\x51\x03" + bytes(rng.choice([0, 255], 3).tolist())
    chunks = chunks_of(data)
    return joined([(k, tempo * 3 + b if k == b"MTrk" else b) for k, b in chunks])


MUTATIONS = (
    bit_flips, noise, truncated, holed, swapped_chunks, repeated_chunks, lying_length,
    lying_header, long_waits, spliced, mixed_chunks, many_tracks, flooded, zeroed_tempo,
)  # fmt: skip


def mutants(files: Sequence[bytes], count: int, seed: int = 0) -> Iterator[tuple[str, bytes]]:
    """Yields (name, bytes): each mutation in turn, one in four of them twice over."""
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        mutation = MUTATIONS[number % len(MUTATIONS)]
        first, second = (files[int(i)] for i in rng.integers(0, len(files), 2))
        data = mutation(first, second, rng)
        name = mutation.__name__
        if rng.random() < 0.25 and len(data) > 14:
            again = MUTATIONS[int(rng.integers(0, len(MUTATIONS)))]
            data, name = again(data, second, rng), f"{name}-{again.__name__}"
        yield f"{number:05d}-{name}", data
