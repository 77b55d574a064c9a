"""The conformance suite of buses; needs the extra `testing`."""
