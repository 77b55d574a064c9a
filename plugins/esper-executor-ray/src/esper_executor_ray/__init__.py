"""The executor that trains growing hosts in Ray actors."""
