"""Any model of the transformers library as a host network, with a site after each of its blocks."""
