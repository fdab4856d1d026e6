"""Packaging: what is installed, what it needs, the command `meta-analog`.

The folder configs/ becomes the package meta_analog.configs, so that a wheel
holds the config files and pretrained parameters.
"""

import pathlib
import re

import setuptools

HERE = pathlib.Path(__file__).parent
INIT = (HERE / 'meta_analog' / '__init__.py').read_text()

setuptools.setup(
    name='meta-analog',
    version=re.search(r"^__version__ = '(.*)'$", INIT, re.MULTILINE)[1],
    description='Meta-training of spiking neural networks through a model of '
                'analog in-memory hardware',
    long_description=(HERE / 'README.md').read_text(),
    long_description_content_type='text/markdown',
    author='The meta-analog authors',
    license='Apache-2.0',
    license_files=['LICENSE'],
    keywords=['spiking neural networks', 'meta-learning', 'phase-change memory',
              'in-memory computing', 'jax'],
    classifiers=[
        'Development Status :: 4 - Beta',
        'Environment :: Console',
        'Intended Audience :: Science/Research',
        'Operating System :: MacOS',
        'Operating System :: POSIX :: Linux',
        'Programming Language :: Python :: 3',
        'Programming Language :: Python :: 3.11',
        'Programming Language :: Python :: 3.12',
        'Programming Language :: Python :: 3.13',
        'Topic :: Scientific/Engineering :: Artificial Intelligence',
        'Topic :: Scientific/Engineering :: Physics',
        'Typing :: Typed',
    ],
    python_requires='>=3.11',
    packages=[
        *setuptools.find_packages(include=['meta_analog', 'meta_analog.*']),
        'meta_analog.configs',
        'meta_analog.configs.studies',
    ],
    package_dir={'meta_analog.configs': 'configs'},
    package_data={
        'meta_analog': ['py.typed'],
        'meta_analog.configs': ['pretrained/*.npz'],
    },
    entry_points={'console_scripts': ['meta-analog = meta_analog.cli:main']},
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
        'cluster': ['dask[distributed]>=2024.8'],  # for --scheduler
        'docs': ['myst-nb>=1.1', 'sphinx>=7.4', 'sphinx-book-theme>=1.1'],
        # To be measured against; never imported otherwise.
        'peers': ['norse>=1.0', 'snntorch>=0.9', 'spyx>=1.0', 'torch>=2.4'],
        'test': [
            'hypothesis>=6.100',
            'pytest>=8',
            'pytest-xdist>=3.5',
            'ruff>=0.8',
            'setuptools>=70.1',  # builds a wheel by itself
        ],
        'tracking': ['tensorboard>=2.16'],  # to look at tensorboard/
        'wandb': ['wandb>=0.17'],  # for --wandb
    },
)
