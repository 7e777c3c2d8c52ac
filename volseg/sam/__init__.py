"""The model: weights and their registry, rendering, tiling, the encoder and the decoder.

Nothing here knows about volumes on a store, jobs or propagation. Only `model`, `attention` and
`nano` import torch.
"""

from volseg.sam.package import load_on_demand

load_on_demand()
