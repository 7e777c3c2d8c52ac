from .cancel import Cancel as Cancel
from .cluster import open_cluster as open_cluster
