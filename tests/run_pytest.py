"""Runs pytest on the files that are named, for the test targets in BUILD."""

import sys

import pytest

if __name__ == '__main__':
  sys.exit(pytest.main(['-n', '0', '-p', 'no:cacheprovider', *sys.argv[1:]]))
