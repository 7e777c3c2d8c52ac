"""volseg/cloud tested against moto, real Dask processes, and in network namespaces."""
