"""The conformance suite of stores; needs the extra `testing`."""
