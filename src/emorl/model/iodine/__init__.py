"""IODINE (Greff et al., ICML 2019), the baseline that the paper compares itself with. Start with `model`.

Where the paper and its authors' release differ, the paper is the default and the release an option: see
`OwnGradient` and `BatchMeanGradient`, `GaussianPixels` and `LogisticPixels`, ``prior_variance`` and ``constants``.
"""
