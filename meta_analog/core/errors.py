"""Exceptions that end a run with an exit code and one line.

Each message says what happened and what to do.

    0   success
    1   RunError, StorageError, CorruptFileError
    2   InputError: a config, a flag or a file of the user is wrong
    3   NonFiniteError
    128 + signal number   Interrupted
"""


class RunError(Exception):
  """A run that cannot continue for a reason outside the user's input.

  Base class of the failures that are neither bad input nor a bug.
  """

  exit_code = 1


class StorageError(RunError):
  """The file system failed to read or write, for example a full disk."""


class CorruptFileError(StorageError):
  """A file's contents are not what was written, for example a wrong digest."""


class NonFiniteError(RunError):
  """A loss or a gradient is NaN or infinite."""

  exit_code = 3


class Interrupted(RunError):
  """A signal asked the run to stop; its state has been saved.

  The exit code is that of a shell, 128 + signal number.
  """

  def __init__(self, signum: int, message: str):
    """Sets the exit code.

    Args:
      signum: number of the signal.
      message: one line.
    """
    super().__init__(message)
    self.exit_code = 128 + signum


class InputError(ValueError):
  """A config, a flag or a file of the user is wrong; exit code 2.

  The message gives the name, the value and what is allowed.
  """


def reason(error: BaseException) -> str:
  """Returns the message of an exception of a library, shortened to one line.

  Args:
    error: any exception.

  Returns:
    At most 160 characters without a full stop: the operating system's text of
    an `OSError`, else the exception's own text, else the name of its type.
  """
  if isinstance(error, OSError) and error.strerror:
    return error.strerror
  text = ' '.join(str(error).split())
  if 'No space left on device' in text:
    return 'No space left on device'
  return (text[:160] or type(error).__name__).rstrip('.')
