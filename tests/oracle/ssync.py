"""Answers what Swift's SSYNC sender and receiver make of metadata, messages and lines, and talks to a receiver."""
import contextlib
import io
import json
import os
import pickle
import resource
import sys
import tempfile
import time
from urllib.parse import quote

from swift.common import storage_policy, swob, utils
from swift.common.exceptions import PartitionLockTimeout, ReplicationException
from swift.common.utils import Timestamp, split_path
from swift.obj import diskfile, ssync_receiver, ssync_sender

try:
    from swift.common.utils.pickle import unpickle
except ImportError:  # old versions load whatever it is
    unpickle = pickle.loads

utils.HASH_PATH_PREFIX, utils.HASH_PATH_SUFFIX = b'before', b'after'
storage_policy._POLICIES = storage_policy.StoragePolicyCollection(
    [storage_policy.StoragePolicy(index, 'policy-%d' % index, index == 0) for index in range(2)])
# A damaged pickle can ask for a memo of many gigabytes.
resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))


class Logger(object):
    """Keeps the lines that the sender would log."""

    def __init__(self):
        self.lines = []

    def _keep(level):
        def keep(self, msg, *args):
            self.lines.append([level, msg % args if args else msg])
        return keep

    debug, info, warning, error = _keep('DEBUG'), _keep('INFO'), _keep('WARN'), _keep('ERROR')
    exception = _keep('ERROR')

    def increment(self, name):
        self.lines.append(['METRIC', name])


class Connection(object):
    """Keeps what is sent."""

    def __init__(self):
        self.sent = b''

    def send(self, data):
        self.sent += data


def native(text):
    """A native string as bytes; what was no UTF-8 stands for itself."""
    return text.encode('utf8', 'surrogateescape').hex()


def read(pickled):
    items, by_python3 = unpickle(pickled, encoding='bytes'), b'_codecs\nencode' in pickled[:32]
    if diskfile._decode_metadata.__code__.co_argcount > 1:
        return diskfile._decode_metadata(items, by_python3)

    # Swift 2.30 misreads what it stored on Python 2 (https://bugs.launchpad.net/swift/+bug/2012531).
    def native_of_python2(item, is_name=False):
        is_latin1 = isinstance(item, bytes) and not by_python3 and not is_name
        return item.decode('latin1') if is_latin1 else item
    return diskfile._decode_metadata(
        {native_of_python2(k): native_of_python2(v, k == b'name') for k, v in items.items()})


def metadata(q):
    """The metadata in a pickle; nothing if it has none."""
    try:
        items = read(bytes.fromhex(q['pickle'])).items()
        return [[native(k), native(v)] for k, v in sorted(items)]
    except Exception:
        return None


def dump(q):
    """The pickle that Swift stores for these metadata, given as bytes."""
    items = {bytes.fromhex(k): bytes.fromhex(v) for k, v in q['items']}
    return pickle.dumps(items, q['protocol']).hex()


def missing(q):
    """The line for an offer, and what the receiver reads in it."""
    times = {key: Timestamp(value) for key, value in q['times'].items() if value}
    line = ssync_sender.encode_missing(q['hash'], **times)
    read = ssync_receiver.decode_missing(line)
    return {'line': line.decode(), 'read': [read[key].internal for key in ('ts_data', 'ts_meta', 'ts_ctype')]}


def wanted(q):
    return ssync_sender.decode_wanted(q['parts'])


def name(q):
    """The hash of an object's name and its form in a request; nothing if it is no name."""
    try:
        text = bytes.fromhex(q['name']).decode('utf8')
        parts = split_path(text, 3, 3, True)
    except ValueError:
        return None
    return [utils.hash_path(*parts), quote('/' + '/'.join(parts))]


def lines(q):
    """The lines of an answer, and whether it came to its end."""
    response = ssync_sender.SsyncBufferedHTTPResponse.__new__(ssync_sender.SsyncBufferedHTTPResponse)
    response.fp = io.BytesIO(bytes.fromhex(q['answer']))
    response.ssync_response_buffer, response.ssync_response_chunk_left = b'', 0
    response.close = lambda: None
    found = []
    while True:
        try:
            line = response.readline(q['size'])
        except ReplicationException:
            return [found, False]
        if not line:
            return [found, True]
        found.append(line.strip().hex())


def subrequest(q):
    """A PUT without its data, or a POST, with the metadata in a pickle; nothing if they cannot be sent."""
    items = read(bytes.fromhex(q['pickle']))
    sender = ssync_sender.Sender.__new__(ssync_sender.Sender)
    sender.daemon = type('Daemon', (), {'node_timeout': 10})
    disk_file = type('DiskFile', (), {
        'content_length': 0, 'reader': lambda self: [],
        'get_datafile_metadata': lambda self: items,
        'get_metafile_metadata': lambda self: {k: v for k, v in items.items() if k != 'name'}})()
    connection = Connection()
    try:
        if q['method'] == 'PUT':
            sender.send_put(connection, '/a/c/o', disk_file)
        else:
            sender.send_post(connection, '/a/c/o', disk_file)
    except UnicodeEncodeError:
        return None
    return connection.sent.hex()


def manager(q, logger):
    conf = {'devices': q['devices'], 'mount_check': 'false', 'reclaim_age': str(q['reclaim_age'])}
    return diskfile.DiskFileRouter(conf, logger)


def python2(items):
    """The pickle that Swift stored for these metadata while it ran on Python 2."""
    def string(text):
        text = text.encode('utf8')
        return b'U' + bytes([len(text)]) + text if len(text) < 256 else b'T' + len(text).to_bytes(4, 'little') + text
    return b'\x80\x02}q\x01(' + b''.join(string(k) + string(v) for k, v in items.items()) + b'u.'


def store(q):
    """Writes a file of an object, with its metadata in one of the ways in which Swift has stored them."""
    os.makedirs(os.path.dirname(q['path']), exist_ok=True)
    with open(q['path'], 'wb') as fp:
        fp.write(bytes.fromhex(q['body']))
        fp.flush()
        if q['python2']:
            diskfile.xattr.setxattr(fp, diskfile.METADATA_KEY, python2(q['metadata']))
        else:
            diskfile.write_metadata(fp, q['metadata'], xattr_size=q['xattr_size'])
    return None


def sync(q):
    """Pushes a partition's suffixes with the reference's sender."""
    logger = Logger()
    daemon = type('Daemon', (), {
        'logger': logger, 'conn_timeout': 20, 'node_timeout': 60, 'http_timeout': 600,
        'network_chunk_size': 65536, '_df_router': manager(q, logger)})
    policy = storage_policy.POLICIES[q['policy']]
    job = {'device': q['device'], 'partition': str(q['partition']), 'policy': policy}
    node = {'replication_ip': q['ip'], 'replication_port': q['port'], 'device': q['to']}
    sender = ssync_sender.Sender(daemon, node, job, q['suffixes'], q['only'] and set(q['only']))
    cpu, clock = time.process_time(), time.monotonic()
    success, candidates = sender()
    cpu, clock = time.process_time() - cpu, time.monotonic() - clock
    return {'success': success, 'candidates': sorted(candidates), 'lines': logger.lines, 'cpu': cpu, 'clock': clock}


def receiver(q):
    """What a receiver says that gets DELETEs, to which an object server answers with these statuses."""
    class App(object):
        logger = Logger()
        replication_failure_threshold, replication_failure_ratio = q['threshold'], 1.0
        statuses = list(q['statuses'])

        class replication_semaphore(object):
            acquire, release = staticmethod(lambda blocking: not q['busy']), staticmethod(lambda: None)

        def __call__(self, env, start_response):
            return swob.Response(status=self.statuses.pop(0))(env, start_response)

    class Manager(object):
        @contextlib.contextmanager
        def replication_lock(self, device, policy, partition):
            with utils.lock_path(folder, timeout=0.1, timeout_class=PartitionLockTimeout, name='replication'):
                yield True

    said = b''.join(b'DELETE /a/c/o%d\r\nX-Timestamp: 1\r\n\r\n' % n for n in range(len(q['statuses'])))
    talk = ssync_receiver.Receiver.__new__(ssync_receiver.Receiver)
    talk.app, talk.device, talk.partition, talk.policy = App(), 'sda', '7', storage_policy.POLICIES[0]
    talk.frag_index, talk.diskfile_mgr, talk.req_logger, talk.disconnect = None, Manager(), Logger(), False
    talk.request = type('Request', (), {'environ': {}})()
    talk.input = ssync_receiver.SsyncInputProxy(
        io.BytesIO(b':UPDATES: START\r\n' + said + q['junk'].encode() + b':UPDATES: END\r\n'), 65536, 60)
    talk.missing_check = lambda: []
    with tempfile.TemporaryDirectory() as folder:
        if q['locked']:
            with utils.lock_path(folder, name='replication'):
                return list(map(bytes.hex, talk()))
        return list(map(bytes.hex, talk()))


QUESTIONS = {f.__name__: f for f in (
    metadata, dump, missing, wanted, name, lines, subrequest, store, sync, receiver)}

for line in sys.stdin:
    question = json.loads(line)
    print(json.dumps(QUESTIONS[question['about']](question)), flush=True)
