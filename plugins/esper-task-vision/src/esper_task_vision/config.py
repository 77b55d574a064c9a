"""Options of the tasks."""

from attrs import field, frozen, validators

_POSITIVE = (validators.instance_of(int), validators.gt(0))


@frozen(kw_only=True)
class FashionMnistConfig:
    """Options of `fashion-mnist`.

    Attributes:
        train_samples: images to train on, from the 60000 official training images.
        validation_samples: images to validate on, from the official training images too. The test split is the
            official one.
        directory: folder with the data: IDX files, or parquet or arrow files. None: ``ESPER_DATA_DIR``, then
            `system_directory`, then the hub.
        system_directory: where a package of the operating system installs the IDX files.
    """

    train_samples: int = field(default=12_000, validator=_POSITIVE)
    validation_samples: int = field(default=4_000, validator=_POSITIVE)
    directory: str | None = None
    system_directory: str = "/usr/share/datasets/fashion-mnist"


@frozen(kw_only=True)
class Cifar10Config:
    """Options of `cifar10`.

    Attributes:
        train_samples: images to train on, from the 50000 official training images.
        validation_samples: images to validate on, from the official training images too. The test split is the
            official one.
        directory: folder with parquet or arrow files. None: ``ESPER_DATA_DIR``, then the hub.
        augment: shift and mirror training batches at random.
    """

    train_samples: int = field(default=45_000, validator=_POSITIVE)
    validation_samples: int = field(default=5_000, validator=_POSITIVE)
    directory: str | None = None
    augment: bool = field(default=True, validator=validators.instance_of(bool))
