"""What a model is: specs, weights and their registry, the families of models.

Nothing here knows about volumes, tiles, jobs or propagation. Only `sam`, `nano` and `threads` import torch.
"""

from volseg.models.package import load_on_demand

load_on_demand()
