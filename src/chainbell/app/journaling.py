"""Where this process keeps the journal of registrations: in its data directory, beside no database."""

import os
from pathlib import Path

from chainbell.config.settings import Settings
from chainbell.storage.data_dir import DataDirError, default_data_dir, prepare_data_dir
from chainbell.storage.database import Database
from chainbell.storage.installation import read_installation
from chainbell.storage.journal import FILE_NAME, Journal, MissingJournal


def journal_path(settings: Settings) -> Path:
    """Return the journal's file. Raises `DataDirError` when the data directory cannot be used."""
    return prepare_data_dir(settings.data_dir or default_data_dir(os.environ, os.getuid())) / FILE_NAME


async def open_journal(database: Database, settings: Settings) -> Journal | MissingJournal:
    """Return the journal of a database; one that only warns where no data directory was named and none can be made.

    Raises `DataDirError` when the one that was named cannot be used.
    """
    try:
        path = journal_path(settings)
    except DataDirError as error:
        if settings.data_dir is not None:
            raise
        return MissingJournal(str(error))
    async with database.connection() as connection:
        installation = await read_installation(connection)
    return Journal(path, installation.id, installation.generation)
