"""The executor that trains growing hosts in worker processes."""
