"""The room volseg/cloud, tested against moto, against real Dask processes, and in network namespaces."""
