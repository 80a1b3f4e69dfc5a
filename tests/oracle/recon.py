"""The reference's updates of the recon cache: answers for tests/oracle/recon.rs."""
import json
import logging
import sys

from swift.common.utils import dump_recon_cache


class Logger:
    """Keeps what went wrong."""

    def __init__(self):
        self.lines = []

    def exception(self, message):
        self.lines.append(message)


def dump(path, entries):
    logger = Logger()
    dump_recon_cache(entries, path, logger)
    return logger.lines


def dump_many(path, name, times):
    """One update after the other, each with a key of its own; one that does not get the lock is repeated."""
    for number in range(times):
        while dump(path, {'%s-%d' % (name, number): number}):
            pass


def holds_other_json(content):
    try:
        return not isinstance(json.loads(content.split('\n')[0]), dict)
    except ValueError:
        return False


OPERATIONS = {function.__name__: function for function in (dump, dump_many, holds_other_json)}

for line in sys.stdin:
    operation, arguments = json.loads(line)
    print(json.dumps(OPERATIONS[operation](**arguments)), flush=True)
