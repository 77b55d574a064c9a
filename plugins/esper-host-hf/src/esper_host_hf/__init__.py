"""Any model of the transformers library as host network, with a site behind each of its blocks."""
