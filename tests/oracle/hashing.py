"""Answers what the reference's DiskFileManager does: one JSON question per line, one JSON answer each."""

import json
import logging
import os
import pickle
import random
import sys
import threading

from swift.common.constraints import check_drive
from swift.common.exceptions import LockTimeout
from swift.common.storage_policy import POLICIES
from swift.common.utils import Timestamp, decode_timestamps, lock_path
from swift.obj.diskfile import DiskFileManager, invalidate_hash, read_hashes

logging.disable(logging.CRITICAL)


class Quiet(logging.Logger):
    """Swift's loggers have more methods than these, but hashing calls no others."""


def manager(devices, reclaim_age):
    conf = {'devices': devices, 'mount_check': 'false',
            'reclaim_age': str(reclaim_age)}
    return DiskFileManager(conf, Quiet('oracle'))


def get_hashes(q):
    mgr = manager(q['devices'], q['reclaim_age'])
    hashed, hashes = mgr._get_hashes(
        q['device'], q['partition'], POLICIES[0],
        recalculate=q['recalculate'], do_listdir=q['listing'])
    return {'hashed': hashed, 'hashes': hashes}


def stored(q):
    """What a hashes.pkl says, but for the time."""
    hashes = read_hashes(q['partition'])
    hashes.pop('updated', None)
    return hashes


def dump(q):
    """Writes a pickle of these pairs, in this order."""
    with open(q['path'], 'wb') as fp:
        pickle.dump(dict(q['pairs']), fp, q['protocol'])


def choose(q):
    """What counts of each list of file names, and what does not."""
    mgr = manager('/nowhere', 1)
    return [choose_one(mgr, sorted(names, reverse=True)) for names in q['lists']]


def choose_one(mgr, names):
    found = mgr.get_ondisk_files(names, '/nowhere', verify=False)

    def written(key, field='timestamp'):
        return found[key][field].internal if key in found else None

    def listed(key):
        return sorted(info['filename'] for info in found.get(key, []))

    return {
        'data': written('data_info'), 'meta': written('meta_info'),
        'tombstone': found['ts_info']['filename'] if 'ts_info' in found else None,
        'content_type': written('ctype_info', 'ctype_timestamp'),
        'strays': listed('possible_reclaim'), 'obsolete': listed('obsolete')}


def timestamps(q):
    return [[timestamp(text), pair(text)] for text in q['texts']]


def timestamp(text):
    try:
        return Timestamp(text).internal
    except (ValueError, OverflowError):
        return None


def pair(text):
    try:
        found = decode_timestamps(text, explicit=True)[:2]
        return [None if t is None else t.internal for t in found]
    except (ValueError, OverflowError):
        return None


def check_drives(q):
    """What the reference says of each device: where it is, or what is wrong with it."""
    return [drive(q['devices'], name, q['mount_check']) for name in q['names']]


def drive(devices, name, mount_check):
    try:
        return check_drive(devices, name, mount_check)
    except ValueError as error:
        return str(error)


held = {}


def lock(q):
    """Takes a lock and keeps it, or tells that someone else has it."""
    context = lock_path(q['dir'], timeout=q['timeout'], name=q['name'])
    try:
        context.__enter__()
    except LockTimeout:
        return False
    held[q['dir'], q['name']] = context
    return True


def unlock(q):
    held.pop((q['dir'], q['name'])).__exit__(None, None, None)


def storm(q):
    """Writes objects and marks their suffixes as changed, while another thread asks for the hashes all the time."""
    mgr = manager(q['devices'], 7 * 86400)
    partition = os.path.join(q['devices'], q['device'], 'objects', q['partition'])
    done = threading.Event()
    failures = []

    def ask():
        try:
            while not done.is_set():
                mgr._get_hashes(q['device'], q['partition'], POLICIES[0])
        except Exception as error:
            failures.append(repr(error))

    asker = threading.Thread(target=ask)
    asker.start()
    rng = random.Random(q['seed'])
    for version in range(q['first'], q['first'] + q['rounds']):
        suffix = rng.choice(q['suffixes'])
        folder = os.path.join(partition, suffix, q['stem'] + suffix)
        os.makedirs(folder, exist_ok=True)
        try:
            open(os.path.join(folder, '%010d.00000.data' % version), 'w').close()
        except FileNotFoundError:
            continue  # someone found the folder empty, and removed it
        invalidate_hash(os.path.join(partition, suffix))
    done.set()
    asker.join()
    return failures


COMMANDS = {f.__name__: f for f in (
    get_hashes, stored, dump, choose, timestamps, check_drives, lock, unlock, storm)}

for line in sys.stdin:
    question = json.loads(line)
    try:
        answer = COMMANDS[question['do']](question)
    except Exception as error:
        answer = {'error': repr(error)}
    print(json.dumps(answer), flush=True)
