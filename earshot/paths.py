"""Where the files that come with the project are: in the working folder, a checkout, or the installed package."""

from pathlib import Path

PACKAGE = Path(__file__).parent


def shipped(name: str) -> Path:
    """The project's own file or folder of that name, such as `configs/defaults.yaml`."""
    installed = PACKAGE / name  # a wheel has configs/ and assets/ inside the package
    return installed if installed.exists() else PACKAGE.parent / name


def resource(name: str) -> Path:
    """The file or folder of that name in the working folder, or else the project's own; `name` where there is none."""
    path = Path(name)
    return path if path.exists() or not shipped(name).exists() else shipped(name)


def config_file(name: str) -> Path:
    """The YAML that `--config name` means: a path, or `dali_ot` and `criterion/mmd` for those in configs/."""
    for path in (Path(name), resource(name), resource(f"configs/{name}.yaml")):
        if path.is_file():
            return path
    return Path(name)
