"""How a run can end other than well, and with which exit code.

Each message is one line that says what happened and what to do. Mistakes in
what a person wrote are `errors.InputError`, exit code 2.
"""





class RunError(Exception):
  """An end that is no mistake of a person and no bug."""

  exit_code = 1


class StorageError(RunError):
  """The disk failed, or what lies on it is damaged."""


class CorruptFileError(StorageError):
  """What lies on the disk is not what was written there."""


class NonFiniteError(RunError):
  """A loss or a gradient is not finite."""

  exit_code = 3


class Interrupted(RunError):
  """A signal asked the run to stop, and it has saved."""

  def __init__(self, signum: int, message: str):
    """Keeps the signal's number, of which the shell makes 128 + signum."""
    super().__init__(message)
    self.exit_code = 128 + signum


def reason(error: BaseException) -> str:
  """Returns what an exception of a library says, in a few words.

  Args:
    error: any.

  Returns:
    One line.
  """
  if isinstance(error, OSError) and error.strerror:
    return error.strerror
  text = ' '.join(str(error).split())
  if 'No space left on device' in text:
    return 'No space left on device'
  return (text[:160] or type(error).__name__).rstrip('.')


class InputError(ValueError):
  """What a person wrote cannot be; the message says what to change."""
