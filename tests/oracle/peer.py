"""Answers what Swift's object replicator makes of a device: module, name, REPLICATE request, rsync run."""
import json
import os
import sys

from swift.common import storage_policy
from swift.common.bufferedhttp import http_connect
from swift.common.utils import node_to_string, rsync_module_interpolation
from swift.obj import replicator


class Logger(object):
    """Keeps the lines that the replicator would log."""

    def __init__(self):
        self.lines = []

    def _keep(level):
        def keep(self, msg, *args):
            # As logging does it: one dict stands for named values.
            values = args[0] if len(args) == 1 and isinstance(args[0], dict) else args
            self.lines.append([level, msg % values if args else msg])
        return keep

    debug, info, error = _keep('DEBUG'), _keep('INFO'), _keep('ERROR')


def module(question):
    try:
        module = rsync_module_interpolation(question['template'], question['device'])
        # `{port:c}` may be half of a surrogate pair, which is in no word that a program can be started with.
        module.encode('utf-8')
        return {'module': module}
    except Exception as e:
        # Only this error's text is the replicator's own; the others are Python's.
        return {'error': str(e) if 'invalid variable' in str(e) else None}


def node_string(question):
    return node_to_string(question['device'], replication=True)


def replicate(question):
    """Sends the request that asks for hashes, or the one after a push."""
    to, suffixes = question['device'], question['suffixes']
    headers = {'Content-Length': '0',
               'user-agent': question['user_agent'],
               'X-Backend-Storage-Policy-Index': question['policy']}
    path = '' if suffixes is None else '/' + '-'.join(suffixes)
    conn = http_connect(to['replication_ip'], to['replication_port'], to['device'],
                        str(question['partition']), 'REPLICATE', path, headers=headers)
    status = conn.getresponse().status
    conn.close()
    return status


def rsync(question):
    """Runs a push with whatever `rsync` is in the given folder."""
    os.environ['PATH'] = question['path'] + ':' + question['old_path']
    subject = replicator.ObjectReplicator.__new__(replicator.ObjectReplicator)
    vars(subject).update(question['options'], logger=Logger(), conn_timeout=1, http_timeout=1, default_headers={})
    # What comes after the push is asked about on its own.
    replicator.http_connect = lambda *args, **kwargs: open(os.devnull)
    job = dict(question['job'], delete=True)
    try:
        success, _ = subject.rsync(question['device'], job, question['suffixes'])
    except AttributeError:  # /dev/null gives no response, so the push had succeeded
        success = True
    return {'success': success, 'lines': subject.logger.lines}


storage_policy._POLICIES = storage_policy.StoragePolicyCollection(
    [storage_policy.StoragePolicy(index, 'policy-%d' % index, index == 0) for index in range(3)])

QUESTIONS = {'module': module, 'node_string': node_string, 'replicate': replicate, 'rsync': rsync}

for line in sys.stdin:
    question = json.loads(line)
    print(json.dumps(QUESTIONS[question['about']](question)), flush=True)
