from .checkpoint import OBJECT_SIZE as OBJECT_SIZE
from .checkpoint import build as build
from .checkpoint import load as load
from .checkpoint import save as save
