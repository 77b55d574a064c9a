"""The conformance suite of dossiers; it needs the extra ``testing``."""
