"""The engine: tape, Tensor and Op."""
