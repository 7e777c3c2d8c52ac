"""volseg/pipelines tested kind by kind."""
