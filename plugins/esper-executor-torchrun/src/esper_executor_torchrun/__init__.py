"""The executor that spreads hosts over the processes of a torchrun job."""
