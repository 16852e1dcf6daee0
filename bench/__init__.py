"""Lab, wire, sinks, experiments and statistics."""
