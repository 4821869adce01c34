"""What pyproject.toml cannot say: cfg/ and weights/ lie beside the package here, and inside it when it is installed."""

from setuptools import find_packages, setup

SHIPPED = {"darknet_py.shipped.cfg": "cfg", "darknet_py.shipped.weights": "weights"}

setup(packages=[*find_packages(include=["darknet_py*"]), *SHIPPED], package_dir=SHIPPED)
