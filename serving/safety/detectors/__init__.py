"""The detectors that come with the gate, one a file. See ``serving.safety.types.Detector``."""
