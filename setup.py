"""Packaging. `pip install -e .` brings all that the commands need."""

import pathlib

import setuptools

HERE = pathlib.Path(__file__).parent

setuptools.setup(
    name='meta-analog',
    version='0.1.0',
    description='Meta-training of spiking networks through analog in-memory '
                'hardware',
    long_description=(HERE / 'README.md').read_text(),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    python_requires='>=3.11',
    packages=setuptools.find_packages(include=['meta_analog', 'meta_analog.*']),
    package_data={'meta_analog': ['py.typed']},
    install_requires=[
        'absl-py>=2.1',
        'chex>=0.1.89',
        'dm-haiku>=0.0.16',
        'filelock>=3.12',  # of jax's cache of compiled programs
        'jax>=0.10,!=0.10.1',
        'jaxlib>=0.10',
        'matplotlib>=3.8',
        'ml-collections>=1.0',
        'numpy>=1.26',
        'optax>=0.2.4',
        'orbax-checkpoint>=0.11',
        'pillow>=10',
        'pooch>=1.8',
        'rich>=13',
        'scipy>=1.12',
        'tensorboardX>=2.6',
    ],
    extras_require={
        # To be measured against; never imported otherwise.
        'peers': ['norse>=1.0', 'snntorch>=0.9', 'spyx>=1.0', 'torch>=2.4'],
        'test': [
            'hypothesis>=6.100',
            'pytest>=8',
            'pytest-xdist>=3.5',
            'ruff>=0.8',
        ],
        'tracking': ['tensorboard>=2.16'],  # to look at tensorboard/
        'wandb': ['wandb>=0.17'],  # for --wandb
    },
)
