"""The models in pure torch; start with `SlotModel`, then read one model in the order in which data flows.

======  ====================  ==================================================================
symbol  argument              meaning
======  ====================  ==================================================================
K       ``num_slots``         slots, background included
D       ``slot_dim``          dimensions of one slot
L       ``num_layers``        stochastic layers of the bottom-up pass
I       ``steps``             top-down refinement steps, an argument of the call
F       ``feature_dim``       features of a pixel
lambda  ``posterior``         parameters (mean, rho) of one diagonal Gaussian per slot
z^l     ``slots``             samples, [B, K, D]
======  ====================  ==================================================================
"""

from emorl.model.attention import SlotAttend
from emorl.model.bottom_up import BottomUp
from emorl.model.decoder import BigDecoder, BroadcastDecoder, Components, Decoder, IodineDecoder, SmallDecoder
from emorl.model.efficient_morl import EfficientMORL
from emorl.model.encoder import ImageEncoder
from emorl.model.geco import Geco
from emorl.model.initialisation import (
    BalancedInitialisation,
    Initialisation,
    ReleasedDecoderInitialisation,
    ReleasedInitialisation,
)
from emorl.model.likelihood import GaussianLikelihood, Likelihood, MixtureLikelihood
from emorl.model.noise import ImageNoise, Noise, PosteriorMeans, gaussian_noise
from emorl.model.objective import Objective, stage_weight
from emorl.model.position import FourierPosition, PositionCode, RampPosition
from emorl.model.posterior import Gaussian, scale, slot_kl
from emorl.model.prior import BottomUpPrior, Prior, ReversedPlusPlusPrior, ReversedPrior
from emorl.model.recurrent import DualGRU, PlainGRU
from emorl.model.refinement import Refinement
from emorl.model.slot_attention import SlotAttention
from emorl.model.slot_model import Encoding, Inference, Layer, Reconstruction, SlotModel, Stage, unit_range

__all__ = [
    "BalancedInitialisation",
    "BigDecoder",
    "BottomUp",
    "BottomUpPrior",
    "BroadcastDecoder",
    "Components",
    "Decoder",
    "DualGRU",
    "EfficientMORL",
    "Encoding",
    "FourierPosition",
    "Gaussian",
    "GaussianLikelihood",
    "Geco",
    "ImageEncoder",
    "ImageNoise",
    "Inference",
    "Initialisation",
    "IodineDecoder",
    "Layer",
    "Likelihood",
    "MixtureLikelihood",
    "Noise",
    "Objective",
    "PlainGRU",
    "PositionCode",
    "PosteriorMeans",
    "Prior",
    "RampPosition",
    "Reconstruction",
    "Refinement",
    "ReleasedDecoderInitialisation",
    "ReleasedInitialisation",
    "ReversedPlusPlusPrior",
    "ReversedPrior",
    "SlotAttend",
    "SlotAttention",
    "SlotModel",
    "SmallDecoder",
    "Stage",
    "gaussian_noise",
    "scale",
    "slot_kl",
    "stage_weight",
    "unit_range",
]
