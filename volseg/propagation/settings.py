"""Every threshold of propagation, in one frozen value that a plan hashes."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class Settings(BaseModel):
    """Thresholds of propagation; the defaults were tuned as docs/propagation.md tells."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    # --- prompting -----------------------------------------------------------------------------
    points_per_component: int = Field(
        default=3, ge=1, description="interior points of each component"
    )
    max_components: int = Field(
        default=4, ge=1, description="components that get prompts of their own"
    )
    box_margin: float = Field(
        default=0.1, ge=0, description="box prompt's margin, shares of its sides"
    )
    wide_box_margin: float = Field(default=0.6, ge=0, description="margin of the wide box prompt")
    retry: bool = Field(default=True, description="box and wide box where points are weak")
    search: bool = Field(
        default=True, description="look around the seed while the velocity is unknown"
    )
    mirror: bool = Field(
        default=True, description="look on both sides of a seed while the velocity is unknown"
    )
    negative_reach: int = Field(
        default=2, ge=0, description="slices over which a neighbour's prompt counts as a negative"
    )
    negative_points: int = Field(default=4, ge=0, description="most negatives per prompt")

    # --- choosing ------------------------------------------------------------------------------
    choose: bool = Field(
        default=True, description="choose among candidates by agreement; else by score"
    )
    weight_agreement: float = Field(default=0.6, ge=0, description="IoU with the predicted mask")
    weight_score: float = Field(default=0.2, ge=0, description="the model's own score")
    weight_area: float = Field(default=0.2, ge=0, description="ratio of areas")
    weight_trust: float = Field(
        default=0.8, ge=0, description="more weight of the score, where scores proved steady"
    )
    steady_spread: float = Field(
        default=0.05, ge=0, description="mean deviation up to which scores are steady"
    )
    loose_spread: float = Field(
        default=0.12, gt=0, description="mean deviation of scores from which they say nothing"
    )
    confident: float = Field(default=0.75, description="agreement that needs no second prompt")
    split: bool = Field(default=True, description="cut leaks at thin necks")
    leak_growth: float = Field(
        default=1.5, ge=1, description="growth of area from which a neck is sought"
    )

    # --- accepting -----------------------------------------------------------------------------
    motion: bool = Field(default=True, description="move the last mask by the smoothed velocity")
    velocity_smoothing: float = Field(
        default=0.5, ge=0, le=1, description="share of the new velocity"
    )
    accept_agreement: float = Field(
        default=0.5, description="agreement from which a mask is accepted"
    )
    relaxed: bool = Field(default=True, description="accept contained masks and first jumps too")
    accept_containment: float = Field(
        default=0.7, description="share of the smaller mask in the larger"
    )
    accept_area: float = Field(default=0.25, description="least ratio of areas with containment")
    jump_area: float = Field(default=0.6, description="least ratio of areas of a first jump")
    jump_distance: float = Field(default=1.3, description="longest first jump, in diameters")
    min_score: float = Field(default=0.0, description="model score below which nothing is accepted")
    fallen_score: float = Field(
        default=0.5, description="share of the usual score below which nothing is accepted"
    )
    ended_score: float = Field(
        default=0.8, description="the same where the scores proved steady: the object has ended"
    )
    points_decide: bool = Field(
        default=False,
        description="an object ends where points score far less than usual, whatever boxes say; "
        "for models whose scores mean something",
    )
    fall_spreads: float = Field(
        default=3.0, ge=0, description="mean deviations by which points must score less at an end"
    )
    abrupt_score: float = Field(
        default=0.6, description="the same for masks that agree little with the prediction"
    )
    support: bool = Field(
        default=True, description="abrupt changes must be confirmed by a second prompt"
    )
    support_agreement: float = Field(
        default=0.75, description="IoU from which two prompts' answers count as the same"
    )
    patience: int = Field(
        default=3, ge=0, description="slices without the object before it has ended"
    )
    glitches: bool = Field(
        default=True, description="after an abrupt change keep the former mask too"
    )
    doubtful: float = Field(
        default=0.7, description="agreement below which the former mask is kept in mind"
    )
    abrupt: float = Field(
        default=0.6, description="agreement below which a change counts as abrupt"
    )

    doubt: float = Field(
        default=0.0,
        ge=0,
        description="doubt, summed over slices, from which an object has ended; 0: never",
    )
    doubt_below: float = Field(
        default=0.55,
        description="agreement times score (shares of the best so far) below which doubt grows",
    )
    doubt_gap: float = Field(default=0.3, ge=0, description="doubt of a slice without the object")
    brightness: float = Field(
        default=0.0,
        ge=0,
        description="change of an object's brightness, share of the range shown, that takes 40 % of "
        "a slice's confidence; 0: not looked at",
    )
    relief: float = Field(default=0.15, ge=0, description="most doubt that one slice can take back")

    # --- settling ------------------------------------------------------------------------------
    bridge: bool = Field(default=True, description="interpolate bridged gaps")
    bridge_confidence: float = Field(
        default=0.3, ge=0, le=1, description="confidence of such slices"
    )
    seed_bridge: int = Field(default=8, ge=0, description="longest gap bridged between two seeds")
    return_branches: bool = Field(default=True, description="follow merged branches back")
    branch_share: float = Field(
        default=0.3, description="least area of a new lobe, shares of the mask beside it"
    )
    branch_depth: float = Field(
        default=0.5, description="least depth of a new lobe, shares of the whole mask's"
    )
    least_branch: int = Field(default=2, ge=1, description="slices that a branch must last")
    trim: bool = Field(default=True, description="drop doubtful slices at the ends")
    trim_confidence: float = Field(
        default=0.6, description="confidence from which an end slice speaks for the track"
    )
    part: bool = Field(
        default=True, description="part a track from other objects whose seeds it runs into"
    )
    retry_runs: bool = Field(
        default=True, description="try runs of low confidence again from their other side"
    )
    retry_below: float = Field(
        default=0.55, description="confidence below which the other side is tried"
    )
    meet: float = Field(
        default=0.9, description="IoU at which a corrected track has met the old one"
    )
    meet_slices: int = Field(
        default=2, ge=1, description="meeting slices in a row that end a correction"
    )

    @property
    def least_sure(self) -> float:
        """Confidence from which a slice speaks for its track."""
        return self.doubt_below if self.doubt else self.trim_confidence


DEFAULTS = Settings()
