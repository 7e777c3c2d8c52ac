"""volseg/engine tested with jobs that know neither pixels nor models."""
