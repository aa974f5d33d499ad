"""The multi-task interest model: data, network, training, inference, registry."""
