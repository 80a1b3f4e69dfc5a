"""The reference's part in the benchmark.

Usage: reference.py answers DATADIR FOLDER     hash every partition, and write the answer of a peer with the same hashes
       reference.py answer HASHES FILE         write the answer of a peer with these hashes, a JSON object
       reference.py ring PATH VERSION          write a ring of 2^20 partitions, three replicas and 3,600 devices
       reference.py load PATH                  load a ring, and tell the seconds that it took and the memory it holds
"""
import json
import os
import pickle
import random
import sys
import time
from array import array

from swift.common.ring import Ring, RingData
import swift.common.utils as utils


def answers(datadir, folder):
    from swift.common.storage_policy import POLICIES
    from swift.obj.diskfile import DiskFileRouter
    device = os.path.dirname(datadir)
    conf = {'devices': os.path.dirname(device), 'mount_check': 'false'}
    manager = DiskFileRouter(conf, utils.get_logger(conf))[POLICIES.default]
    for partition in os.listdir(datadir):
        _, hashes = manager._get_hashes(os.path.basename(device), partition, POLICIES.default, do_listdir=True)
        write_answer(hashes, os.path.join(folder, partition))


def answer(hashes, path):
    write_answer(json.loads(hashes), path)


def write_answer(hashes, path):
    with open(path, 'wb') as body:
        # As the object server does it.
        body.write(pickle.dumps(hashes, protocol=2))


def ring(path, version):
    devices = [{'id': n, 'region': n // 1200 + 1, 'zone': n // 240 + 1, 'weight': 100.0, 'ip': '10.%d.%d.1' % (n // 1200, n // 24),
                'port': 6200, 'replication_ip': '10.%d.%d.1' % (n // 1200, n // 24), 'replication_port': 6200,
                'device': 'sd%d' % (n % 24), 'meta': ''} for n in range(3600)]
    chance = random.Random(1)
    # Each replica in a region of its own.
    rows = [array('H', (chance.randrange(low, low + 1200) for _ in range(1 << 20))) for low in (0, 1200, 2400)]
    RingData(rows, devices, 12).save(path, format_version=int(version))


def load(path):
    def status(figure):
        with open('/proc/self/status') as lines:
            return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(figure))
    utils.HASH_PATH_SUFFIX = b'unused'
    before, started = status('VmRSS'), time.perf_counter()
    loaded = Ring(path)
    seconds = time.perf_counter() - started
    print('{"seconds": %f, "bytes": %d}' % (seconds, status('VmHWM') - before))
    return loaded


if __name__ == '__main__':
    {'answers': answers, 'answer': answer, 'ring': ring, 'load': load}[sys.argv[1]](*sys.argv[2:])
