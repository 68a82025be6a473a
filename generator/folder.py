"""A generator's folder: `model.safetensors`, `generator.json`, `representation.json`; they belong
together, and are checked to."""

from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from data_tools.cards import read_card
from data_tools.errors import UserError
from data_tools.files import whole, write_json
from data_tools.representation import Representation
from generator.model import GeneratorModel, build
from generator.settings import ModelSettings

FORMAT = 1
PRETRAINED = Path(__file__).parent / "pretrained"
# What the package ships: a generator of cross-entropy, and what adversarial training made of it.
SHIPPED = {"ce": PRETRAINED, "adv": PRETRAINED / "adversarial"}
DEFAULT = "adv"  # nearest to real jazz at the default settings; see the card in `pretrained/`


class _Card(BaseModel):
    """What `generator.json` holds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int
    settings: ModelSettings
    vocabulary: int
    music_vocabulary: int
    digest: str
    default_label: str | None


def settings_of(folder: Path) -> ModelSettings:
    """What the generator in a folder is made of.

    Raises:
        UserError: no generator there.
    """
    return read_card(folder / "generator.json", _Card, FORMAT, "generator").settings


def conditions_in(folder: Path) -> tuple[str, ...]:
    """Names of the condition tokens that the generator in a folder knows.

    Raises:
        UserError: no representation there.
    """
    return Representation.load(folder / "representation.json").conditions


def load_folder(folder: str | Path | None) -> tuple[GeneratorModel, Representation, str | None]:
    """A generator, its representation, and the label it composes for by default.

    Args:
        folder: None for the one this package ships, "ce" or "adv" for one of the two.

    Raises:
        UserError: no generator there, or parts that do not belong together.
    """
    if folder is None:
        folder = DEFAULT
    if str(folder) in SHIPPED and not Path(folder).is_dir():
        folder = SHIPPED[str(folder)]
        if not (folder / "generator.json").is_file():
            raise UserError(
                "no generator came with this install; train one with `gan train` and give "
                "its run or checkpoint"
            )
    folder = Path(folder)
    card = read_card(folder / "generator.json", _Card, FORMAT, "generator")
    representation = Representation.load(folder / "representation.json")
    sizes = representation.vocab_size, representation.music_size
    saved = card.vocabulary, card.music_vocabulary
    if (representation.digest, *sizes) != (card.digest, *saved):
        raise UserError(
            f"{folder}: generator.json was saved with representation {card.digest} of "
            f"{saved[0]} tokens, representation.json is {representation.digest} of {sizes[0]}; "
            "copy the whole folder again"
        )
    with torch.device("meta"):  # takes no memory, whatever sizes the card names
        sketch = build(card.vocabulary, card.settings)
    weights = _weights_of(sketch, folder / "model.safetensors")
    with torch.random.fork_rng(devices=[]):  # the fresh weights give way to those loaded
        model = build(card.vocabulary, card.settings)
    model.load_state_dict(weights)
    return model, representation, card.default_label


def _halved(tensor: Tensor) -> Tensor:
    """In float16, but for what goes beyond it: a running variance may."""
    half = tensor.half()
    return half if half.isfinite().all() or not tensor.isfinite().all() else tensor


def save_folder(
    folder: str | Path,
    model: GeneratorModel,
    representation: Representation,
    default_label: str | None,
    half: bool,
) -> None:
    """Writes the folder, `generator.json` last; see `Composer.save`."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    weights = {
        name: _halved(tensor) if half and tensor.is_floating_point() else tensor
        for name, tensor in model.state_dict().items()
    }
    with whole(folder / "model.safetensors") as temporary:
        save_file(weights, temporary)
    representation.save(folder / "representation.json")
    card = _Card(
        format=FORMAT,
        settings=model.settings,
        vocabulary=representation.vocab_size,
        music_vocabulary=representation.music_size,
        digest=representation.digest,
        default_label=default_label,
    )
    write_json(folder / "generator.json", card.model_dump(mode="json"))


def _weights_of(sketch: GeneratorModel, path: Path) -> dict[str, Tensor]:
    """The weights in a file, which are those of a model like this one."""
    try:
        weights = load_file(path)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path}: cannot be read as weights ({error})") from None
    expected = {name: tuple(tensor.shape) for name, tensor in sketch.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    if found != expected:
        wrong = sorted(set(found.items()) ^ set(expected.items()))[0][0]
        raise UserError(f"{path}: does not fit generator.json (weight '{wrong}')")
    if not all(bool(torch.isfinite(tensor).all()) for tensor in weights.values()):
        raise UserError(f"{path}: the weights hold infinities or NaN; train the model again")
    return weights
