"""The source YAML: how one shop's files map to the contract."""
