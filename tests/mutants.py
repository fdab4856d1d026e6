"""Mutation testing: breaks the code in known ways; the quick tests must see it.

    python tests/mutants.py            all of tests/mutants.toml
    python tests/mutants.py pcm lif    those whose file or text has such a word

Each mutant is a file, a text that stands in it once, its replacement, and the
tests that must fail. It is made in a copy of the checkout, two at a time.
Exit code 1 where a mutant survives or cannot be made.
"""

from concurrent import futures
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import tomllib

ROOT = pathlib.Path(__file__).parents[1]
LIST = ROOT / 'tests' / 'mutants.toml'
COPIED = ('meta_analog', 'configs', 'launch', 'tests', 'pyproject.toml',
          'BUILD', 'README.md')
NUM_AT_ONCE = 2
TIMEOUT_S = 600
FAILED = 1  # pytest: tests ran, and some failed


def read(words):
  """Returns the mutants that have one of these words, all for none."""
  mutants = tomllib.loads(LIST.read_text())['mutant']
  return [m for m in mutants if not words or any(
      word in f'{m["file"]} {m["text"]} {m.get("why")}' for word in words)]


def copy_of_checkout():
  """Returns a folder with a copy of all that tests need."""
  folder = pathlib.Path(tempfile.mkdtemp(prefix='mutants_'))
  for name in COPIED:
    source = ROOT / name
    if source.is_dir():
      shutil.copytree(source, folder / name,
                      ignore=shutil.ignore_patterns('__pycache__'))
    else:
      shutil.copy(source, folder / name)
  return folder


def broken(mutant, text):
  """Returns the mutated text of a file, or None where it cannot be made."""
  return text.replace(mutant['text'], mutant['replacement']) if (
      text.count(mutant['text']) == 1) else None


def outcome(mutant):
  """Returns 'killed', or what is wrong with the mutant or with its tests."""
  text = broken(mutant, (ROOT / mutant['file']).read_text())
  if text is None:
    return 'CANNOT BE MADE: its text does not stand in the file once'
  folder = copy_of_checkout()
  try:
    (folder / mutant['file']).write_text(text)
    found = subprocess.run(
        [sys.executable, '-m', 'pytest', '-x', '-q', '-n', '0', '-p',
         'no:cacheprovider', *mutant['tests']],
        cwd=folder, env=os.environ | {'PYTHONPATH': str(folder)},
        capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
  except subprocess.TimeoutExpired:
    return f'TOOK LONGER than {TIMEOUT_S} s'
  finally:
    shutil.rmtree(folder)
  if found.returncode == FAILED:
    return 'killed'
  if found.returncode == 0:
    return 'SURVIVED'
  return f'BROKEN TESTS: {found.stdout.strip().splitlines()[-1:]}'


def main(words):
  """Prints the outcome of each mutant; returns how many were not killed."""
  mutants, bad = read(words), 0
  with futures.ThreadPoolExecutor(NUM_AT_ONCE) as pool:
    for mutant, result in zip(mutants, pool.map(outcome, mutants)):
      bad += result != 'killed'
      print(f'{result}: {mutant["file"]}: '
            f'{mutant.get("why") or mutant["replacement"].strip()}', flush=True)
  print(f'{len(mutants) - bad} of {len(mutants)} mutants were killed')
  return bad


if __name__ == '__main__':
  sys.exit(bool(main(sys.argv[1:])))
