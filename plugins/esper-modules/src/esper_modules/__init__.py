"""Seeds whose modules come from a store: looked up and verified, compiled when missing, prefetched over a bus."""
