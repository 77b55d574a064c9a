"""A host with the topology that a run has grown, and new weights."""
