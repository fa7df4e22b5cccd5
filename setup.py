"""What pyproject.toml cannot say: the wheel holds configs/ and the small weights in assets/ inside `earshot`."""

from setuptools import find_packages, setup

CODE = ("earshot", "lightning_modules", "datamodules", "callbacks", "evaluation", "reports", "miniature")
FILES = ("configs", "assets")

setup(
    py_modules=["train"],
    packages=[
        *find_packages(include=[pattern for name in CODE for pattern in (name, f"{name}.*")]),
        *(f"earshot.{name}" for name in FILES),
    ],
    package_dir={f"earshot.{name}": name for name in FILES},
    package_data={"reports": ["*.csv", "templates/*"], "earshot": ["app*"]}
    | {f"earshot.{name}": ["**/*"] for name in FILES},
)
