"""The reference's part in building a cluster and looking at what is in it.

Reads one JSON object per line, {"do": NAME, ...}, and answers each with one JSON value.
"""
import array
import contextlib
import inspect
import io
import json
import os
import pickle
import sys

import swift.common.utils as utils
from swift.cli import info
from swift.common.ring import Ring, RingBuilder, RingData


def build_ring(path, version, part_power, replicas, devices, seed, next_part_power):
    """Builds a balanced ring, saves it, and answers which devices hold each partition."""
    builder = RingBuilder(part_power, replicas, 0)
    for device in devices:
        builder.add_dev(dict(device))
    builder.rebalance(seed=seed)
    if next_part_power:
        builder.prepare_increase_partition_power()
    save_ring(builder.get_ring(), path, version)
    return primaries(path)


def assign_ring(path, version, part_power, rows, devices):
    """Saves a ring with exactly these rows of device ids."""
    rows = [array.array('H', row) for row in rows]
    save_ring(RingData(rows, [dict(device) for device in devices], 32 - part_power), path, version)
    return primaries(path)


def save_ring(ring, path, version):
    # Old versions of Swift know one format only.
    knows_formats = 'format_version' in inspect.signature(ring.save).parameters
    # A reader must find the old ring or the new one, never half of one.
    ring.save(path + '.new', **({'format_version': version} if knows_formats else {}))
    os.rename(path + '.new', path)


def primaries(path):
    ring = Ring(path)
    return [[node['id'] for node in ring.get_part_nodes(part)] for part in range(ring.partition_count)]


def handoffs(path, partition):
    """The ids of the devices behind the primaries, in the order in which they are asked."""
    return [node['id'] for node in Ring(path).get_more_nodes(partition)]


def read_pickle(path):
    with open(path, 'rb') as stored:
        try:
            return pickle.load(stored)
        except Exception as error:
            return 'undecodable: %s' % error


def object_info(path, swift_dir):
    """What swift-object-info says of one object's file."""
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        try:
            info.print_obj(path, swift_dir=swift_dir)
        except info.InfoSystemExit:
            pass
    return text.getvalue()


TASKS = {task.__name__: task for task in (build_ring, assign_ring, handoffs, read_pickle, object_info)}


def main():
    # Ring lookups insist on a salt, though they never use it.
    utils.HASH_PATH_SUFFIX = b'unused'
    for line in sys.stdin:
        question = json.loads(line)
        answer = TASKS[question.pop('do')](**question)
        print(json.dumps(answer), flush=True)


if __name__ == '__main__':
    main()
