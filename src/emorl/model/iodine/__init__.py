"""IODINE (Greff et al., ICML 2019), the baseline that EfficientMORL's paper compares with. Start with `model`.

Where IODINE's paper and its authors' code differ, the paper is the default and the code an option: see
`OwnGradient` and `BatchMeanGradient`, `GaussianPixels` and `LogisticPixels`, ``prior_variance`` and ``constants``.
"""
