"""The safety gate: what may go to a model, what may come out. See ``gate.SafetyGate``."""
