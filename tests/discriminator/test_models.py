"""What every model must hold: ids equal one-hot rows, padding is nothing, gradients flow."""

from functools import lru_cache

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from torch.nn.attention import SDPBackend, sdpa_kernel

from data_tools.representation import Representation, RepresentationSettings
from discriminator.body import Discriminator
from discriminator.ensemble import Ensemble
from discriminator.models import Model, build, tied_tokens
from discriminator.notes import TokenTable
from discriminator.settings import (
    MODELS,
    ClassifierSettings,
    CNNSettings,
    EnsembleSettings,
    OneModel,
    StatisticsSettings,
    TransformerSettings,
    sized,
)
from discriminator.view import Statistics

# PAD, BOS, EOS, two octaves, and a few velocities, lengths and time shifts in grid steps.
FIRST, PITCHES = 3, 24
VELOCITY, DURATION, SHIFT = 27, 31, 39
V = 47
KINDS = np.repeat([0, 1, 2, 3, 4, 5, 6], [1, 1, 1, PITCHES, 4, 8, 8])


def said_by(kind: int, values: list[int], otherwise: int) -> np.ndarray:
    array = np.full(V, otherwise)
    array[kind == KINDS] = values
    return array


TABLE = TokenTable(
    pitch=said_by(3, list(range(48, 72)), -1),
    shift=said_by(6, [1, 2, 3, 6, 12, 25, 50, 120], 0),
    duration=said_by(5, [3, 6, 12, 20, 30, 50, 90, 150], 0),
    velocity=said_by(4, [30, 60, 85, 110], 0),
)

CNN = CNNSettings(width=16, blocks=2, head=16)
ATTENTION = TransformerSettings(width=16, layers=2, heads=2, head=16)
BARE = StatisticsSettings(width=16)
SIZES: dict[str, OneModel | EnsembleSettings] = {
    "cnn": CNN,
    "cnn, stride 1": CNN.model_copy(update={"kernel": 5, "stride": 1}),
    "cnn, stride 3, rhythm": CNN.model_copy(update={"stride": 3, "view": "rhythm"}),
    "cnn, harmony": CNN.model_copy(update={"view": "harmony"}),
    "transformer": ATTENTION.model_copy(update={"stride": 1}),
    "conv-transformer": ATTENTION,
    "transformer, touch": ATTENTION.model_copy(update={"stride": 1, "view": "touch"}),
    "conv-transformer, harmony": ATTENTION.model_copy(update={"view": "harmony"}),
    "cnn, harmony, bounded": CNN.model_copy(update={"view": "harmony", "bound": 1.0}),
    "statistics": BARE,
    "statistics, bounded": BARE.model_copy(update={"bound": 1.0}),
    "statistics, touch": BARE.model_copy(update={"layers": 2, "view": "touch"}),
    "ensemble": EnsembleSettings(
        members=(CNN, BARE, ATTENTION.model_copy(update={"view": "harmony"}))
    ),
    "ensemble of views": EnsembleSettings(
        members=(
            CNN.model_copy(update={"view": "harmony"}),
            CNN,
            BARE.model_copy(update={"view": "touch"}),
            BARE.model_copy(update={"view": "rhythm", "bound": 1.0}),
        ),
        gate=BARE,
    ),
}
SINGLE = [name for name in SIZES if not name.startswith("ensemble")]
NOTES = [name for name in SIZES if getattr(SIZES[name], "view", "") not in ("", "tokens")]
ONE_A_FAMILY = ["cnn", "transformer", "cnn, harmony", "conv-transformer, harmony", "statistics"]


@lru_cache
def fresh(name: str) -> Model:
    torch.manual_seed(0)
    return build(SIZES[name], TABLE).eval()


def reads_notes(name: str) -> bool:
    return name in NOTES


def some_ids(batch: int, length: int, seed: int = 0) -> torch.Tensor:
    """Music (B, T), cut where it happens to be: shifts, pitches, lengths and some velocities."""
    rng = np.random.default_rng(seed)

    def one() -> list[int]:
        ids: list[int] = []
        while len(ids) < length + 5:
            if rng.random() < 0.6:
                ids.append(int(rng.integers(SHIFT, V)))
            ids.append(int(rng.integers(FIRST, FIRST + PITCHES)))
            if rng.random() < 0.5:
                ids.append(int(rng.integers(VELOCITY, DURATION)))
            ids.append(int(rng.integers(DURATION, SHIFT)))
        start = int(rng.integers(4))
        return ids[start : start + length]

    return torch.tensor([one() for _ in range(batch)])


def struck(ids: torch.Tensor) -> torch.Tensor:
    return (ids >= FIRST) & (ids < FIRST + PITCHES)


def rows_of(ids: torch.Tensor) -> torch.Tensor:
    return F.one_hot(ids, V).float()


@pytest.fixture(params=SIZES)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def model(name: str) -> Model:
    found = fresh(name)
    found.zero_grad()
    return found


def test_ids_and_one_hot_rows_score_the_same(model):
    ids = some_ids(4, 57)
    ids[1, 20:] = 0
    mask = torch.ones_like(ids, dtype=torch.bool)
    mask[2, 31:] = False
    rows = rows_of(ids)
    with torch.no_grad():
        scores = model(ids)
        assert torch.allclose(scores, model(rows), atol=1e-5)
        assert torch.allclose(model(ids, mask), model(rows, mask), atol=1e-5)
        if isinstance(model, Discriminator):
            assert torch.allclose(model.features(ids), model.features(rows), atol=1e-5)
    assert scores.shape == (4,)
    assert scores.dtype == torch.float32
    assert scores.std() > 1e-4, "the score does not depend on the tokens"


def test_a_relaxed_row_lies_between_its_tokens(model):
    """Half of one pitch and half of another must not be read as either."""
    ids = some_ids(1, 40)
    place = int(struck(ids)[0].nonzero()[3])
    other = ids.clone()
    other[0, place] = FIRST + (ids[0, place] - FIRST + 7) % PITCHES
    a, b = rows_of(ids), rows_of(other)
    with torch.no_grad():
        scores = torch.stack([model(a), model((a + b) / 2), model(b)])
    assert (scores.diff(dim=0).abs() > 1e-7).all()


def test_gradients_reach_every_real_row_and_no_padded_one(model, name):
    ids = some_ids(3, 61)
    ids[0, 40:] = 0
    rows = rows_of(ids).requires_grad_()
    mask = torch.ones_like(ids, dtype=torch.bool)
    mask[1, 35:] = False
    model(rows, mask).sum().backward()
    norms = rows.grad.norm(dim=-1)  # (B, T)
    real = (ids != 0) & mask
    assert torch.isfinite(rows.grad).all()
    if reads_notes(name):
        assert (norms[real & struck(ids)] > 0).all()
        assert (norms[real & ~struck(ids)] == 0).all(), "where a note stands carries no gradient"
        outside = torch.cat([rows.grad[..., :FIRST], rows.grad[..., FIRST + PITCHES :]], -1)
        assert (outside == 0).all(), "only pitches do"
    else:
        assert (norms[real] > 0).all()
    assert (norms[~real] == 0).all()


def test_a_straight_through_relaxation_carries_a_gradient_to_logits(model, name):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 30, V, generator=generator) + 4 * rows_of(some_ids(2, 30))
    logits.requires_grad_()
    masked = logits.index_fill(-1, torch.tensor([0]), float("-inf"))  # nobody samples padding
    torch.manual_seed(0)
    sampled = F.gumbel_softmax(masked, tau=1.0, hard=True)
    model(sampled).sum().backward()
    assert torch.isfinite(logits.grad).all()
    norms = logits.grad.norm(dim=-1)
    found = struck(sampled.argmax(-1))
    assert found.sum() > 10
    assert (norms[found] > 0).all()
    if not reads_notes(name):
        assert (norms > 0).all()


@settings(max_examples=30)
@given(
    name=st.sampled_from(list(SIZES)),
    length=st.integers(1, 70),
    padding=st.integers(1, 40),
    seed=st.integers(0, 1000),
    soft=st.booleans(),
)
def test_padding_at_the_right_changes_nothing(name, length, padding, seed, soft):
    model = fresh(name)
    ids = some_ids(2, length, seed)
    padded = F.pad(ids, (0, padding))
    if soft:
        padded = rows_of(padded)
        padded[1, length:] = 0.0  # zero rows are padding as well
    with torch.no_grad():
        assert torch.allclose(model(ids), model(padded), atol=1e-5)


@pytest.mark.parametrize("soft", [False, True])
def test_masked_tokens_are_as_good_as_padding(model, soft):
    ids = some_ids(2, 50)
    mask = torch.arange(50)[None] < torch.tensor([[33], [50]])
    changed = torch.where(mask, ids, some_ids(2, 50, seed=1))
    form = rows_of if soft else torch.clone
    with torch.no_grad():
        assert torch.allclose(model(form(ids), mask), model(form(changed), mask), atol=1e-6)
        assert torch.allclose(model(form(ids), mask)[:1], model(form(ids[:1, :33])), atol=1e-5)


def test_pieces_of_a_batch_do_not_touch(model):
    ids = some_ids(5, 45)
    order = torch.tensor([3, 0, 4, 2, 1])
    with torch.no_grad():
        together = model(ids)
        assert torch.allclose(together[order], model(ids[order]), atol=1e-6)
        assert torch.allclose(together, torch.cat([model(row[None]) for row in ids]), atol=1e-5)


def test_order_matters(model):
    ids = some_ids(1, 60)
    with torch.no_grad():
        assert (model(ids) - model(ids.flip(1))).abs() > 1e-6


@pytest.mark.parametrize("empty", [0, DURATION], ids=["padding", "no note"])
def test_an_empty_piece_gets_a_finite_score_and_finite_gradients(model, empty):
    ids = some_ids(2, 16)
    ids[1] = empty
    rows = rows_of(ids).requires_grad_()
    logits = model(rows)
    logits.sum().backward()
    assert torch.isfinite(logits).all()
    assert torch.isfinite(rows.grad).all()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())
    with torch.no_grad():
        assert torch.isfinite(model(ids[1:, :1])).all()


def test_bfloat16_autocast(model):
    ids = some_ids(3, 48)
    with torch.no_grad():
        exact = model(ids)
    rows = rows_of(ids).requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        hard, soft = model(ids), model(rows)
    soft.sum().backward()
    assert hard.dtype == soft.dtype == torch.float32
    assert torch.allclose(hard, exact, atol=0.05)
    assert torch.allclose(soft, exact, atol=0.05)
    assert torch.isfinite(rows.grad).all()
    assert (rows.grad.norm(dim=-1)[struck(ids)] > 0).all()


@pytest.mark.parametrize("soft", [False, True], ids=["ids", "rows"])
@pytest.mark.parametrize("name", [*ONE_A_FAMILY, "ensemble"])
def test_one_graph_without_breaks(name, soft):
    model = fresh(name)
    ids = some_ids(2, 36)
    ids[0, 28:] = 0
    x = rows_of(ids) if soft else ids
    torch._dynamo.reset()
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    with torch.no_grad():
        assert torch.allclose(compiled(x), model(x), atol=1e-5)


@pytest.mark.parametrize("name", ONE_A_FAMILY)
def test_a_gradient_penalty_can_be_differentiated(name):
    model = fresh(name)
    model.zero_grad()
    rows = rows_of(some_ids(2, 36)).requires_grad_()
    with sdpa_kernel(SDPBackend.MATH):
        (gradient,) = torch.autograd.grad(model(rows).sum(), rows, create_graph=True)
    gradient.square().sum().backward()
    found = [p.grad for p in model.parameters() if p.grad is not None]
    assert all(torch.isfinite(one).all() for one in found)
    matrices = [p.grad for p in model.parameters() if p.dim() > 1]
    assert all(one.norm() > 0 for one in matrices)


# ---- what a view shows


@pytest.mark.parametrize("kind", ["velocity", "shift", "duration"])
@pytest.mark.parametrize("view", ["tokens", "harmony", "rhythm", "touch"])
def test_a_view_hides_what_it_says_it_hides(view, kind):
    """Velocity is seen in touch alone; note by note, time is harmony's business in no way."""
    torch.manual_seed(0)
    model = build(CNN.model_copy(update={"view": view}), TABLE).eval()
    start, count = {"velocity": (VELOCITY, 4), "shift": (SHIFT, 8), "duration": (DURATION, 8)}[kind]
    # One note after the other: a longer note reaches no further than the next one's onset.
    ids = torch.tensor([[SHIFT + 6, FIRST + pitch, VELOCITY + 1, DURATION + 2]
                        for pitch in (0, 4, 7, 10, 5, 9, 12, 3, 19, 2)]).reshape(1, -1)  # fmt: skip
    changed = ids.clone()
    here = ((ids >= start) & (ids < start + count)).nonzero()[::2, 1]
    changed[0, here] += {"velocity": 2, "shift": 1, "duration": -2}[kind]
    shown = {"harmony": (), "rhythm": ("shift", "duration")}.get(view, (kind,))
    with torch.no_grad():
        assert torch.equal(model(ids), model(changed)) == (kind not in shown)


@pytest.mark.parametrize("name", ["cnn, harmony", "conv-transformer, harmony", "statistics, touch"])
def test_the_scale_is_learnt_from_batches_and_travels_with_the_weights(name):
    torch.manual_seed(0)
    model = build(SIZES[name], TABLE)
    batches = [some_ids(8, 60, seed) for seed in range(4)]
    assert isinstance(model, Discriminator)
    before = model.eval()(batches[0])
    model.standardise(batches)
    after = model(batches[0])
    assert not torch.allclose(before, after)
    statistics = torch.cat([model.features(ids) for ids in batches])
    width = sum(
        value.numel() for key, value in model.state_dict().items() if key.endswith("centre")
    )
    statistics = statistics[:, -width:]
    assert torch.allclose(statistics.mean(0), torch.zeros(width), atol=1e-3)
    varied = statistics.std(0) > 0.5  # the others are nearly constant
    assert varied.sum() > 100
    assert (statistics.std(0)[varied] <= 1).all()
    torch.manual_seed(1)
    other = build(SIZES[name], TABLE).eval()
    other.load_state_dict(model.state_dict())
    assert torch.equal(other(batches[0]), after)


def test_a_view_of_tokens_has_no_scale():
    model = fresh("cnn")
    before = {key: value.clone() for key, value in model.state_dict().items()}
    model.standardise([some_ids(2, 20)])
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


def test_notes_need_tokens_that_are_notes():
    performance = Representation(RepresentationSettings(preset="performance"))
    for settings_ in (CNN.model_copy(update={"view": "harmony"}), BARE):
        with pytest.raises(ValueError, match="take the view 'tokens'"):
            build(settings_, TokenTable.of(performance))
    build(CNN, TokenTable.of(performance))


# ---- hidden tokens


def test_tied_tokens_look_the_same_and_others_do_not():
    groups = tied_tokens(KINDS, hidden=[6])
    assert groups == [*range(SHIFT), *[SHIFT] * 8]
    torch.manual_seed(0)
    model = build(CNN, TABLE, groups).eval()
    ids = torch.tensor([[3, SHIFT, 5, SHIFT + 1, 6, SHIFT + 2]])
    shifts = torch.tensor([[3, V - 1, 5, V - 3, 6, V - 4]])
    pitches = torch.tensor([[4, SHIFT, 5, SHIFT + 1, 6, SHIFT + 2]])
    for form in (torch.clone, rows_of):
        assert torch.equal(model(form(ids)), model(form(shifts)))
        assert not torch.allclose(model(form(ids)), model(form(pitches)))


def test_what_a_model_sees_travels_with_its_weights():
    groups = tied_tokens(KINDS, hidden=[3])
    tied, plain = build(CNN, TABLE, groups).eval(), build(CNN, TABLE).eval()
    plain.load_state_dict(tied.state_dict())
    ids = some_ids(2, 20)
    assert torch.equal(tied(ids), plain(ids))


def test_groups_of_another_vocabulary_are_refused():
    with pytest.raises(ValueError, match="5 tokens"):
        build(CNN, TABLE, [0, 1, 2, 3, 4])


@pytest.mark.parametrize("name", ["cnn, harmony", "statistics"])
def test_only_tokens_can_be_hidden(name):
    with pytest.raises(ValueError, match="only be hidden in the view 'tokens'"):
        build(SIZES[name], TABLE, tied_tokens(KINDS, hidden=[6]))


def test_an_ensemble_hides_tokens_from_those_who_read_them():
    model = build(SIZES["ensemble"], TABLE, tied_tokens(KINDS, hidden=[4])).eval()
    ids = some_ids(2, 40)
    louder = torch.where((ids >= VELOCITY) & (ids < DURATION), VELOCITY + 3, ids)
    assert not torch.equal(ids, louder)
    assert torch.equal(model(ids), model(louder))


# ---- sizes and learning


@pytest.mark.parametrize("size", ["small", "base"])
@pytest.mark.parametrize("model", MODELS)
def test_sizes_are_about_one_and_eight_million_weights(model, size):
    table = TokenTable.of(Representation())
    for view in ("harmony",) if model == "statistics" else ("tokens", "harmony"):
        chosen = TypeAdapter(OneModel).validate_python(sized(model, size) | {"view": view})
        weights = sum(p.numel() for p in build(chosen, table).parameters())
        low, high = {"small": (0.5e6, 1.3e6), "base": (7e6, 9e6)}[size]
        assert low < weights < high, f"{view}: {weights:,}"


def test_sizes_are_copies():
    sized("cnn", "small")["width"] = 7
    assert sized("cnn", "small")["width"] != 7


@pytest.mark.parametrize("name", ONE_A_FAMILY)
def test_a_telling_pattern_is_learnt(name):
    """Jazz steps up by 3 and then by 5 somewhere, not-jazz by 5 and then by 3."""
    rng = np.random.default_rng(0)

    def batch(size: int) -> tuple[torch.Tensor, torch.Tensor]:
        labels = rng.integers(2, size=size)
        pitches = rng.integers(0, PITCHES, (size, 18))
        for row, label in zip(pitches, labels, strict=True):
            for at in rng.permutation(6)[:4] * 3:
                row[at : at + 3] = 8 + np.array([0, 3 if label else 5, 8])
        ids = np.full((size, 18, 3), SHIFT + 6)
        ids[..., 1], ids[..., 2] = FIRST + pitches, DURATION + 2
        return torch.from_numpy(ids.reshape(size, -1)), torch.from_numpy(labels).float()

    torch.manual_seed(0)
    wider = SIZES[name].model_copy(update={"width": 32, "dropout": 0.0})
    model = build(wider, TABLE)
    assert isinstance(model, Discriminator)
    model.standardise([batch(32)[0] for _ in range(4)])
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(150):
        ids, labels = batch(32)
        loss = F.binary_cross_entropy_with_logits(model(ids), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    ids, labels = batch(256)
    with torch.no_grad():
        accuracy = ((model.eval()(ids) > 0) == labels.bool()).float().mean()
    assert accuracy > 0.9


def test_members_of_several_views_say_what_they_say_alone():
    model = fresh("ensemble of views")
    assert isinstance(model, Ensemble)
    assert isinstance(model.gate, Discriminator)
    ids = some_ids(4, 57)
    ids[1, 20:] = 0
    mask = torch.ones_like(ids, dtype=torch.bool)
    mask[2, 31:] = False
    for x in (ids, rows_of(ids)):
        with torch.no_grad():
            alone = torch.stack([member(x, mask) for member in model.members])
            torch.testing.assert_close(model.member_logits(x, mask), alone, rtol=0, atol=1e-6)
            torch.testing.assert_close(
                model.music_logits(x, mask), model.gate(x, mask), rtol=0, atol=1e-6
            )


# ---- settings


def test_settings_refuse_what_makes_no_model():
    with pytest.raises(ValidationError, match="multiple of twice the heads"):
        TransformerSettings(width=20, heads=4)
    with pytest.raises(ValidationError, match="Extra inputs"):
        CNNSettings(depth=3)
    with pytest.raises(ValidationError, match="at least 1 item"):
        EnsembleSettings(members=())
    with pytest.raises(ValidationError, match="harmony"):
        StatisticsSettings(view="tokens")
    with pytest.raises(ValidationError, match=r"low 0\.7 lies above high 0\.5"):
        ClassifierSettings(low=0.7)
    settings = ClassifierSettings.model_validate({"model": {"kind": "transformer", "layers": 2}})
    assert settings.model == TransformerSettings(layers=2)


def test_every_field_is_described():
    groups = (
        CNNSettings, TransformerSettings, StatisticsSettings, EnsembleSettings, ClassifierSettings,
    )  # fmt: skip
    for group in groups:
        assert all(field.description for field in group.model_fields.values())


def test_statistics_are_bent_to_within_their_bound() -> None:
    raw = torch.linspace(-4, 9, 400)[:, None].expand(-1, 3).clone()
    plain, bent = Statistics(1, 1), Statistics(1, 1, 2.0)
    for one in (plain, bent):
        one.set_scale(raw[:40])
    far, near = plain.scaled(raw), bent.scaled(raw)
    assert far.max() > 20
    assert near.abs().max() <= 2
    assert (near.diff(dim=0) >= 0).all(), "more is never less"
    assert torch.equal(near.sign(), far.sign())
    middle = far.abs() < 0.2
    torch.testing.assert_close(near[middle], far[middle], atol=1e-3, rtol=0)


@pytest.mark.parametrize("name", ["cnn, harmony", "statistics"])
def test_one_strange_statistic_outweighs_the_rest_only_unbounded(name: str) -> None:
    # The scale is of music that hardly has a feature; of other music it is the first thing seen.
    moved = []
    for chosen in (SIZES[name], SIZES[f"{name}, bounded"]):
        torch.manual_seed(0)
        model = build(chosen, TABLE).eval()
        summary = next(part for part in model.modules() if isinstance(part, Statistics))
        summary.spread.fill_(1.0)
        raw = torch.zeros(1, summary.size)
        strange = raw.clone()
        strange[0, 5] = 50.0
        moved.append((summary.scaled(strange) - summary.scaled(raw)).abs().max().item())
    assert moved == [50.0, pytest.approx(1.0)]


@pytest.mark.parametrize("name", SIZES)
def test_gradients_of_rows_hold_in_float64(name: str) -> None:
    torch.manual_seed(0)
    model, ids = build(SIZES[name], TABLE).eval().double(), some_ids(2, 24)
    noise = torch.randn(2, 24, V, generator=torch.Generator().manual_seed(0)).double().softmax(-1)
    rows = (0.8 * F.one_hot(ids, V) + 0.2 * noise).requires_grad_()
    assert model(ids).dtype == torch.float64
    assert torch.autograd.gradcheck(model, (rows,), fast_mode=True)
