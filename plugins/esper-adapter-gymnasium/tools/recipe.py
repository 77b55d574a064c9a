"""How the table's networks are trained, and the same as settings of a run.

The host's learning rate is a fifth of what suits it on `digits`, so that it is far from what it could learn in 20
epochs; seeds have the usual one. Seeds are not isolated: in the table the host learns with them from its first step on.
"""

EPOCHS, BATCH_SIZE = 20, 64
HOST_LR, SEED_LR, MOMENTUM, WEIGHT_DECAY, WARMUP_EPOCHS = 0.02, 0.1, 0.9, 5e-4, 1

#: What a run must be told; the rest are the defaults of the task.
SETTINGS = (
    f"epochs={EPOCHS}",
    f"batch_size={BATCH_SIZE}",
    f"optimizer.lr={HOST_LR}",
    f"optimizer.seed_lr_multiplier={SEED_LR / HOST_LR}",
    f"optimizer.momentum={MOMENTUM}",
    f"optimizer.weight_decay={WEIGHT_DECAY}",
    f"optimizer.warmup_epochs={WARMUP_EPOCHS}",
    "lifecycle.isolate=false",
)
