"""The conformance suite of compilers; needs the extra `testing`."""
