"""Risk as the run sees it: what its policy and the machine are like, and how many commands there have been."""
