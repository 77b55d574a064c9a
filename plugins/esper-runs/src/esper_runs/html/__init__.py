"""What pages about runs are made of: markup, the lanes of seeds, and one style for all of them."""
