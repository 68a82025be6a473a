"""The arms of the experiment: what is trained on from the same cross-entropy generator, and how.

Each arm is `gan train` with these choices from the base of its seed, for the same number of steps;
those that only choose among samples train nothing.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

SEEDS = (0, 1, 2)
MORE_SEEDS = 6  # of two arms whose intervals touched with three
STEPS = 100

COMMON: dict[str, Any] = {
    "condition": "none", "steps": STEPS, "batch": 16, "length": 512,
    "learning_rate": 3e-4, "warmup": 10, "final_rate": 0.3, "weight_decay": 0.0, "average": "ema",
    "average_decay": 0.95, "adv_scale": "gradient", "adv_loss": "matching", "adv_ramp": 10,
    "adv_batch": 24,
    "rollout": 256, "prompt": 64, "bos_share": 0.75, "evaluate_every": 50,
    "checkpoint_every": 1000, "samples": 0, "validation_windows": 96, "workers": 0,
}  # fmt: skip

GUARDED: dict[str, Any] = {"kl_weight": 0.01}
SHARE = 0.5
SCORED: dict[str, Any] = GUARDED | {
    "adv_weight": 1.0, "adv_estimator": "reinforce", "discriminator": "style"
}  # fmt: skip
# Through the relaxation a whole share and this rate take the music apart.
RELAXED: dict[str, Any] = GUARDED | {
    "adv_weight": SHARE, "adv_estimator": "replay", "learning_rate": 1e-4
}  # fmt: skip
STYLE: dict[str, Any] = RELAXED | {"discriminator": "style"}
REALISM: dict[str, Any] = RELAXED | {"adv_critics": "realism"}
BOTH: dict[str, Any] = STYLE | {"adv_critics": "both", "realism_share": 0.3}
# Loops are a disease of low temperatures, so that is where they are docked.
REWARD: dict[str, Any] = GUARDED | {"reward_weight": 1.0, "temperature": 0.9}
LABEL: dict[str, Any] = {"condition": "label"}
UNGUARDED: dict[str, Any] = {
    "adv_weight": 1.0, "adv_loss": "hinge", "adv_estimator": "replay",
    "discriminator": "style", "steps": 160,
    "learning_rate": 1.5e-4, "guard_hollow": False, "guard_bits": 0.0, "guard_variety": 0.0,
    "guard_returns": -1,
}  # fmt: skip


@dataclass(frozen=True)
class Arm:
    """One row of the table.

    Attributes:
        name: of the row.
        says: what it is, in the table.
        changes: settings beside `COMMON`.
        base: what it goes on from: "none" or "label" (the cross-entropy generators), or an arm.
        pieces: what cross-entropy learns from: "all", "curated" by the style discriminator, "jazz".
        seeds: how many.
        choose: how samples are chosen, where not simply drawn.
        last: done when the others are.
    """

    name: str
    says: str
    changes: dict[str, Any] = field(default_factory=dict)
    base: str = "none"
    pieces: Literal["all", "curated", "jazz"] = "all"
    seeds: int = len(SEEDS)
    choose: Literal["", "best", "guidance"] = ""
    last: bool = False

    @property
    def trains(self) -> bool:
        """Whether there is anything to train."""
        return not self.choose


ARMS = (
    Arm("ce", "cross-entropy, as many steps"),
    Arm("scored", "adversarial", SCORED),
    Arm("best-of-4", "the best of four by the discriminator", base="ce", choose="best"),
    Arm("guidance", "guidance by the discriminator at decoding", base="ce", choose="guidance"),
    Arm("curated", "cross-entropy on what the discriminator calls jazz", pieces="curated",
        seeds=MORE_SEEDS),
    Arm("curated-scored", "adversarial, on what the discriminator calls jazz", SCORED,
        pieces="curated"),
    Arm("control", "adversarial, shuffled labels", SCORED | {"discriminator": "control"}),
    Arm("reward", "self-referential reward alone", REWARD),
    Arm("scored-reward", "adversarial, and reward", SCORED | {"reward_weight": SHARE}),
    Arm("label-ce", "conditioned: cross-entropy", LABEL, base="label"),
    Arm("label-scored", "conditioned: adversarial", SCORED | LABEL, base="label"),
    Arm("label-scored-reward", "conditioned: adversarial, and reward",
        SCORED | LABEL | {"reward_weight": SHARE}, base="label"),
    Arm("relaxed", "adversarial, through the relaxation", STYLE),
    Arm("relaxed-both", "adversarial, through the relaxation, realism trained along", BOTH),
    Arm("relaxed-hinge", "adversarial, through the relaxation, hinge at the median",
        STYLE | {"adv_loss": "hinge"}, seeds=1),
    Arm("curated-relaxed", "adversarial, through the relaxation, on what is called jazz", STYLE,
        pieces="curated", last=True),
    Arm("label-relaxed", "conditioned: adversarial, through the relaxation", STYLE | LABEL,
        base="label", last=True),
    Arm("ce-more", "cross-entropy, as much time", {"steps": 6 * STEPS}, last=True),
    Arm("curated-more", "cross-entropy on what the discriminator calls jazz, as much time",
        {"steps": 6 * STEPS}, pieces="curated", last=True),
    Arm("scored-most", "adversarial, maximised instead of matched",
        SCORED | {"adv_loss": "non_saturating"}, seeds=MORE_SEEDS, last=True),
    Arm("scored-most-more", "the same, 100 steps more",
        SCORED | {"adv_loss": "non_saturating"}, base="scored-most", seeds=2, last=True),
    Arm("reward-half", "self-referential reward alone, half the share",
        REWARD | {"reward_weight": SHARE}, last=True),
    Arm("realism", "adversarial, realism discriminator trained along", REALISM, last=True),
    Arm("teacher", "adversarial, style, tokens along music",
        STYLE | {"adv_estimator": "teacher"}, last=True),
    Arm("jazz-ce", "jazz only: cross-entropy", {"steps": 3 * STEPS}, pieces="jazz", last=True),
    Arm("jazz-scored", "jazz only: adversarial", SCORED, base="jazz-ce", pieces="jazz", last=True),
    Arm("hacked", "twice the share, no guards", UNGUARDED, seeds=2, last=True),
    Arm("hack-guarded", "twice the share, all guards",
        UNGUARDED | GUARDED | {"guard_hollow": True, "guard_bits": 0.02, "guard_variety": 0.8,
        "guard_returns": 3}, seeds=2, last=True),
)  # fmt: skip
BY_NAME = {arm.name: arm for arm in ARMS}

TEMPERATURES = (1.0, 0.9)  # of every arm
FRONTIER = ((0.7, 1.0), (0.8, 1.0), (1.1, 1.0), (1.0, 0.9), (1.0, 0.95))  # temperature, top-p
FRONTIER_ARMS = ("ce", "curated", "scored", "curated-scored")
COUNT, LENGTH = 160, 512  # samples a seed, tokens of each
LONG_ARMS, LONG_COUNT, LONG_LENGTH = (
    ("ce", "scored", "curated-scored", "label-ce", "label-scored"),
    48,
    1536,
)
