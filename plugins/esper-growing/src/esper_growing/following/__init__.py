"""Following the user's loop: first batch, optimizer, scheduler, clipping."""
