"""Terminal output: as it is, in pipes too, also where nobody reads."""

import io
import os

import rich.table

from meta_analog.reporting import terminal

LINE = 'words ' * 30 + 'end'


def table():
  out = rich.table.Table(title='[/x] :smile:')
  out.add_column('case')
  out.add_row('± 1')
  return out


class _Screen(io.StringIO):
  """A terminal, of 80 columns where rich finds no other number."""

  def isatty(self):
    return True


def test_a_pipe_gets_whole_lines_and_plain_tables():
  file = io.StringIO()
  console = terminal.console(file)
  console.print(LINE)
  console.print(table())
  lines = [x for x in file.getvalue().splitlines() if x.strip()]
  assert lines[0] == LINE
  assert lines[-1].split() == ['|', '±', '1', '|']
  assert not {'│', '┃', '━'} & {*file.getvalue()}


def test_a_screen_gets_lines_that_break_between_words(monkeypatch):
  monkeypatch.setenv('COLUMNS', '80')
  file = _Screen()
  terminal.console(file).print(LINE)
  lines = file.getvalue().splitlines()
  assert len(lines) == 3 and max(map(len, lines)) <= 80
  assert {*' '.join(lines).split()} == {'words', 'end'}


def test_a_word_as_long_as_a_line_stays_whole(monkeypatch):
  monkeypatch.setenv('COLUMNS', '80')
  file, path = _Screen(), '/a-folder' * 12
  terminal.console(file).print(f'Written to {path}: summary.json, figures.')
  assert file.getvalue().splitlines() == [
      'Written to', f'{path}:', 'summary.json, figures.']


def test_texts_are_not_taken_for_markup():
  file = io.StringIO()
  console = terminal.console(file)
  console.print('mk[/x] mk[lr=0.1] [bold] :smile:')
  console.print(table())
  assert file.getvalue().startswith('mk[/x] mk[lr=0.1] [bold] :smile:\n')
  assert '[/x] :smile:' in file.getvalue().split('\n', 1)[1]


def test_ascii_gets_a_question_mark():
  raw = io.BytesIO()
  file = io.TextIOWrapper(raw, 'ascii', write_through=True)
  terminal.console(file).print('µ')
  assert raw.getvalue() == b'?\n'


def test_where_nobody_reads_the_program_goes_on():
  reader, writer = os.pipe()
  os.close(reader)
  with os.fdopen(writer, 'w') as file:
    console = terminal.console(file)
    for _ in range(3):
      console.print(LINE)
    assert console.quiet


def test_a_closed_stdout_is_silence(monkeypatch):
  monkeypatch.setattr('sys.stdout', None)
  terminal.console().print(LINE)
