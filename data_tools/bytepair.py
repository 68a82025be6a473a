"""Byte-pair encoding of music tokens: frequent neighbours become one token (Sennrich et al. 2016).

Shorter sequences for the plain cross-entropy generator; music after Fradet et al. 2023, who found
both quality and speed to gain. Every music id stands for one letter and a piece for one word, so a
merge may cross from note to note. A discriminator must share the generator's vocabulary and needs
tokens of one meaning, so adversarial training goes without.

Merged ids stand between the music's and the conditions': music 0..V-1, merged V..V+N-1.
"""

from collections.abc import Iterable, Sequence
from functools import cached_property
from itertools import chain

import numpy as np
from symusic.core import ScoreTick
from tokenizers import Tokenizer, models, trainers

from data_tools.errors import UserError
from data_tools.representation import EOS, Events, Representation
from data_tools.settings import RepresentationSettings

LONGEST = 8  # tokens a merged token may stand for: a bound on what the grammar has to walk
_FIRST_LETTER = 0x4E00  # letters of one alphabet, so that no library takes one for a space


def _letter(index: int) -> str:
    return chr(_FIRST_LETTER + index)


def _word(ids: np.ndarray) -> str:
    return "".join(map(_letter, ids.tolist()))


def learn(pieces: Iterable[np.ndarray], size: int, count: int) -> tuple[tuple[int, int], ...]:
    """The `count` most useful merges, each a pair of ids that becomes the next id.

    Args:
        pieces: music ids (T,), all below `size`.
        size: V, how many ids there are.
        count: N.

    Raises:
        UserError: the pieces have fewer pairs that repeat.
    """
    tokenizer = Tokenizer(models.BPE())
    trainer = trainers.BpeTrainer(
        vocab_size=size + count, show_progress=False, min_frequency=2,
        initial_alphabet=[_letter(index) for index in range(size)],
        limit_alphabet=size, max_token_length=LONGEST,
    )  # fmt: skip
    tokenizer.train_from_iterator((_word(piece) for piece in pieces), trainer)
    names = tokenizer.get_vocab()
    known = {_letter(index): index for index in range(size)}
    merged = sorted((place, name) for name, place in names.items() if name not in known)
    pairs: list[tuple[int, int]] = []
    for _, name in merged:
        # The pair a merge was made of: both halves were known when it was learnt.
        halves = [(name[:cut], name[cut:]) for cut in range(1, len(name))]
        left, right = next(h for h in halves if h[0] in known and h[1] in known)
        pairs.append((known[left], known[right]))
        known[name] = size + len(pairs) - 1
    if len(pairs) < count:
        raise UserError(
            f"byte pairs: the corpus has {len(pairs)} pairs that repeat, fewer than the {count} "
            "asked for; ask for fewer or give it more music"
        )
    return tuple(pairs)


class MergedRepresentation(Representation):
    """A representation whose music ids are merged by learnt pairs.

    Args:
        settings: of the music beneath.
        conditions: as ever.
        pairs: N pairs of ids; pair k makes id V + k.
    """

    def __init__(
        self,
        settings: RepresentationSettings,
        conditions: Sequence[str],
        pairs: Sequence[Sequence[int]],
    ) -> None:
        super().__init__(settings, conditions)
        self.plain = Representation(settings, conditions)
        self.pairs = tuple((int(left), int(right)) for left, right in pairs)
        size = self.plain.music_size
        parts: list[tuple[int, ...]] = [(index,) for index in range(size)]
        for left, right in self.pairs:
            if not max(left, right) < len(parts):
                raise ValueError(f"byte pair {left}, {right} before its parts")
            parts.append(parts[left] + parts[right])
        #: ids of the plain representation that every id stands for; conditions for themselves
        self.parts = (*parts, *((size + number,) for number in range(len(self.conditions))))

    @property
    def music_size(self) -> int:
        """V + N."""
        return self.vocabulary.size + len(self.pairs)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names by id, those of merged tokens joined by `+`."""
        return tuple("+".join(self.plain.names[part] for part in parts) for parts in self.parts)

    @cached_property
    def token_types(self) -> np.ndarray:
        """(vocab_size,) the type of each token's first part."""
        return self.plain.token_types[[parts[0] for parts in self.parts]]

    @cached_property
    def token_values(self) -> np.ndarray:
        """(vocab_size,) the value of each token's first part."""
        return self.plain.token_values[[parts[0] for parts in self.parts]]

    @cached_property
    def strikes(self) -> np.ndarray:
        """(vocab_size,) how many notes each token begins."""
        return np.array([self.plain.strikes[list(parts)].sum() for parts in self.parts])

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        words = [_word(np.array(parts)) for parts in self.parts[: self.music_size]]
        merges = [(words[left], words[right]) for left, right in self.pairs]
        vocabulary = {word: index for index, word in enumerate(words)}
        return Tokenizer(models.BPE(vocab=vocabulary, merges=merges))

    def merge(self, ids: np.ndarray) -> np.ndarray:
        """Plain music ids (T,) as merged ids, not more of them; int64."""
        encoded = self._tokenizer.encode(_word(np.asarray(ids))).ids if len(ids) else []
        return np.array(encoded, dtype=np.int64)

    def expand(self, ids: Sequence[int] | np.ndarray) -> np.ndarray:
        """Merged ids as plain ids (conditions too), int64."""
        return np.array(
            list(chain.from_iterable(self.parts[int(index)] for index in ids)), dtype=np.int64
        )

    def encode(self, score: ScoreTick) -> np.ndarray:
        """See `Representation.encode`."""
        return self.merge(self.plain.encode(score)).astype(np.uint16)

    def encode_events(self, events: Events) -> np.ndarray:
        """See `Representation.encode_events`."""
        return self.merge(self.plain.encode_events(events)).astype(np.uint16)

    def events(self, ids: Sequence[int] | np.ndarray, close: bool = False) -> Events:
        """See `Representation.events`."""
        return self.plain.events(self.expand(ids), close)

    def times(self, ids: Sequence[int] | np.ndarray) -> np.ndarray:
        """(T,) the grid step at which the last part of each of some music ids stands."""
        last = np.cumsum([len(self.parts[int(index)]) for index in ids]) - 1
        return self.plain.times(self.expand(ids))[last]

    def in_force(self, ids: np.ndarray, start: int) -> list[int]:
        """See `Representation.in_force`."""
        before = self.expand(ids[:start])
        return self.plain.in_force(before, len(before))

    @property
    def _more(self) -> dict[str, object]:
        return {"byte_pairs": [list(pair) for pair in self.pairs]}


def merged_from(corpus_pieces: Iterable[np.ndarray], representation: Representation, count: int) \
        -> MergedRepresentation:  # fmt: skip
    """A representation with `count` merges learnt from pieces (those of the training split)."""
    music = (piece[piece > EOS].astype(np.int64) for piece in corpus_pieces)
    pairs = learn(music, representation.music_size, count)
    return MergedRepresentation(representation.settings, representation.conditions, pairs)
