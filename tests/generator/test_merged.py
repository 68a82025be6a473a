"""The grammar of merged tokens is the plain grammar, walked part by part."""

import numpy as np
import symusic
import torch

from data_tools.bytepair import MergedRepresentation, merged_from
from data_tools.corpus import Corpus
from data_tools.representation import Representation, RepresentationSettings, TokenType
from generator.compose import Composer
from generator.grammar import Grammar
from generator.hints import KEY_STRENGTH, key_bias, scale
from generator.merged import MergedGrammar
from generator.prompt import read_prompt
from generator.settings import TransformerSettings
from generator.transformer import Transformer


def merged_of(corpus: Corpus) -> MergedRepresentation:
    plain = Representation(corpus.representation.settings, ("label:jazz",))
    return merged_from((corpus.piece(n) for n in corpus.select("train")), plain, 80)


def walk(grammar: MergedGrammar, batch: int, steps: int) -> torch.Tensor:
    state, drawn = grammar.start(batch), []
    generator = torch.Generator().manual_seed(0)
    for _ in range(steps):
        allowed = grammar.allowed(state)
        assert allowed.any(1).all()
        ids = allowed.double().multinomial(1, generator=generator)[:, 0]
        drawn.append(ids)
        state = grammar.advance(state, ids)
    return torch.stack(drawn, 1)


def test_any_walk_is_a_plain_walk(practice_corpus: Corpus) -> None:
    representation = merged_of(practice_corpus)
    plain = Grammar(representation.plain)
    drawn = walk(MergedGrammar(representation), 4, 60)
    assert (drawn >= representation.plain.music_size).any()
    for row in drawn.numpy():
        ids = torch.from_numpy(representation.expand(row))[None]
        assert plain.replay(ids).gather(2, ids[..., None]).all()


def test_the_mask_is_exact(practice_corpus: Corpus) -> None:
    """A token is allowed where, and only where, each part is allowed after those before it."""
    representation = merged_of(practice_corpus)
    grammar, plain = MergedGrammar(representation), Grammar(representation.plain)
    for length in (2, 9, 25):
        ids = walk(grammar, 1, length)
        allowed = grammar.allowed(grammar.read(ids))[0].numpy()
        before = plain.read(torch.from_numpy(representation.expand(ids[0].numpy()))[None])
        for token, parts in enumerate(representation.parts):
            state, possible = before, True
            for part in parts:
                possible = possible and bool(plain.allowed(state)[0, part])
                state = plain.advance(state, torch.tensor([part]))
            assert possible == allowed[token]


def test_real_pieces_pass(practice_corpus: Corpus) -> None:
    representation = merged_of(practice_corpus)
    grammar = MergedGrammar(representation)
    piece = representation.merge(practice_corpus.piece(0).astype(np.int64))[:150]
    ids = torch.from_numpy(np.concatenate([[representation.bos], piece]))
    state = grammar.start(1)
    for token in ids:
        assert grammar.allowed(state)[0, token]
        state = grammar.advance(state, token[None])


def test_a_key_weighs_the_parts(practice_corpus: Corpus) -> None:
    representation = merged_of(practice_corpus)
    both, (plain, _) = key_bias(representation, "Db"), key_bias(representation.plain, "Db")
    bias = both[0]
    assert torch.equal(bias, both[1]), "a piano has no drums"
    assert len(bias) == representation.vocab_size
    size = representation.plain.music_size
    assert torch.equal(bias[:size], plain[:size])
    outside = ~np.isin(representation.plain.token_values % 12, sorted(scale("Db")))
    outside &= representation.plain.strikes > 0
    for token, parts in enumerate(representation.parts):
        assert bias[token] == -KEY_STRENGTH * outside[list(parts)].sum()
    later = [outside[list(p[1:])].any() and not outside[p[0]] for p in representation.parts]
    assert any(later), "a wrong pitch may be any of the parts"


def test_a_key_weighs_no_drums_within_a_token() -> None:
    settings = RepresentationSettings(preset="raw")
    plain = Representation(settings)
    names = ("NoteOn_61", "Channel_10", "Channel_1")
    note, drums, piano = (plain.names.index(name) for name in names)
    first = plain.music_size
    pairs = [(note, note), (note, drums), (drums, note), (piano, note), (first + 1, first + 3)]
    bias = key_bias(MergedRepresentation(settings, (), pairs), "C") / -KEY_STRENGTH
    assert bias[:, note].tolist() == [1, 0]
    # Two notes; one, then drums; drums; a piano; one, then drums, then a piano.
    assert bias[:, first:].tolist() == [[2, 1, 0, 1, 2], [0, 0, 0, 1, 1]]


def test_composing(practice_corpus: Corpus, practice_music, tmp_path) -> None:  # type: ignore[no-untyped-def]
    representation = merged_of(practice_corpus)
    torch.manual_seed(0)
    model = Transformer(
        representation.vocab_size, TransformerSettings(layers=1, width=16, heads=1, max_length=64)
    )
    Composer(model, representation, "jazz").save(tmp_path / "g")
    composer = Composer.load(tmp_path / "g")
    assert len(composer.compose(2, length=40)) == 2
    prompt = sorted(practice_music.rglob("*.mid"))[0]
    for piece in composer.compose(2, length=40, prompt=prompt, prompt_length=30):
        assert piece.midi.instruments[0].notes
    assert RepresentationSettings() == representation.settings


def test_a_prompt_stands_where_its_tokens_do(practice_corpus: Corpus) -> None:
    """Though a merged token begins its first note and goes on to the next moment."""
    plain = practice_corpus.representation
    score = symusic.Score(480)
    score.tracks.append(symusic.Track())
    for place in range(4):
        score.tracks[0].notes.append(symusic.Note(240 * place, 240, 60, 80))
    ids = plain.encode(score).tolist()
    ends = ids.index(next(i for i in ids if plain.token_types[i] == TokenType.TIME_SHIFT)) + 1
    pairs, size = [(ids[0], ids[1])], plain.music_size
    for token in ids[2:ends]:
        pairs.append((size + len(pairs) - 1, token))
    merged = MergedRepresentation(plain.settings, (), pairs)
    ours, usual = read_prompt(merged, score), read_prompt(plain, score)
    assert ours.ids[1] == merged.music_size - 1
    assert ours.notes is not None
    assert usual.notes is not None
    assert ours.notes.start.tolist() == usual.notes.start.tolist()


def test_streaming_tells_the_same_notes(practice_corpus: Corpus) -> None:
    """Of real music too, whose merged tokens go on after time has moved."""
    representation = merged_of(practice_corpus)
    settings = TransformerSettings(layers=1, width=16, heads=1, max_length=64)
    composer = Composer(Transformer(representation.vocab_size, settings), representation)
    for number in practice_corpus.select("train")[:6]:
        piece = practice_corpus.piece(number).astype(np.int64)
        grown = torch.from_numpy(
            np.concatenate([[representation.bos], representation.merge(piece)])
        )
        composer._tokens = lambda *_, ids=grown: (ids[None, :n] for n in range(2, len(ids) + 1))
        told = [(round(on, 3), pitch) for on, _, pitch, _ in composer.stream()]
        notes = representation.events(piece, close=True).notes
        times = (notes.start * representation.grid_seconds).round(3).tolist()
        assert sorted(told) == sorted(zip(times, notes.pitch.tolist(), strict=True))
