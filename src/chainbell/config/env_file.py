"""What a ``.env`` file says: quotes and comments as docker and shells write them, without expanding anything."""

from io import StringIO
from pathlib import Path

from dotenv.parser import parse_stream

from chainbell.domain.errors import ConfigurationError


def read_env_file(path: Path) -> dict[str, str]:
    """Return the variables of a ``.env`` file; a file that is not there has none.

    Nothing is expanded: a ``$`` in a password stays one. Raises `ConfigurationError` with the number of the line that
    cannot be read, never with its text.
    """
    text = _read_text(path)
    variables: dict[str, str] = {}
    for binding in parse_stream(StringIO(text)):
        if binding.error or (binding.key is not None and binding.value is None):
            message = f"{path}, line {binding.original.line}: is neither NAME=value nor a comment (#)"
            raise ConfigurationError(message)
        if binding.key is not None and binding.value is not None:
            variables[binding.key] = binding.value
    return variables


def _read_text(path: Path) -> str:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return ""
    except OSError as error:
        message = f"{path} cannot be read ({error.strerror}): let this user read it, or remove it"
        raise ConfigurationError(message) from error
    text = content.decode(errors="replace")
    if text.encode() != content:
        message = f"{path} is not UTF-8 text: write it again as such"
        raise ConfigurationError(message)
    return text
