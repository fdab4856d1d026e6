"""Fixtures of tests of data sets: an empty cache, and a small Omniglot."""

import pytest

from meta_analog.tasks import data_cache
from tests.helpers import small_data


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
  monkeypatch.delenv(data_cache.VARIABLE, raising=False)


@pytest.fixture(scope='module')
def omniglot_arrays(tmp_path_factory):
  folder = tmp_path_factory.mktemp('data')
  with pytest.MonkeyPatch.context() as patch:
    patch.setenv('XDG_CACHE_HOME', str(folder / 'cache'))
    return small_data.load_omniglot(small_data.omniglot(folder / 'omniglot'))
