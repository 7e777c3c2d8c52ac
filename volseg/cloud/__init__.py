"""A lab's cluster on EC2: the stack's life, a host's Dask workers, certificates, prices.

Nothing is imported here: boto3 is an extra, and `volseg worker` must not need it on a workstation.
"""
