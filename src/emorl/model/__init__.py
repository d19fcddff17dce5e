"""The models, which need only torch and jaxtyping.

Start with `SlotModel`, then read one model in the order of the data flow.

======  ====================  ==================================================================
symbol  argument              meaning
======  ====================  ==================================================================
K       ``num_slots``         slots, background included
D       ``slot_dim``          dimensions of one slot
L       ``num_layers``        stochastic layers of the bottom-up pass
I       ``steps``             top-down refinement steps, an argument of the call
F       ``feature_dim``       feature channels of a pixel
lambda  ``posterior``         parameters (mean, rho) of one diagonal Gaussian per slot
z^l     ``slots``             samples, [B, K, D]
======  ====================  ==================================================================
"""

from typing import TYPE_CHECKING

from emorl.model.attention import SlotAttend
from emorl.model.bottom_up import BottomUp
from emorl.model.decoder import BigDecoder, BroadcastDecoder, Components, Decoder, IodineDecoder, SmallDecoder
from emorl.model.efficient_morl import EfficientMORL
from emorl.model.encoder import ImageEncoder
from emorl.model.geco import Geco
from emorl.model.inference import Encoding, Inference, Layer, Reconstruction, Stage
from emorl.model.initialization import (
    BalancedInitialization,
    Initialization,
    ReferenceDecoderInitialization,
    ReferenceInitialization,
)
from emorl.model.iodine.coordinates import Coordinates, CosineCoordinates, LinearCoordinates
from emorl.model.iodine.decoder import Drawing, IodinePixelDecoder
from emorl.model.iodine.gradient import BatchMeanGradient, OwnGradient, RefinementGradient
from emorl.model.iodine.initialization import IodineInitialization
from emorl.model.iodine.likelihood import GaussianPixels, LogisticPixels, PixelMixture
from emorl.model.iodine.model import IODINE, step_weight
from emorl.model.iodine.refinement import IodineLSTM, IodineRefinement
from emorl.model.likelihood import GaussianLikelihood, Likelihood, MixtureLikelihood
from emorl.model.noise import ImageNoise, Noise, PosteriorMeans, gaussian_noise
from emorl.model.objective import Objective, stage_weight
from emorl.model.position import FourierPosition, PositionCode, RampPosition
from emorl.model.posterior import Gaussian, SoftplusGaussian, scale, slot_kl
from emorl.model.prior import BottomUpPrior, Prior, ReversedPlusPlusPrior, ReversedPrior
from emorl.model.recurrent import DualGRU, PlainGRU
from emorl.model.refinement import Refinement
from emorl.model.slot_attention import SlotAttention
from emorl.model.slot_model import SlotModel, unit_range
from emorl.renamed import former_attributes

__all__ = [
    "IODINE",
    "BalancedInitialization",
    "BatchMeanGradient",
    "BigDecoder",
    "BottomUp",
    "BottomUpPrior",
    "BroadcastDecoder",
    "Components",
    "Coordinates",
    "CosineCoordinates",
    "Decoder",
    "Drawing",
    "DualGRU",
    "EfficientMORL",
    "Encoding",
    "FourierPosition",
    "Gaussian",
    "GaussianLikelihood",
    "GaussianPixels",
    "Geco",
    "ImageEncoder",
    "ImageNoise",
    "Inference",
    "Initialization",
    "IodineDecoder",
    "IodineInitialization",
    "IodineLSTM",
    "IodinePixelDecoder",
    "IodineRefinement",
    "Layer",
    "Likelihood",
    "LinearCoordinates",
    "LogisticPixels",
    "MixtureLikelihood",
    "Noise",
    "Objective",
    "OwnGradient",
    "PixelMixture",
    "PlainGRU",
    "PositionCode",
    "PosteriorMeans",
    "Prior",
    "RampPosition",
    "Reconstruction",
    "ReferenceDecoderInitialization",
    "ReferenceInitialization",
    "Refinement",
    "RefinementGradient",
    "ReversedPlusPlusPrior",
    "ReversedPrior",
    "SlotAttend",
    "SlotAttention",
    "SlotModel",
    "SmallDecoder",
    "SoftplusGaussian",
    "Stage",
    "gaussian_noise",
    "scale",
    "slot_kl",
    "stage_weight",
    "step_weight",
    "unit_range",
]

if not TYPE_CHECKING:
    __getattr__ = former_attributes(__name__)
